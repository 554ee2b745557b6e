"""The reference ledger against cases worked out by hand."""

import dataclasses
import math

import pytest

from clstm_core.audit.reference.budget import premium_sold
from clstm_core.audit.reference.ledger import Account, Contract, Fill, Ledger, Order, PlainMarket, Quote, Snapshot
from clstm_core.audit.reference.rules import Rules, black_scholes, vega

DAY_NS = 86_400 * 10**9
CALL, PUT = 0, 1
RULES = Rules(
    fill_lag=1,
    fraction=1.0,
    per_contract=0.65,
    per_share=0.005,
    share_spread=1e-4,
    borrow_rate=0.0365,
    scan_down=0.08,
    scan_up=0.06,
    scan_points=10,
    vol_shock=0.2,
    min_margin_per_short=37.5,
    max_net_exposure=100.0,
    max_gross_exposure=100.0,
    crash_move=-0.2,
    crash_vol_shock=1.0,
    max_crash_loss=100.0,
    max_vega=100.0,
    max_premium_sold=100.0,
    budget_headroom=0.9,
)
"""A budget that nobody reaches, but where a case says otherwise."""

BUDGET = dataclasses.replace(
    RULES, max_net_exposure=1.0, max_gross_exposure=2.0, max_crash_loss=0.25, max_vega=0.005, max_premium_sold=0.25
)


def quote(bid: float, ask: float, *, quoted: bool = True, model: float = 0.0, delta: float = 0.5) -> Quote:
    return Quote(bid=bid, ask=ask, quoted=quoted, model_mark=model, vol=0.2, delta=delta)


def three_days(**changes) -> PlainMarket:
    """A 100 strike call that settles on day 2 for 4.00 and a 90 strike put that lives on; a tenth of a cent a day."""
    rates = {"rate": 0.0365, "dividend_yield": 0.0}
    days = [
        {CALL: quote(3.0, 3.2), PUT: quote(1.0, 1.2, delta=-0.3)},
        {CALL: quote(4.0, 4.4), PUT: quote(0.8, 1.0, delta=-0.25)},
        {PUT: quote(0.0, 0.4, delta=-0.2)},
    ]
    for (t, contract), value in changes.pop("quotes", {}).items():
        days[t][contract] = value
    snapshots = [
        Snapshot(time_ns=t * DAY_NS, spot=spot, quotes=quotes, **rates)
        for t, (spot, quotes) in enumerate(zip((100.0, 102.0, 104.0), days, strict=True))
    ]
    contracts = [Contract(100.0, 1, 100.0, 2 * DAY_NS, 4.0), Contract(90.0, -1, 100.0, 30 * DAY_NS, math.nan)]
    return PlainMarket(snapshots, contracts, [[], [], []])


def test_buying_a_call_pays_tomorrows_ask_and_settles_once() -> None:
    account, ledger = Account(100_000.0), Ledger(three_days(), RULES)
    first = ledger.step(account, Order([(CALL, 2.0)]), 0)
    interest = 100_000.0 * math.expm1(0.0001)
    assert first.fills == [Fill("open", CALL, 2.0, 4.4, 1.30)]
    assert account.cash == pytest.approx(100_000 + interest - 2 * 100 * 4.4 - 1.30)
    assert first.slippage == pytest.approx(2 * 100 * 0.2)
    assert first.equity == pytest.approx(100_000 + interest - 40.0 - 1.30)
    held = account.cash
    second = ledger.step(account, Order([]), 1)
    assert account.legs == []
    assert account.cash == pytest.approx(held * math.exp(0.0001) + 2 * 100 * 4.0)
    assert second.settlement == pytest.approx(2 * 100 * (4.0 - 4.2))


def test_without_lag_the_order_fills_at_todays_quote() -> None:
    account = Account(100_000.0)
    ledger = Ledger(three_days(), dataclasses.replace(RULES, fill_lag=0))
    day = ledger.step(account, Order([(PUT, -3.0)]), 0)
    assert day.fills == [Fill("open", PUT, -3.0, 1.0, pytest.approx(1.95))]
    assert day.option_mark_change == pytest.approx(-300 * (0.9 - 1.1))


def test_a_debt_pays_interest_and_short_shares_pay_borrow() -> None:
    account = Account(-50_000.0, shares=-200.0)
    day = Ledger(three_days(), RULES).step(account, Order([]), 0)
    assert day.interest == pytest.approx(-50_000 * math.expm1(0.0001))
    assert day.borrow == pytest.approx(200 * 100.0 * 0.0001)
    assert day.share_mark_change == pytest.approx(-400.0)


@pytest.mark.parametrize(
    ("tomorrow", "quantity"),
    [
        (quote(0.0, 0.0, quoted=False, model=4.1), 1.0),
        (quote(4.0, 4.0), 1.0),
        (quote(4.2, 4.0), 1.0),
        (quote(0.0, 4.0), -1.0),
    ],
    ids=["unquoted", "locked", "crossed", "no bid"],
)
def test_one_leg_without_a_quote_leaves_the_package_unfilled(tomorrow: Quote, quantity: float) -> None:
    account = Account(100_000.0)
    ledger = Ledger(three_days(quotes={(1, CALL): tomorrow}), RULES)
    day = ledger.step(account, Order([(PUT, 1.0), (CALL, quantity)], shares=100.0), 0)
    assert day.unfilled
    assert (account.legs, account.shares, day.fees) == ([], 0.0, 0.0)


def test_a_zero_bid_may_be_bought() -> None:
    account = Account(100_000.0)
    day = Ledger(three_days(), RULES).step(account, Order([(PUT, 1.0)]), 1)
    assert [fill.price for fill in day.fills] == [0.4]


def test_an_order_beyond_the_margin_is_rejected() -> None:
    account = Account(10_000.0)
    day = Ledger(three_days(), RULES).step(account, Order([(PUT, -500.0)]), 0)
    assert day.rejected
    assert account.legs == []


def test_a_breach_closes_what_trades_and_keeps_what_does_not() -> None:
    market = three_days(quotes={(1, PUT): quote(0.0, 0.0, quoted=False, model=1.1)})
    account = Account(-3_000.0, shares=100.0, legs=[(PUT, -40.0), (CALL, 1.0)])
    day = Ledger(market, RULES).step(account, Order([]), 0)
    assert day.liquidated
    assert [(fill.contract, fill.quantity, fill.price) for fill in day.fills] == [
        (CALL, -1.0, 4.0),
        (-1, -100.0, pytest.approx(102.0 * (1 - 0.5e-4))),
    ]
    assert account.legs == [(PUT, -40.0)]


def test_a_book_that_outgrew_its_budget_sells_the_fewest_shares_that_cure_it() -> None:
    """The call's delta is half a share: 990 shares and two calls are 1,090 deltas at 102, of 106,630 or so."""
    account = Account(5_000.0, shares=990.0, legs=[(CALL, 2.0)])
    day = Ledger(three_days(), BUDGET).step(account, Order([]), 0)
    cost = 102.0 * 0.5e-4 + 0.005
    equity = 5_000.0 * math.exp(0.0001) + 990.0 * 102.0 + 2.0 * 100.0 * 4.2
    sold = next(n for n in range(990) if (1_090 - n) * 102.0 <= equity - n * cost)
    assert [(f.reason, f.quantity) for f in day.fills] == [("liquidation", -float(sold))]
    assert day.over_budget
    assert not day.liquidated
    assert not day.budget_breached
    assert day.net_exposure <= 1.0 < (1_090 - sold + 1) * 102.0 / equity


def test_an_order_of_eight_times_the_equity_in_shares_is_rejected() -> None:
    account = Account(1_000_000.0)
    assert Ledger(three_days(), RULES).step(account, Order([], shares=80_000.0), 0).rejected is False
    account = Account(1_000_000.0)
    assert Ledger(three_days(), BUDGET).step(account, Order([], shares=80_000.0), 0).rejected
    assert account.shares == 0.0


@pytest.mark.parametrize(("lag", "price"), [(0, 1.0), (1, 0.8)])
@pytest.mark.parametrize(("age_at_fill", "counts"), [(19, True), (20, False), (21, True), (41, False)])
def test_what_was_sold_to_open_counts_in_the_stretch_of_21_ages_that_it_was_filled_in(lag, price, age_at_fill, counts):
    """For the order after it, filled one snapshot later: unless that snapshot begins a stretch."""
    account = Account(1_000_000.0, age=age_at_fill - lag)
    ledger = Ledger(three_days(), dataclasses.replace(BUDGET, fill_lag=lag))
    day = ledger.step(account, Order([(PUT, -10.0)]), 0)
    assert day.premium_sold * day.equity == pytest.approx(10 * 100 * price)
    assert premium_sold(ledger, account) == (pytest.approx(10 * 100 * price) if counts else 0.0)


def test_premium_of_the_stretch_before_does_not_bar_what_fills_where_one_begins() -> None:
    """All of the cap sold at the age of 20: an order that fills there is too much, one that fills at 21 is not."""
    for age, rejected in ((19, True), (20, False)):
        account = Account(1_000_000.0, sold=[(20, 250_000.0)], age=age)
        day = Ledger(three_days(), BUDGET).step(account, Order([(PUT, -10.0)]), 0)
        assert day.rejected == rejected


def test_vega_is_the_slope_of_the_price() -> None:
    up, down = (black_scholes(100.0, 95.0, 0.5, 0.3 + d, 0.04, 0.01, 1) for d in (1e-5, -1e-5))
    assert vega(100.0, 95.0, 0.5, 0.3, 0.04, 0.01) == pytest.approx((up - down) / 2e-5, rel=1e-6)


def test_hedge_brings_the_delta_after_the_order_to_zero() -> None:
    ledger = Ledger(three_days(), RULES)
    account = Account(100_000.0, shares=7.0)
    day = ledger.step(account, Order([(CALL, 3.0)], hedge=True), 0)
    assert [f.quantity for f in day.fills if f.reason == "hedge"] == [-157.0]
    assert account.shares == -150.0


@pytest.mark.parametrize(("lag", "hedge"), [(0, -117.0), (1, 33.0)])
def test_a_hedge_leaves_out_what_settles_before_it_is_filled(lag, hedge) -> None:
    """The call settles on day 2: a hedge decided on day 1 meets it only where it is filled on day 1."""
    ledger = Ledger(three_days(), dataclasses.replace(RULES, fill_lag=lag))
    account = Account(1_000_000.0, shares=-8.0, legs=[(CALL, 3.0), (PUT, 1.0)])
    day = ledger.step(account, Order([], hedge=True), 1)
    assert [f.quantity for f in day.fills if f.reason == "hedge"] == [hedge]


def test_black_scholes_keeps_parity_and_the_textbooks_price() -> None:
    call, put = (black_scholes(100.0, 95.0, 0.5, 0.3, 0.04, 0.01, right) for right in (1, -1))
    assert call - put == pytest.approx(100 * math.exp(-0.005) - 95 * math.exp(-0.02))
    assert black_scholes(42.0, 40.0, 0.5, 0.2, 0.1, 0.0, 1) == pytest.approx(4.76, abs=0.005)  # Hull, 15.6
    assert black_scholes(100.0, 90.0, 0.0, 0.3, 0.04, 0.01, 1) == 10.0
