"""Figures of the tear sheet against empyrical, quantstats, jquantstats and pencil; periods against a plain loop."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from clstm_core.evaluation import ratios
from clstm_core.evaluation.periods import Account, by_period, by_session, drawdowns, excess_path, rolling
from clstm_core.evaluation.statistics import paired_mean
from clstm_core.evaluation.tear_sheet import tear_sheet


def account_of(returns, market=None, cash=None, first="2020-01-01") -> Account:
    """An account of one unit whose sessions are weekdays from 2020-01-02."""
    returns = np.asarray(returns, dtype=float)
    n = returns.size
    dates = np.busday_offset("2020-01-02", np.arange(n)).astype(str).tolist()
    market = np.zeros(n) if market is None else np.asarray(market, dtype=float)
    return Account(
        dates=[first, *dates],
        equity=np.concatenate([[1.0], np.cumprod(1.0 + returns)]),
        spot=np.concatenate([[1.0], np.cumprod(1.0 + market)]),
        cash=np.zeros(n) if cash is None else np.asarray(cash, dtype=float),
    )


@pytest.fixture(scope="module")
def account() -> Account:
    """600 sessions by a formula, so that other libraries can be asked about the very same ones."""
    t = np.arange(1, 601, dtype=float)
    market = 0.0003 + 0.011 * np.sin(1.7 * t * t) * (1 + 0.5 * np.cos(t / 40))
    returns = 0.0004 + 0.4 * market + 0.004 * np.sin(0.9 * t**2 + 1)
    returns[::50] = 0.0
    return account_of(returns, market, 1e-4 * (1 + 0.2 * np.sin(t / 100)))


EMPYRICAL = {
    "Sortino ratio": 1.8809391062762137,
    "Calmar ratio": 2.4568686637749404,
    "Omega ratio": 1.2141420389062043,
    "VaR 95, one day": -0.006780476528478812,
    "CVaR 95, one day": -0.008217224497981875,
    "Tail ratio": 1.1650536168313068,
    "Return per year": 0.11462915969852094,
    "Volatility per year": 0.06945908112189417,
    "Sharpe ratio": 1.2340965492985214,
    "Largest drawdown": -0.04665660862896718,
    "Alpha per year": 0.04964391704128146,
    "Beta to the underlying": 0.38042536398834303,
    "Winning days": 0.5357142857142857,
}
"""What empyrical-reloaded 0.7.1 says of these returns with cash as `risk_free` (Sortino: `required_return`); winning
days: quantstats 0.0.86."""


@pytest.mark.parametrize(("figure", "value"), EMPYRICAL.items())
def test_figures_are_empyricals(account, figure, value):
    found = {row["figure"]: row["value"] for row in tear_sheet(account)}
    assert found[figure] == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_where_quantstats_differs_it_is_by_what_the_docstrings_say(account):
    n, returns = account.returns.size, account.returns
    skew, fourth = ratios.skewness(returns), ratios.kurtosis(returns)
    assert skew * math.sqrt(n * (n - 1)) / (n - 2) == pytest.approx(0.04787954540940642, rel=1e-9)
    unbiased = ((n + 1) * fourth + 6) * (n - 1) / ((n - 2) * (n - 3))
    assert unbiased == pytest.approx(-0.4255607590276717, rel=1e-9)
    # quantstats sums returns; compounding gives another total
    assert ratios.recovery_factor(float(returns.sum()), -0.04665660862896718) == pytest.approx(5.6620109146615825)


JQUANTSTATS = {
    "Return per year": 0.11462915969852094,
    "Volatility per year": 0.06945908112189421,
    "Sharpe ratio": 1.234096549298537,
    "Sortino ratio": 1.8809391062762388,
    "Calmar ratio": 2.4568686637749417,
    "Omega ratio": 1.2141420389062079,
    "Tail ratio": 1.1650536168313452,
    "Total return": 0.2948374119460586,
    "Largest drawdown": -0.046656608628967144,
    "Best day": 0.010809990606615472,
    "Worst day": -0.010029401076102284,
    "Winning days": 0.5357142857142857,
    "Days ahead of cash": 0.5183333333333333,
    "Beta to the underlying": 0.3804253639883437,
}
"""What jquantstats 0.13.1 says of these returns at 252 periods per year: for volatility, the ratios of Sharpe, Sortino
and Omega and the days ahead of cash of returns beyond cash (its `rf`), for all others of the returns themselves."""


@pytest.mark.parametrize(("figure", "value"), JQUANTSTATS.items())
def test_figures_are_jquantstats(account, figure, value):
    found = {row["figure"]: row["value"] for row in tear_sheet(account)}
    assert found[figure] == pytest.approx(value, rel=1e-9, abs=1e-9)


def test_where_jquantstats_differs_the_difference_is_explained(account):
    found = {row["figure"]: row["value"] for row in tear_sheet(account)}
    returns, market = account.returns, account.market
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    # its value at risk and the mean beyond it are those of a normal distribution; ours are of the returns that came
    bell = NormalDist(mean, deviation)
    at = bell.inv_cdf(0.05)
    assert at == pytest.approx(-0.0067559739573904, rel=1e-9)
    beyond = mean - deviation**2 * bell.pdf(at) / 0.05
    assert beyond == pytest.approx(-0.008584113728369633, rel=1e-9)
    assert found["VaR 95, one day"] == pytest.approx(float(np.quantile(returns, 0.05)), rel=1e-9)
    # its recovery factor and its alpha sum returns; that alpha knows no cash, and counts the calendar's 260.59 weekdays
    assert float(returns.sum()) / -found["Largest drawdown"] == pytest.approx(5.662010914661641, rel=1e-9)
    alpha = (mean - found["Beta to the underlying"] * float(market.mean())) * 260.589988081624
    assert alpha == pytest.approx(0.06627353603365572, rel=1e-9)
    # skewness and kurtosis are corrected for the sample's size, as quantstats' are: the test above
    assert found["Skewness"] != pytest.approx(0.047879545409405616, rel=1e-4)


def test_moments_are_those_of_the_definition(account):
    z = (account.returns - account.returns.mean()) / account.returns.std()
    assert ratios.skewness(account.returns) == pytest.approx((z**3).mean(), abs=1e-12)
    assert ratios.kurtosis(account.returns) == pytest.approx((z**4).mean() - 3.0, abs=1e-12)
    pair = np.cov(account.returns, account.market)
    slope = pair[0, 1] / pair[1, 1]
    assert ratios.alpha_beta(account.returns, account.market, account.cash)[1] == pytest.approx(slope)
    assert ratios.correlation(account.returns, account.market) == pytest.approx(
        pair[0, 1] / math.sqrt(pair[0, 0] * pair[1, 1])
    )


def test_figures_by_hand():
    returns = np.array([0.02, -0.01, 0.0, 0.03, -0.02])
    assert ratios.omega_ratio(returns) == pytest.approx(0.05 / 0.03)
    assert ratios.share_of_wins(returns) == 0.5
    assert ratios.downside_deviation(returns) == pytest.approx(math.sqrt(0.0005 / 5))
    assert ratios.sortino_ratio(returns, 1.0) == pytest.approx(0.004 / 0.01)
    # five returns: the worst twentieth is the worst one
    assert ratios.expected_shortfall(returns) == -0.02
    assert ratios.value_at_risk(returns) == pytest.approx(-0.018)


def test_an_account_that_never_moves_has_no_ratios():
    found = {row["figure"]: row["value"] for row in tear_sheet(account_of(np.zeros(300)))}
    names = ("Sharpe ratio", "Sortino ratio", "Calmar ratio", "Omega ratio", "Skewness", "Tail ratio", "Winning days")
    assert [found[name] for name in names] == [None] * len(names)
    assert found["Beta to the underlying"] is None
    assert found["Longest time under water"] == 0


def test_an_account_that_waits_neither_gains_nor_loses_against_cash():
    cash = 1e-4 * (1 + 0.3 * np.sin(np.arange(300)))
    waiting = account_of(cash, 0.01 * np.sin(np.arange(300)), cash)
    found = {row["figure"]: row["value"] for row in tear_sheet(waiting)}
    assert found["Excess over cash"] == pytest.approx(0.0, abs=1e-12)
    assert [found[name] for name in ("Sharpe ratio", "Omega ratio", "Sortino ratio", "Days ahead of cash")] == [
        None
    ] * 4
    _, low, high = waiting.band
    assert (low[-1], high[-1]) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.0, abs=1e-12))


@pytest.mark.parametrize("equity", [[100.0, 60.0, -5.0, -5.0], [100.0, 101.0], [100.0, 0.0, 0.0]])
def test_a_ruined_or_very_short_account_has_its_figures(equity):
    made = Account(
        dates=["2020-01-30", "2020-01-31", "2020-02-03", "2020-02-04"][: len(equity)],
        equity=np.array(equity),
        spot=np.linspace(100.0, 101.0, len(equity)),
        cash=np.zeros(len(equity) - 1),
    )
    found = {row["figure"]: row["value"] for row in tear_sheet(made)}
    assert found["Total return"] == pytest.approx(equity[-1] / 100.0 - 1.0)
    assert found["Sharpe ratio"] is None
    assert by_session(made).height == len(equity)
    assert len(drawdowns(made)) == (equity[1] < 100.0)
    assert by_period(made, 7)[-1]["last_date"] == made.dates[-1]


def test_less_than_a_year_is_not_annualised():
    rows = {row["figure"]: row for row in tear_sheet(account_of(0.001 * np.sin(np.arange(1, 201))))}
    for name in ("Return per year", "Volatility per year", "Sharpe ratio", "Sortino ratio", "Alpha per year"):
        assert rows[name]["value"] is None
        assert "less than a year" in rows[name]["how"]
    assert rows["VaR 95, one day"]["value"] is not None


def test_the_sharpe_ratios_interval_holds_the_ratio(account):
    row = next(row for row in tear_sheet(account) if row["figure"] == "Sharpe ratio")
    assert row["low"] < row["value"] < row["high"]
    assert ratios.sharpe_interval(account.excess[:20]) == (None, None)


def test_the_band_ends_at_the_verdicts_interval(account):
    path, low, high = excess_path(account)
    found = paired_mean(account.log_excess, np.zeros(600))
    assert path[-1] == pytest.approx(account.equity[-1] / account.cash_equity[-1] - 1.0)
    assert low[-1] == pytest.approx(math.expm1(found.low * 600), abs=1e-9)
    assert high[-1] == pytest.approx(math.expm1(found.high * 600), abs=1e-9)
    assert (low <= path + 1e-12).mean() > 0.9
    assert (path[0], low[0], high[0]) == (0.0, 0.0, 0.0)


def test_too_few_sessions_have_no_band():
    path, low, high = excess_path(account_of(0.001 * np.sin(np.arange(1, 31))))
    assert np.isfinite(path).all()
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_rolling_figures_are_those_of_their_window():
    values = np.array([0.01, 0.03, 0.02, -0.02])
    ratio, deviation = rolling(values, window=3)
    assert np.isnan(ratio[:2]).all()
    assert (ratio[2], deviation[2]) == (pytest.approx(2.0), pytest.approx(0.01))
    assert deviation[3] == pytest.approx(np.std(values[1:], ddof=1))
    assert np.isnan(rolling(np.zeros(5), window=3)[0]).all()
    assert np.isnan(rolling(values)[1]).all()


@pytest.mark.parametrize("length", [4, 7])
def test_periods_compound_to_the_whole(account, length):
    rows = by_period(account, length)
    assert math.prod(1 + row["return"] for row in rows) == pytest.approx(account.equity[-1] / account.equity[0])
    assert math.prod(1 + row["cash"] for row in rows) == pytest.approx(account.cash_equity[-1] / account.cash_equity[0])
    assert sum(row["sessions"] for row in rows) == 600
    assert [row["period"] for row in rows] == sorted({date[:length] for date in account.dates[1:]})


def test_periods_by_hand():
    dates = ["2020-01-30", "2020-01-31", "2020-02-03", "2020-02-04"]
    made = Account(dates=dates, equity=np.array([100.0, 110.0, 99.0, 105.0]), spot=np.ones(4), cash=np.zeros(3))
    january, february = by_period(made, 7)
    assert (january["period"], january["return"], january["sessions"]) == ("2020-01", pytest.approx(0.1), 1)
    assert february["return"] == pytest.approx(105 / 110 - 1)
    assert february["max_drawdown"] == pytest.approx(-0.1)
    assert (february["first_date"], february["last_date"]) == ("2020-02-03", "2020-02-04")


def test_drawdowns_are_those_that_a_plain_loop_finds(account):
    peak, peak_at, found, current = account.equity[0], 0, [], None
    for at, value in enumerate(account.equity):
        if value >= peak:
            if current:
                found.append((*current, account.dates[at]))
            peak, peak_at, current = value, at, None
        elif current is None or value / peak - 1 < current[0]:
            current = (value / peak - 1, account.dates[peak_at], account.dates[at])
    if current:
        found.append((*current, None))
    rows = drawdowns(account)
    assert [(r["peak"], r["trough"], r["recovered"]) for r in rows] == [row[1:] for row in sorted(found)]
    assert [row["depth"] for row in rows] == pytest.approx([row[0] for row in sorted(found)])
    # the valleys that quantstats 0.0.86 finds in these returns, the deepest first
    assert [row["trough"] for row in rows[:3]] == ["2021-12-27", "2022-03-28", "2021-01-04"]


def test_a_drawdown_counts_from_peak_to_recovery():
    dates = ["2020-01-30", "2020-01-31", "2020-02-03", "2020-02-04"]
    made = Account(dates=dates, equity=np.array([100.0, 90.0, 100.0, 99.0]), spot=np.ones(4), cash=np.zeros(3))
    first, second = drawdowns(made)
    assert (first["peak"], first["recovered"], first["sessions"], first["days"]) == ("2020-01-30", "2020-02-03", 2, 4)
    assert (second["depth"], second["recovered"], second["days"]) == (pytest.approx(-0.01), None, 1)


def test_sessions_begin_with_the_first_equity(account):
    table = by_session(account)
    assert table.height == 601
    assert math.isnan(table["return"][0])
    assert table["return"][1] == pytest.approx(account.returns[0])
    assert math.isnan(table["rolling_ratio"][62])
    last = account.excess[-63:]
    assert table["rolling_ratio"][-1] == pytest.approx(last.mean() / last.std(ddof=1))
