"""Tiny vendors' folders, written in the formats of the real ones, and the folder of real sets where there is one."""

import gzip
import json
import math
import os
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from clstm_core.market.calendars import monthly_expiration, trading_days

RATE, DIVIDEND_YIELD, VOL = 0.04, 0.012, 0.15
DAY_ROW = "{symbol},{day},{open:.2f},{high:.2f},{low:.2f},{close:.2f},1000000"


def spot_on(day: date) -> float:
    """A close that moves from day to day."""
    return 6900.0 + 12.0 * (day.toordinal() % 7) + 0.5 * (day.toordinal() - date(2026, 2, 1).toordinal())


def price(spot: float, strike: float, years: float, right: str) -> float:
    """Black-Scholes at RATE, DIVIDEND_YIELD and VOL."""
    forward = spot * math.exp((RATE - DIVIDEND_YIELD) * years)
    deviation = VOL * math.sqrt(max(years, 1e-9))
    d1 = math.log(forward / strike) / deviation + deviation / 2
    sign = 1 if right == "C" else -1
    normal = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))  # noqa: E731
    return math.exp(-RATE * years) * sign * (forward * normal(sign * d1) - strike * normal(sign * (d1 - deviation)))


def chain(day: date, expiries: list[date], *, half_spread: float = 0.4, step: int = 25) -> list[dict]:
    """Quotes around the money of each expiry, on the vendor's grid of 5 cents."""
    spot = spot_on(day)
    centre = round(spot / step) * step
    rows = []
    for expiry in expiries:
        years = max((expiry - day).days, 0) / 365
        for strike in range(centre - 12 * step, centre + 13 * step, step):
            for right in "CP":
                mid = price(spot, strike, years, right)
                bid, ask = max(0.0, round((mid - half_spread) * 20) / 20), round((mid + half_spread) * 20) / 20
                rows.append({"expiry": expiry, "strike": float(strike), "right": right, "bid": bid, "ask": ask})
    return rows


def next_expiries(day: date, n: int = 5, *, monthly: bool = False) -> list[date]:
    """The next n sessions after `day`; those that are monthly expirations only on demand."""
    days = trading_days(day + timedelta(days=1), day + timedelta(days=3 * n + 10))
    return [d for d in days if monthly or monthly_expiration(d.year, d.month) != d][:n]


def write(path: Path, text: str) -> Path:
    """Text as a gzip file, the same bytes every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def write_index(root: Path, first: date = date(2025, 12, 1), last: date = date(2026, 9, 30)) -> Path:
    """spx_daily with the index and another symbol."""
    lines = ["symbol,date,open,high,low,close,volume"]
    for day in trading_days(first, last):
        close = spot_on(day)
        values = {"open": close - 5, "high": close + 20, "low": close - 20, "close": close}
        lines.append(DAY_ROW.format(symbol="^GSPC", day=day, **values))
        lines.append(DAY_ROW.format(symbol="^VIX", day=day, open=15, high=16, low=14, close=15))
    path = root / "spx_daily" / "spx_vix_vix9d_daily.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


class Barchart:
    """Writes `spx_barchart_eod` session by session."""

    def __init__(self, root: Path):
        self.root = root
        write_index(root)
        (root / "spx_barchart_eod").mkdir()

    def path(self, day: date) -> Path:
        return self.root / "spx_barchart_eod" / f"{day}.json.gz"

    def document(self, day: date, rows: list[dict] | None = None, *, spot: float | None = None) -> dict:
        rows = chain(day, next_expiries(day)) if rows is None else rows
        expiries: dict[str, list[dict]] = {}
        for row in rows:
            expiries.setdefault(str(row["expiry"]), []).append(
                {
                    "strikePrice": row["strike"],
                    "lastPrice": row.get("last", row["ask"]),
                    "volatility": row.get("vol", 0.15),
                    "delta": 0.5,
                    "gamma": 0,
                    "openInterest": 10,
                    "volume": 3,
                    "optionType": {"C": "Call", "P": "Put"}[row["right"]],
                    "expirationDate": str(row["expiry"]),
                    "bidPrice": row["bid"],
                    "askPrice": row["ask"],
                }
            )
        spot = spot_on(day) if spot is None else spot
        return {"date": str(day), "spot": spot, "timestamp": f"{day}T21:45:00.5", "expiries": expiries}

    def write(self, day: date, rows: list[dict] | None = None, **changes) -> Path:
        document = self.document(day, rows, **{k: v for k, v in changes.items() if k == "spot"})
        document |= {k: v for k, v in changes.items() if k != "spot"}
        return write(self.path(day), json.dumps(document))

    def write_days(self, first: date, last: date) -> list[date]:
        days = trading_days(first, last)
        for day in days:
            self.write(day)
        return days


class Cboe:
    """Writes `spx_cboe_eod`: chains and the table of snapshots."""

    header = (
        "session_date,ticker,expiry,right,strike,option,bid,bid_size,ask,ask_size,last_trade_price,volume,"
        "open_interest,iv,delta,last_trade_time"
    )

    def __init__(self, root: Path):
        self.root = root
        self.table: list[str] = []
        write_index(root)

    def path(self, day: date) -> Path:
        return self.root / "spx_cboe_eod" / "chains" / f"{day}.csv.gz"

    def write(self, day: date, *, session: date | None = None, rows: list[dict] | None = None) -> Path:
        """The file named `day`, which holds the evening of `session`."""
        session = session or day
        rows = chain(session, next_expiries(session)) if rows is None else rows
        lines = [self.header]
        for row in rows:
            root = row.get("root", "SPXW")
            option = f"{root}{row['expiry']:%y%m%d}{row['right']}{int(row['strike'] * 1000):08d}"
            lines.append(
                f"{day},_SPX,{row['expiry']},{row['right']},{row['strike']},{option},{row['bid']},1,{row['ask']},1,"
                f"{row.get('last', row['ask'])},5,7,{row.get('vol', 0.15)},0.5,{session}T16:14:59"
            )
        taken = f"{day} 01:15:30" if day != session else f"{day} 22:40:00"
        self.table.append(f"{day},_SPX,{taken},{spot_on(session)},{session}T16:14:59")
        table = self.root / "spx_cboe_eod" / "underlying.csv"
        table.parent.mkdir(exist_ok=True)
        table.write_text("\n".join(["session_date,ticker,payload_timestamp,close,last_trade_time", *self.table]) + "\n")
        return write(self.path(day), "\n".join(lines) + "\n")


@pytest.fixture
def barchart(tmp_path):
    """A Barchart folder to fill."""
    return Barchart(tmp_path)


@pytest.fixture
def cboe(tmp_path):
    """A CBOE folder to fill."""
    return Cboe(tmp_path)


@pytest.fixture
def week(cboe):
    """Five clean sessions."""
    for day in trading_days(date(2026, 7, 20), date(2026, 7, 24)):
        cboe.write(day)
    return cboe


@pytest.fixture
def vendor():
    """The pieces that vendors' folders are made of."""
    return SimpleNamespace(
        chain=chain,
        next_expiries=next_expiries,
        spot_on=spot_on,
        price=price,
        write=write,
        rate=RATE,
        dividend_yield=DIVIDEND_YIELD,
    )


@pytest.fixture
def found():
    """Findings of one check, by name: `found(tables, check)` is its row, or None."""

    def find(tables, check: str) -> dict | None:
        rows = tables.findings.filter(pl.col("check") == check).to_dicts()
        assert len(rows) <= 1
        return rows[0] if rows else None

    return find


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real sets that CLSTM_REAL_DATA names; skips loudly without it."""
    folder = os.environ.get("CLSTM_REAL_DATA")
    if not folder:
        pytest.skip("CLSTM_REAL_DATA is not set: no real market data to test against")
    return Path(folder)
