"""Random damage to files of every source: a sentence, or tables with every row and no value that cannot be.

Never a foreign exception, never a hang. A read has ten files, each damaged in its own way: two hundred damaged files
per source run with the suite, ten thousand as slow tests.
"""

import copy
import gzip
import json
import random
import re
import signal
import warnings
from contextlib import contextmanager
from datetime import date

import polars as pl
import pytest

from clstm_core.errors import ClstmError
from clstm_core.market.calendars import trading_days
from clstm_core.market.sources import default_config, open_source
from clstm_core.market.tables.accounting import check_rows
from clstm_core.market.tables.quality import inspect

CELLS = (
    *(
        "",
        " ",
        "--",
        "n/a",
        "null",
        "NaN",
        "inf",
        "-inf",
        "1e308",
        "-1e308",
        "1e-300",
        "1e400",
        "1,234",
        "12,34",
        "14.00%",
        "0",
    ),
    *("-1", "0001-01-01", "9999-12-31", "2026-02-30", "1970-01-01T00:00:00", "X", "call", '"', '""', "'", "\\", "\x00"),
    *(
        "SPXW  260821C07500000",
        "SPX000000C00000000",
        "O:",
        "é",
        "漢字",
        "💥",
        "a" * 5000,
        "9" * 400,
        "true",
        "[1]",
        "{}",
    ),
)
JSON_VALUES = (
    None,
    True,
    10**400,
    -1,
    0,
    1e308,
    1e-300,
    50_000,
    69.1,
    "9999-12-31",
    float("nan"),
    float("inf"),
    "",
    "--",
    "1,234",
    [],
    {},
    [[1]],
    "0001-01-01",
    "X",
)


def scaled(random_, cell):
    """A number with its point, sign or digits moved; a cell without digits as it is."""
    try:
        value = float(cell)
    except ValueError:
        return re.sub(r"\d", lambda _: str(random_.randrange(10)), cell, count=random_.randint(1, 4))
    return str(value * random_.choice([-1, 0.001, 0.01, 0.1, 2, 10, 30, 100, 1e6, 1e300, 1e-300]))


def damaged_text(random_, text):
    """The text with one to three faults."""
    data = text
    for _ in range(random_.randint(1, 3)):
        lines = data.split("\n")
        n = random_.randrange(len(lines))
        kind = random_.randrange(15)
        if kind == 11:
            cells = lines[n].split(",")
            a, b = (random_.randrange(len(cells)) for _ in range(2))
            cells[a], cells[b] = cells[b], cells[a]
            lines[n] = ",".join(cells)
        elif kind == 12:
            cells = lines[n].split(",")
            at = random_.randrange(len(cells))
            cells[at : at + 1] = random_.choice([[], [cells[at]] * 2])
            lines[n] = ",".join(cells)
        elif kind == 13:
            cells = lines[n].split(",")
            at = random_.randrange(len(cells))
            cells[at] = scaled(random_, cells[at])
            lines[n] = ",".join(cells)
        elif kind == 14:
            other = random_.choice([";", "\t", "|", " "])
            lines = [line.replace(",", other) for line in lines] if random_.random() < 0.5 else lines
            lines[n] = lines[n].replace(",", other)
        elif kind <= 3:
            cells = lines[n].split(",")
            cells[random_.randrange(len(cells))] = random_.choice(CELLS)
            lines[n] = ",".join(cells)
        elif kind == 4:
            lines.insert(n, random_.choice(lines))
        elif kind == 5:
            del lines[n]
        elif kind == 6:
            lines[n] = lines[n][: random_.randrange(len(lines[n]) + 1)]
        elif kind == 7:
            at = random_.randrange(len(lines[n]) + 1)
            lines[n] = lines[n][:at] + random_.choice([*CELLS, ",", ";", "\t", "\r", "#"]) + lines[n][at:]
        elif kind == 8:
            lines[0] = random_.choice([lines[0].upper(), lines[0].replace(",", ";"), lines[0] + "," + lines[0], "x"])
        elif kind == 9:
            lines = lines[: n + 1]
        else:  # a whole column
            column = random_.randrange(lines[0].count(",") + 1)
            cell = random_.choice(CELLS)
            lines = [
                ",".join(cell if m and i == column else c for i, c in enumerate(line.split(",")))
                for m, line in enumerate(lines)
            ]
        data = "\n".join(lines) or "\n"
    return data


def damaged_bytes(random_, raw):
    """The bytes with some flipped, cut, doubled or encoded otherwise."""
    data = bytearray(raw)
    kind = random_.randrange(5)
    if kind == 0:
        for _ in range(random_.randint(1, 20)):
            data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    elif kind == 1:
        del data[random_.randrange(len(data)) :]
    elif kind == 2:
        at = random_.randrange(len(data))
        data[at:at] = random_.randbytes(random_.randint(1, 40))
    elif kind == 3:
        data = bytearray(
            data.decode("utf-8", "replace").encode(random_.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))
        )
    else:
        data = data + data
    return bytes(data)


def damaged_json(random_, document):
    """The document with one to three values of a wrong kind."""
    for _ in range(random_.randint(1, 3)):
        rows = [row for chain in document["expiries"].values() if isinstance(chain, list) for row in chain]
        value = copy.deepcopy(random_.choice(JSON_VALUES))
        kind = random_.randrange(6)
        if kind <= 2 and rows and isinstance(row := random_.choice(rows), dict):
            row[random_.choice(list(row) or ["x"])] = value
        elif kind == 3:
            document[random_.choice(["date", "spot", "timestamp"])] = value
        elif kind == 4 and rows:
            name = random_.choice(["strikePrice", "bidPrice", "askPrice", "optionType", "expirationDate", "volatility"])
            for row in rows:
                if isinstance(row, dict):
                    row[name] = value
        else:
            document["expiries"][random_.choice(list(document["expiries"]))] = random_.choice([value, [value], [{}]])
            if not isinstance(document["expiries"], dict):
                return document
    return document


@contextmanager
def within(seconds):
    """Fails what is inside when it takes longer."""

    def stop(*_):
        raise TimeoutError(f"longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def named(tables, check):
    """Sessions that a finding names."""
    return ",".join(tables.findings.filter(pl.col("check") == check)["snapshots"])


def out_of_bounds(tables, vendor):
    """Values that no option market holds, of rows that were kept; `vendor` knows the true spot."""
    closes = tables.underlyings.select("snapshot", "close")
    rows = tables.quotes.join(closes, on="snapshot", how="left").with_columns(day=pl.col("snapshot").dt.date())
    truth = pl.DataFrame({"day": DAYS, "true": [vendor.spot_on(day) for day in DAYS]})
    rows = rows.join(truth, on="day", how="left")
    doubted = named(tables, "spot_against_close")
    years = (pl.col("expiration") - pl.col("snapshot")).dt.total_seconds() / (365 * 86400)
    mid, side = (pl.col("bid") + pl.col("ask")) / 2, pl.when(pl.col("right") == "C").then(1).otherwise(-1)
    worth = (side * (pl.col("true") - pl.col("strike"))).clip(0)
    listed = (pl.col("expiration") - pl.col("snapshot")).dt.total_days() <= 10
    rules = {
        "bid or ask": ~((pl.col("bid") >= 0) & (pl.col("ask") >= pl.col("bid")) & (pl.col("ask") > 0)),
        "price above the spot": mid > 1.03 * pl.max_horizontal("strike", "close"),
        "strike": ~(pl.col("strike") / pl.col("true")).is_between(0.009, 110),
        "spot": ~(pl.col("close") / pl.col("true")).is_between(0.94, 1.06)
        & ~pl.col("day").cast(str).is_in(doubted.split(", ")),
        "time to expiry": ~((years > 0) & (years <= 15)),
        # Within 140 points of the intrinsic value, of which ten days at 15% are worth 70 at most.
        "price": listed & ((mid - worth).abs() > 0.03 * pl.col("true")),
        **{
            name: ~(pl.col(name) >= 0)
            for name in ("bid_size", "ask_size", "volume", "open_interest")
            if name in rows.columns
        },
    }
    return {
        name: bad.to_dicts()[:2] for name, rule in rules.items() if (bad := rows.filter(rule.fill_null(False))).height
    }


def survive(name, data_dir, seed, vendor):
    """Whether tables came of the set, rather than a ClstmError; anything else, or values that cannot be, fails."""
    try:
        with warnings.catch_warnings(), within(SECONDS):
            warnings.simplefilter("ignore")
            source = open_source(default_config(name, data_dir=str(data_dir)))
            tables = source.parse_all(source.raw_files())
            read = tables.quotes.height + tables.quarantine.height
            judged = inspect(tables)
    except ClstmError:
        return False
    except BaseException as error:
        raise AssertionError(f"seed {seed} of {name}: {type(error).__name__}: {error}") from error
    check_rows(judged, read)
    assert judged.quotes.select(pl.col("bid", "ask", "strike").is_finite().all()).row(0) == (True, True, True)
    odd = out_of_bounds(judged, vendor)
    assert not odd, f"seed {seed} of {name}: {odd}"
    return True


SECONDS = 30.0
DAYS = trading_days(date(2026, 7, 20), date(2026, 7, 31))  # ten sessions, one file each
ONE_IN = 8  # reads whose side files are damaged as well
FEW = pytest.param(range(20), id="few")
MANY = [pytest.param(range(n, n + 100), marks=pytest.mark.slow, id=f"{n}") for n in range(1000, 2000, 100)]


def rows_of(vendor, day):
    """Four expiries, within what a session needs for parity."""
    return vendor.chain(day, vendor.next_expiries(day, 4), step=50)


def damaged(random_, text):
    return damaged_text(random_, text).encode() if random_.random() < 0.7 else damaged_bytes(random_, text.encode())


@pytest.mark.parametrize("name", ["cboe", "barchart"])
def test_the_undamaged_set_is_read_whole(name, vendor, request):
    """Or nothing below would show anything."""
    folder = request.getfixturevalue(name)
    for day in DAYS:
        folder.write(day, rows=rows_of(vendor, day))
    assert survive(f"spx_{name}", folder.root, 0, vendor)


@pytest.mark.parametrize("batch", [FEW, *MANY])
def test_cboes_files(cboe, vendor, batch):
    for day in DAYS:
        cboe.write(day, rows=rows_of(vendor, day))
    sides = [cboe.root / "spx_cboe_eod" / "underlying.csv", cboe.root / "spx_daily" / "spx_vix_vix9d_daily.csv"]
    chains = {day: gzip.decompress(cboe.path(day).read_bytes()).decode() for day in DAYS}
    whole = {path: path.read_text() for path in sides}
    read = 0
    for seed in batch:
        random_ = random.Random(seed)
        for day, text in chains.items():
            cboe.path(day).write_bytes(damaged(random_, text))
        for path, text in whole.items():
            path.write_bytes(damaged(random_, text) if random_.randrange(ONE_IN) == 0 else text.encode())
        read += survive("spx_cboe", cboe.root, seed, vendor)
    assert read > len(batch) / 2


@pytest.mark.parametrize("batch", [FEW, *MANY])
def test_barcharts_files(barchart, vendor, batch):
    documents = {day: barchart.document(day, rows_of(vendor, day)) for day in DAYS}
    index = barchart.root / "spx_daily" / "spx_vix_vix9d_daily.csv"
    whole = index.read_text()
    read = 0
    for seed in batch:
        random_ = random.Random(seed)
        for day, document in documents.items():
            if random_.random() < 0.7:
                data = json.dumps(damaged_json(random_, copy.deepcopy(document))).encode()
            else:
                data = damaged_bytes(random_, json.dumps(document).encode())
            barchart.path(day).write_bytes(data)
        index.write_bytes(damaged(random_, whole) if random_.randrange(ONE_IN) == 0 else whole.encode())
        read += survive("spx_barchart", barchart.root, seed, vendor)
    assert read > len(batch) / 2


@pytest.mark.parametrize("batch", [FEW, *MANY])
def test_tables(tmp_path, vendor, batch):
    header = "date,expiration,strike,right,bid,ask,multiplier,settles,spot,contract_id,implied_vol"
    texts = {
        day: "\n".join(
            [
                header,
                *(
                    f"{day},{row['expiry']},{row['strike']},{row['right']},{row['bid']},{row['ask']},100,close,"
                    f"{vendor.spot_on(day)},,0.15"
                    for row in rows_of(vendor, day)
                ),
            ]
        )
        + "\n"
        for day in DAYS
    }
    frames = {day: pl.read_csv(text.encode()) for day, text in texts.items()}
    beside = {"underlyings": "date,open,close\n", "rates": "date,rate\n"}
    read = 0
    for seed in batch:
        random_ = random.Random(seed)
        for old in tmp_path.iterdir():
            old.unlink()
        for day, text in texts.items():
            if seed % 5 or random_.random() < 0.5:
                (tmp_path / f"{day}.csv").write_bytes(damaged(random_, text))
            else:
                path = tmp_path / f"{day}.parquet"
                frames[day].write_parquet(path)
                path.write_bytes(damaged_bytes(random_, path.read_bytes()))
        for name, head in beside.items():
            if random_.randrange(ONE_IN) == 0:
                lines = [f"{day},{0.04 if name == 'rates' else 7000},{vendor.spot_on(day)}" for day in DAYS]
                (tmp_path / f"{name}.csv").write_text(damaged_text(random_, head + "\n".join(lines)))
        read += survive("table", tmp_path, seed, vendor)
    assert read > len(batch) / 4
