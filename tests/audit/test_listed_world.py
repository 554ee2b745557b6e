"""The listed worlds hold what they claim to, and the reference reads it by hand-worked rules."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from clstm_core.audit.reference.plain import listed_market
from clstm_core.audit.reference.terms import DAY_NS, Session, Terms, settlement
from clstm_core.audit.sessions.built import built_as_listed, settlements_of
from clstm_core.audit.worlds.listed import HALF_SPREAD, ROOTS, SETTLES, VOL, build_listed, listed_tables
from clstm_core.options.black_scholes import price

HOUR_NS = 3600 * 10**9
MONDAY = 10_000  # days since 1970
SESSIONS = {
    MONDAY: Session(MONDAY * DAY_NS + 21 * HOUR_NS, 100.0, 101.0, 101.5),
    MONDAY + 1: Session((MONDAY + 1) * DAY_NS + 21 * HOUR_NS, 102.0, 103.0, 103.5),
    MONDAY + 3: Session((MONDAY + 3) * DAY_NS + 21 * HOUR_NS, 104.0, 105.0, 105.5),
}


@pytest.fixture(scope="module")
def rough():
    tables = listed_tables(110, fair=False)
    return tables, build_listed(tables)


def _terms(root: str, day: int, hour: float) -> Terms:
    return Terms(root, day * DAY_NS + int(hour * HOUR_NS), 90.0, 1, 100.0)


@pytest.mark.parametrize(
    ("root", "day", "hour", "price", "on_its_date"),
    [
        ("A", MONDAY + 1, 14.5, 102.0, True),
        ("P", MONDAY + 1, 21.0, 103.0, True),
        ("P", MONDAY + 1, 18.0, 103.0, True),
        ("A", MONDAY + 2, 14.5, 102.0, False),
        ("P", MONDAY + 2, 21.0, 103.0, False),
        ("X", MONDAY + 3, 14.5, 104.0, True),
        ("X", MONDAY + 3, 18.0, 105.0, True),
        ("A", MONDAY + 3, 21.0, 104.0, True),
        ("P", MONDAY - 1, 21.0, math.nan, False),
    ],
    ids=[
        "AM at the open",
        "PM at the close",
        "half day",
        "AM on a holiday",
        "PM on a holiday",
        "unknown root, morning",
        "unknown root, early close",
        "the root counts, not the hour",
        "before all data",
    ],
)
def test_a_contract_settles_by_its_root_and_date(root, day, hour, price, on_its_date) -> None:
    paid = settlement(_terms(root, day, hour), SESSIONS, sorted(SESSIONS), {"A": "AM", "P": "PM"})
    assert paid.price == pytest.approx(price, nan_ok=True)
    assert paid.on_its_date == on_its_date


def test_the_world_holds_roots_multipliers_weeklies_holidays_and_half_days(rough) -> None:
    tables, market = rough
    met = settlements_of(listed_market(market, tables, SETTLES))
    assert min(met[f"{settles} settlement"] for settles in ("AM", "PM")) > 100
    assert met["settlement on a day without a session"] > 10
    assert set(market.multiplier_K.tolist()) == {root.multiplier for root in ROOTS.values()}
    days = np.unique(market.expiration_K.numpy() // DAY_NS)
    assert set((days + 3) % 7) >= {0, 2, 4}
    gaps = np.diff(np.unique(market.snapshot_T.numpy() // DAY_NS))
    weekday = (np.unique(market.snapshot_T.numpy() // DAY_NS)[:-1] + 3) % 7
    assert (gaps > np.where(weekday == 4, 3, 1)).sum() > 5
    minutes = {int(ns % DAY_NS) // (60 * 10**9) for ns in market.expiration_K.tolist()}
    assert len(minutes) >= 4  # open, early close and close; winter and summer
    assert 0.03 < float(market.stale_Q.float().mean()) < 0.3


def test_where_p_is_q_every_quote_is_the_models_price() -> None:
    market = build_listed(listed_tables(60, fair=True))
    snapshot, contract = market.row_snapshot_Q, market.row_contract_Q
    terms = (
        market.spot_T[snapshot],
        market.strike_K[contract],
        market.tte_years_Q,
        torch.tensor(VOL, dtype=torch.float64),
        market.rate_T[snapshot],
        market.dividend_yield_T[snapshot],
        market.right_K[contract],
    )
    torch.testing.assert_close(market.mark_Q, price(*terms), rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(market.ask_Q - market.bid_Q, 2 * HALF_SPREAD * market.mark_Q)
    assert not market.stale_Q.any()


def _changed(market, name, change):
    tensor = getattr(market, name).clone()
    rows = torch.arange(len(tensor)) % 37 == 5
    tensor[rows] = change(tensor[rows])
    return dataclasses.replace(market, **{name: tensor})


def test_tensors_are_what_their_tables_say(rough) -> None:
    tables, market = rough
    findings = built_as_listed("world", market, listed_market(market, tables, SETTLES))
    assert not [finding for finding in findings if finding.ratio > 1]


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("settle_value_K", lambda x: x + 0.01, "settlement value"),
        ("settle_index_K", lambda x: x + 1, "settlement snapshot"),
        ("multiplier_K", lambda x: 2 * x, "multiplier"),
        ("strike_K", lambda x: x + 5, "strike"),
        ("right_K", lambda x: -x, "right"),
        ("expiration_K", lambda x: x + HOUR_NS, "expiration"),
        ("bid_Q", lambda x: x + 0.05, "bid"),
        ("ask_Q", lambda x: x - 0.05, "ask"),
        ("mark_Q", lambda x: 1.001 * x + 0.01, "mark"),
        ("stale_Q", lambda x: ~x, "staleness"),
        ("can_buy_Q", lambda x: ~x, "leave to buy"),
        ("can_sell_Q", lambda x: ~x, "leave to sell"),
        ("next_row_Q", lambda x: x + 1, "next row"),
        ("tte_years_Q", lambda x: x + 1 / 365, "time to expiry"),
        ("spot_T", lambda x: 1.01 * x, "spot"),
        ("rate_T", lambda x: x + 0.001, "rate"),
        ("dividend_yield_T", lambda x: x + 0.001, "dividend yield"),
        ("time_years_T", lambda x: x + 1 / 365, "clock"),
    ],
)
def test_every_column_that_money_depends_on_is_compared(rough, name, change, found) -> None:
    tables, market = rough
    altered = _changed(market, name, change)
    findings = built_as_listed("world", altered, listed_market(market, tables, SETTLES))
    assert f"world {found} of the tables" in [finding.check for finding in findings if finding.ratio > 1]
