"""Alpaca's option chain, once per session: kept as a table of quotes, and read as any other table is.

Market data alone: of Alpaca's library only the client of historical option data is imported, which knows no order. What
was fetched is kept, so that an account can be reconciled later on the very quotes that it decided on.
"""

import dataclasses
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from clstm_core.artifacts.folder import flush, lock, scratch, write_text
from clstm_core.config import MarketConfig
from clstm_core.errors import ConfigError, ShadowError
from clstm_core.market.calendars import exchange, newest_ended_session
from clstm_core.market.clock import instant_ns
from clstm_core.market.instrument import instrument_of
from clstm_core.plural import counted
from clstm_core.shadow.arrival import Arrival, day_of
from clstm_core.shadow.changes import Holding
from clstm_core.shadow.sources.directory import Directory

SYMBOL = re.compile(r"([A-Z]{1,6})(\d{6})([CP])(\d{8})")
CLOSES = "underlyings.csv"
PATIENCE_S, MOST_PAGES = 60.0, 200
"""Seconds to wait for an answer, for the library waits for ever; pages of 1,000 contracts that a chain has at most."""
NEAREST, LARGEST_MOVE = 5, 0.3
"""Strikes whose forwards are looked at; the largest move between two closes. The S&P 500's largest in a session was
20.5% (1987-10-19)."""
SAID = 160
"""Letters of a library's own words that are passed on."""


class Chain(Protocol):
    """What is asked of a client: the snapshots of an underlying's contracts by their symbol."""

    def get_option_chain(self, request_params: Any) -> Mapping[str, Any]:
        """As `alpaca.data.historical.option.OptionHistoricalDataClient` has it."""
        ...


def chain_client(keys: tuple[str, str] | None, *, address: str | None = None) -> Chain:
    """A client of option market data; ConfigError without the library or the keys.

    Args:
        address: of another server than Alpaca's, for tests
    """
    try:
        from alpaca.data.historical.option import OptionHistoricalDataClient
    except ImportError:
        raise ConfigError(
            "alpaca-py is not installed: expected it for --source alpaca. Install clstm-options[alpaca]."
        ) from None
    if keys is None:
        raise ConfigError(
            "no keys of Alpaca's market data: expected APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment."
        )
    client = OptionHistoricalDataClient(*keys, url_override=address)
    client._session.request = _patient(client._session.request)  # type: ignore[method-assign]  # it has no setting
    found: Chain = client
    return found


def _patient(request: Callable[..., Any]) -> Callable[..., Any]:
    """The same request, which waits PATIENCE_S at most; a chain of more than MOST_PAGES pages has no end."""
    pages = 0

    def asked(*words: Any, **options: Any) -> Any:
        nonlocal pages
        pages = pages + 1 if (options.get("params") or {}).get("page_token") else 0
        if pages > MOST_PAGES:
            raise TimeoutError(f"no end of the chain after {MOST_PAGES} pages.")
        return request(*words, **{"timeout": PATIENCE_S} | options)

    return asked


class Alpaca:
    """The chain of an underlying as a source of sessions.

    Args:
        settings: of source `table`, whose folder the sessions are kept in; `underlyings.csv` there gives the closes
                  before the first of them, without which the features look back on nothing. The closes that put-call
                  parity implies are added to it
    """

    def __init__(
        self,
        client: Chain,
        underlying: str,
        settings: MarketConfig,
        cache: Path,
        *,
        embargo: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        assert settings.data_dir is not None
        self._client, self._underlying, self._settings, self._cache = client, underlying, settings, cache
        self._folder, self._embargo, self._now = Path(settings.data_dir), embargo, now
        instrument = instrument_of(underlying)
        self.name, self.label, self.currency = f"alpaca:{underlying}", "real quotes", instrument.currency
        self._instrument = instrument
        self._kept_source: Directory | None = None

    def arrivals(self, after: int | None) -> Iterator[Arrival]:
        """As `QuoteSource` states: the newest ended session is fetched where it is not kept yet.

        Raises: ShadowError where the feed does not answer, or not with quotes: nothing is kept, ask again
        """
        session = newest_ended_session(self._now(), self._instrument.calendar)
        place = self._kept(session.isoformat())
        if not place.is_file():
            with lock(self._folder.parent / f".{self._folder.name}.lock", f"the kept quotes of {self._underlying}"):
                if not place.is_file():  # another account may have fetched them meanwhile
                    self._fetch(session, place)
        self._kept_source = Directory(self._settings, self._cache, embargo=self._embargo, now=self._now, name=self.name)
        for arrival in self._kept_source.arrivals(after):
            taken = taken_at(self._kept(day_of(arrival.snapshot)))
            yield arrival if taken is None else dataclasses.replace(arrival, quoted_at=taken)

    def holding(self, snapshots: Collection[int]) -> Holding:
        """As `Keeps` states, of the kept tables."""
        assert self._kept_source is not None, "arrivals looks first"
        return self._kept_source.holding(snapshots)

    def _kept(self, session: str) -> Path:
        return self._folder / f"{session}.parquet"

    def _fetch(self, session: date, place: Path) -> None:
        rows = self._rows(session)
        self._keep_close(session.isoformat(), close_of(rows))  # first: quotes without a price would be set aside
        keep(rows, place)

    def _keep_close(self, session: str, close: float) -> None:
        place = self._folder / CLOSES
        known = (
            pl.read_csv(place, infer_schema_length=0) if place.is_file() else pl.DataFrame(schema={"date": pl.String})
        )
        before = known.filter(pl.col("date") < session).sort("date").tail(1)
        last = before["close"].cast(pl.Float64, strict=False).to_list() if "close" in before.columns else []
        if last and last[0] and not abs(close / last[0] - 1.0) <= LARGEST_MOVE:
            raise ShadowError(
                f"Alpaca's chain of {self._underlying} implies a close of {close:,.2f}: found {last[0]:,.2f} on "
                f"{before['date'][0]} in {place}, expected a move of at most {LARGEST_MOVE:.0%}. Correct that "
                "file if it is wrong. Nothing was decided; run the same command again."
            )
        row = pl.DataFrame({"date": [session], "close": [f"{close:.4f}"]})
        later = pl.concat([known.filter(pl.col("date") != session), row], how="diagonal")
        write_text(place, later.sort("date").write_csv())

    def _rows(self, session: date) -> pl.DataFrame:
        hours = exchange(self._instrument.calendar).hours
        opened = int(instant_ns(np.array([session], dtype="datetime64[D]"), hours.open_minutes, hours.zone)[0])
        during = (datetime.fromtimestamp(opened / 1e9, UTC), self._now() + timedelta(minutes=1))
        try:
            from alpaca.data.requests import OptionChainRequest

            found = self._client.get_option_chain(OptionChainRequest(underlying_symbol=self._underlying))
            rows = [
                row for symbol, shown in found.items() if (row := self._row(session.isoformat(), during, symbol, shown))
            ]
        except Exception as error:  # whatever a client and its libraries raise: network, limits, malformed answers
            said = " ".join(str(error).split())[:SAID]
            raise ShadowError(
                f"Alpaca gave no chain of {self._underlying}: {type(error).__name__}: {said} Expected quotes of "
                f"session {session}. Nothing was decided; run the same command again."
            ) from None
        if not rows:
            raise ShadowError(
                f"Alpaca's chain of {self._underlying} has no quote: found {counted(len(found), 'contract')}, expected "
                f"some with bid and ask of session {session}. Nothing was decided; run the same command again."
            )
        return pl.DataFrame(rows)

    def _row(
        self, session: str, during: tuple[datetime, datetime], symbol: str, snapshot: Any
    ) -> dict[str, Any] | None:
        """One contract as a row of `docs/data.md`; None for another symbol or root, and without a quote `during` it.

        Quotes of the night before carry the session's date too: they are older than its open.
        """
        quote, parts = getattr(snapshot, "latest_quote", None), SYMBOL.fullmatch(symbol)
        if quote is None or parts is None or parts[1] not in self._instrument.roots:
            return None
        taken = quote.timestamp.astimezone(UTC)
        if taken.date().isoformat() != session or not during[0] <= taken <= during[1]:
            return None
        root, day, right, strike = parts.groups()
        return {
            "date": session,
            "underlying": self._underlying,
            "root": root,
            "contract_id": symbol,
            "expiration": f"20{day[:2]}-{day[2:4]}-{day[4:]}",
            "right": right,
            "strike": int(strike) / 1000.0,
            "bid": float(quote.bid_price),
            "ask": float(quote.ask_price),
            "bid_size": float(quote.bid_size or 0.0),
            "ask_size": float(quote.ask_size or 0.0),
            "settles": "open" if self._instrument.roots.get(root) == "AM" else "close",
            "exercise": self._instrument.exercise,
            "settlement": self._instrument.settlement,
            "quoted_at": taken,
        }


def close_of(rows: pl.DataFrame) -> float:
    """The underlying's price that put-call parity implies: forwards of the two nearest expiries, led back to today.

        F = median of K + C - P over the NEAREST strikes at which call and put cost most nearly the same
        log S = log F(T) led back to T = 0

    One contract that is quoted wrongly moves no median.

    Raises: ShadowError for a chain without two such expiries
    """
    sound = pl.all_horizontal(pl.col("bid", "ask").is_finite())  # to polars NaN is above every number
    mid = rows.filter(
        sound & (pl.col("bid") > 0) & (pl.col("ask") > pl.col("bid")) & (pl.col("expiration") > pl.col("date"))
    )
    mid = mid.with_columns(mid=0.5 * (pl.col("bid") + pl.col("ask")))
    wide = mid.pivot("right", index=["date", "expiration", "strike"], values="mid", aggregate_function="first")
    if not {"C", "P"} <= set(wide.columns):
        raise ShadowError(
            "the chain has no calls beside puts: expected both, to imply the underlying's price. Nothing was decided; "
            "run the same command again."
        )
    forwards = (
        wide.drop_nulls(["C", "P"])
        .with_columns(
            apart=(pl.col("C") - pl.col("P")).abs(),
            forward=pl.col("strike") + pl.col("C") - pl.col("P"),
            days=(pl.col("expiration").str.to_date(strict=False) - pl.col("date").str.to_date()).dt.total_days(),
        )
        .sort("days", "apart")
        .group_by("days", maintain_order=True)
        .agg(pl.col("forward").head(NEAREST).median())
        .filter((pl.col("days") > 0) & (pl.col("forward") > 0))
    )
    if forwards.height < 2:
        raise ShadowError(
            f"the chain has {counted(forwards.height, 'expiry', 'expiries')} with calls beside puts: expected 2, to "
            "imply the spot. Nothing was decided; run the same command again."
        )
    (near, one), (far, other) = forwards.rows()[:2]
    return math.exp(math.log(one) + (math.log(one) - math.log(other)) * near / (far - near))


def taken_at(place: Path) -> int | None:
    """When half of a kept session's quotes had been taken, UTC ns; None where nothing was kept with its times."""
    if not place.is_file() or "quoted_at" not in pl.read_parquet_schema(place):
        return None
    times = pl.read_parquet(place, columns=["quoted_at"])["quoted_at"].dt.cast_time_unit("ns").to_physical().sort()
    return int(times[len(times) // 2]) if len(times) else None


def keep(rows: pl.DataFrame, place: Path) -> None:
    """Write a session's table whole or not at all."""
    with scratch(place.parent.parent, place.parent.name) as left:
        rows.write_parquet(left / place.name)
        flush(left / place.name)
        os.replace(left / place.name, place)
