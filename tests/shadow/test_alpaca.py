"""Alpaca's chain against a stub on loopback: quotes, limits, disconnects, wrong data; and no order ever."""

import ast
import json
import re
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import polars as pl
import pytest

from clstm_core.errors import ConfigError, ShadowError
from clstm_core.market.sources import default_config
from clstm_core.shadow.sources.alpaca import Alpaca, chain_client

sys.path.insert(0, str(Path(__file__).parent))
from chains import chain

SHADOW = Path(__file__).resolve().parents[2] / "clstm_core" / "shadow"
ORDERS = re.compile(r"/(orders|positions|account)")
FIRST = date(2024, 3, 4)
NEEDS = "alpaca-py is not installed: pip install -e '.[dev]' brings it"


class Stub(ThreadingHTTPServer):
    """Answers as told; counts what was asked."""

    daemon_threads = True

    def __init__(self):
        self.asked, self.how, self.session = [], "good", FIRST
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def _answer(self):
                server.asked.append((self.command, urlparse(self.path).path))
                status, body = server.answer()
                if status == 0:  # hang up in the middle of an answer
                    self.send_response(200)
                    self.send_header("Content-Length", "100000")
                    self.end_headers()
                    self.wfile.write(body[:50])
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = do_PATCH = _answer

        super().__init__(("127.0.0.1", 0), Handler)

    def answer(self):
        snapshots = chain(self.session)
        if self.how == "limited":
            return 429, b'{"message": "too many requests"}'
        if self.how == "limited once":
            self.how = "good"
            return 429, b'{"message": "too many requests"}'
        if self.how == "cut":
            return 0, json.dumps({"snapshots": snapshots}).encode()
        if self.how == "no json":
            return 200, b"<html>maintenance</html>"
        if self.how == "denied":
            return 403, b'{"message": "forbidden."}'
        if self.how == "empty":
            snapshots = {}
        if self.how == "unquoted":
            snapshots = {name: {} for name in snapshots}
        if self.how == "of yesterday":
            for found in snapshots.values():
                found["latestQuote"]["t"] = f"{self.session - timedelta(days=3)}T20:59:59Z"
        if self.how == "of the night":  # 21:00 New York of the evening before, which bears the session's date in UTC
            for found in snapshots.values():
                found["latestQuote"]["t"] = f"{self.session}T02:00:00Z"
        if self.how == "of the morning":
            for found in snapshots.values():
                found["latestQuote"]["t"] = f"{self.session}T15:30:00Z"
        if self.how == "of the future":
            for found in snapshots.values():
                found["latestQuote"]["t"] = f"{self.session}T23:30:00Z"
        if self.how == "another root":
            snapshots = {f"AAPL{name[4:]}": found for name, found in snapshots.items()}
        if self.how == "some of another root":
            snapshots |= {f"AAPL{name[4:]}": found for name, found in list(snapshots.items())[::3]}
        if self.how == "in tenths":
            for name, found in list(snapshots.items()):
                snapshots[f"{name[:11]}{int(name[11:]) // 10:08d}"] = snapshots.pop(name)
                found["latestQuote"] |= {side: found["latestQuote"][side] / 10 for side in ("bp", "ap")}
        if self.how == "a pair misquoted":  # call and put alike, far from the money
            for name in [name for name in snapshots if name.endswith("04500000")][:2]:
                snapshots[name]["latestQuote"] |= {"bp": 300.0, "ap": 301.0}
        if self.how == "an expiry misquoted":
            near = min(name[4:10] for name in snapshots)
            for name in [name for name in snapshots if name[4:11] == f"{near}P"]:
                snapshots[name]["latestQuote"] |= {"bp": 9000.0, "ap": 9001.0}
        if self.how == "endless":
            some = dict(list(snapshots.items())[:3])
            return 200, json.dumps({"snapshots": some, "next_page_token": "again"}).encode()
        if self.how == "silent":
            time.sleep(3.0)
        if self.how == "wrong type":
            first = next(iter(snapshots.values()))
            first["latestQuote"]["bp"] = "soon"
        if self.how == "crossed":
            for at, found in enumerate(snapshots.values()):
                if at % 3 == 0:
                    found["latestQuote"] |= {"bp": 900.0, "ap": 1.0}
        return 200, json.dumps({"snapshots": snapshots, "next_page_token": None}).encode()


@pytest.fixture
def stub(monkeypatch):
    pytest.importorskip("alpaca", reason=NEEDS)
    import alpaca.common.rest as rest

    monkeypatch.setattr(rest, "DEFAULT_RETRY_WAIT_SECONDS", 0)
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    assert not [path for verb, path in server.asked if verb != "GET" or ORDERS.search(path)]
    assert {path for _, path in server.asked} <= {"/v1beta1/options/snapshots/SPX"}


@pytest.fixture
def source(stub, tmp_path):
    folder = tmp_path / "quotes"
    folder.mkdir()
    days = [FIRST - timedelta(days=back) for back in range(90, 0, -1)]
    closes = [{"date": day, "close": 5000.0 + at % 7} for at, day in enumerate(days) if day.weekday() < 5]
    pl.DataFrame(closes).write_csv(folder / "underlyings.csv")
    settings = default_config("table", data_dir=str(folder), near_days=30.0, far_days=60.0)
    client = chain_client(("key", "secret"), address=f"http://127.0.0.1:{stub.server_port}")

    def now():
        return datetime.combine(stub.session, datetime.min.time(), tzinfo=UTC) + timedelta(hours=22)

    found = Alpaca(client, "SPX", settings, tmp_path / "cache", embargo=21, now=now)
    found.folder = folder
    return found


def test_a_session_is_fetched_once_kept_and_read_as_a_table(stub, source):
    (arrival,) = source.arrivals(None)
    assert arrival.source == "alpaca:SPX"
    assert arrival.problem == ""
    assert arrival.age_s == 3601.0  # an hour after the close, a second before which they were taken
    kept = pl.read_parquet(source.folder / f"{FIRST}.parquet")
    assert kept.height == len(chain(FIRST))
    closes = pl.read_csv(source.folder / "underlyings.csv")
    assert closes["close"][-1] == pytest.approx(5100.0, abs=1.0)
    pair = arrival.pair(None)
    assert pair.n_snapshots == 1
    assert pair.n_rows > 10
    assert len(list(source.arrivals(None))) == 1
    assert len(stub.asked) == 1
    assert list(source.arrivals(arrival.snapshot)) == []


def test_the_next_session_follows_the_first(stub, source):
    (first,) = source.arrivals(None)
    stub.session = date(2024, 3, 5)
    (second,) = source.arrivals(first.snapshot)
    assert second.pair(first.snapshot).n_snapshots == 2


def test_a_limit_that_passes_is_waited_for(stub, source):
    stub.how = "limited once"
    assert len(list(source.arrivals(None))) == 1
    assert len(stub.asked) == 2


@pytest.mark.parametrize(
    "how",
    [
        *("limited", "cut", "no json", "denied", "empty", "unquoted", "of yesterday", "wrong type", "of the night"),
        *("of the future", "another root", "in tenths", "endless", "silent"),
    ],
)
def test_what_is_no_chain_is_a_sentence_and_nothing_is_kept(stub, source, how, monkeypatch):
    monkeypatch.setattr("clstm_core.shadow.sources.alpaca.PATIENCE_S", 0.5)
    monkeypatch.setattr("clstm_core.shadow.sources.alpaca.MOST_PAGES", 4)
    stub.how = how
    with pytest.raises(ShadowError, match="Nothing was decided; run the same command again"):
        list(source.arrivals(None))
    assert [path.name for path in source.folder.iterdir()] == ["underlyings.csv"]
    assert str(FIRST) not in (source.folder / "underlyings.csv").read_text()
    stub.how = "good"
    assert len(list(source.arrivals(None))) == 1


@pytest.mark.parametrize("how", ["a pair misquoted", "an expiry misquoted", "some of another root"])
def test_a_few_wrong_contracts_move_no_close(stub, source, how):
    stub.how = how
    (arrival,) = source.arrivals(None)
    assert set(pl.read_parquet(source.folder / f"{FIRST}.parquet")["root"]) == {"SPXW"}
    assert pl.read_csv(source.folder / "underlyings.csv")["close"][-1] == pytest.approx(5100.0, abs=1.0)
    assert arrival.pair(None).n_snapshots == 1


def test_quotes_are_as_old_as_the_feed_says(stub, source):
    stub.how = "of the morning"
    (arrival,) = source.arrivals(None)
    assert arrival.age_s == 6.5 * 3600.0  # taken at 10:30 New York, seen at 17:00


def test_what_another_account_fetched_meanwhile_is_not_fetched_again(stub, source, monkeypatch):
    """Two accounts decide on the same quotes: else one of them would not be its backtest."""
    import contextlib

    from clstm_core.shadow.sources import alpaca

    held = []

    @contextlib.contextmanager
    def meanwhile(path, what):
        if not held:
            held.append(path)
            list(source.arrivals(None))
        yield

    monkeypatch.setattr(alpaca, "lock", meanwhile)
    assert len(list(source.arrivals(None))) == 1
    assert len(stub.asked) == 1


def test_an_account_begins_by_command_with_an_empty_folder(stub, bundle, tmp_path, monkeypatch):
    """The first session makes the table: nothing can be read of its tenors before."""
    from clstm_core.artifacts.places import Places
    from clstm_core.shadow.accounts import Feed, log_of, market_of, run_account
    from clstm_core.shadow.sources import alpaca

    real = alpaca.chain_client
    address = f"http://127.0.0.1:{stub.server_port}"
    monkeypatch.setattr(alpaca, "chain_client", lambda keys: real(("key", "secret"), address=address))
    monkeypatch.setattr(alpaca, "newest_ended_session", lambda now, calendar: FIRST)
    places, feed = Places(tmp_path / "data"), Feed(kind="alpaca", keys=("key", "secret"))
    folder = tmp_path / "data" / "shadow-quotes" / "alpaca-SPX"
    folder.mkdir(parents=True)
    days = [FIRST - timedelta(days=back) for back in range(90, 0, -1)]
    closes = [{"date": day, "close": 5000.0 + at % 7} for at, day in enumerate(days) if day.weekday() < 5]
    pl.DataFrame(closes).write_csv(folder / "underlyings.csv")
    limits = tmp_path / "limits.json"
    limits.write_text('{"max_quote_age_s": null}')
    run_account(places, "new", bundle, feed, unqualified=True, limits=limits)
    assert [row["kind"] for row in log_of(places, "new").entries] == ["opened", "decided"]
    assert market_of(places, bundle, feed).n_snapshots == 1


def test_crossed_quotes_are_quarantined_by_the_reading(stub, source):
    stub.how = "crossed"
    (arrival,) = source.arrivals(None)
    pair = arrival.pair(None)
    assert not (pair.bid_Q > pair.ask_Q).any()


def test_a_server_that_is_gone_is_a_sentence(stub, source):
    source._client = chain_client(("key", "secret"), address="http://127.0.0.1:9")
    with pytest.raises(ShadowError, match="ConnectionError"):
        list(source.arrivals(None))


def test_keys_are_asked_for():
    pytest.importorskip("alpaca", reason=NEEDS)
    with pytest.raises(ConfigError, match="APCA_API_KEY_ID"):
        chain_client(None)


def test_no_module_of_shadow_mode_can_send_an_order():
    """Nothing there imports a trading client, a broker, or a library that could post."""
    banned = (
        "alpaca.trading",
        "alpaca.broker",
        "requests",
        "httpx",
        "aiohttp",
        "urllib.request",
        "http.client",
        "socket",
    )
    seen = set()
    for path in [
        *SHADOW.rglob("*.py"),
        SHADOW.parents[1] / "assets/shadow.py",
        SHADOW.parents[1] / "orchestration/shadow_commands.py",
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            seen.update(names)
            assert not [name for name in names if name.startswith(banned)], path
    assert "alpaca.data.historical.option.OptionHistoricalDataClient" in seen
