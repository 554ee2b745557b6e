"""Known values by hand, the limits of what a sample can say, and the coverage of the paired interval."""

import math

import numpy as np
import pytest

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.statistics import (
    MIN_OBSERVATIONS,
    difference_of_means,
    log_returns,
    max_drawdown,
    paired_mean,
    paired_sharpe,
    performance,
    sharpe_ratio,
    simple_returns,
    underwater,
)


def curve_of(returns: np.ndarray, start: float = 100.0) -> np.ndarray:
    return start * np.concatenate([[1.0], np.cumprod(1.0 + returns)])


def test_sharpe_of_a_hand_computed_series() -> None:
    # mean 1%, sample variance ((1%)^2 + 0 + (1%)^2) / 2 = 1e-4, so that S = 1 x sqrt(252)
    assert sharpe_ratio(np.array([0.00, 0.01, 0.02])) == pytest.approx(math.sqrt(252))
    assert sharpe_ratio(np.array([0.00, 0.01, 0.02]), periods_per_year=4.0) == pytest.approx(2.0)


def test_a_constant_series_has_no_sharpe_ratio() -> None:
    assert sharpe_ratio(np.full(100, 1e-4)) is None
    assert sharpe_ratio(np.array([0.01])) is None


def test_drawdown_of_a_hand_computed_curve() -> None:
    curve = np.array([100.0, 120.0, 90.0, 110.0, 130.0, 117.0])
    assert max_drawdown(curve) == pytest.approx(-0.25)
    assert underwater(curve) == pytest.approx([0.0, 0.0, -0.25, 110 / 120 - 1, 0.0, -0.1])
    assert max_drawdown(np.array([1.0, 2.0, 3.0])) == 0.0


def test_drawdown_below_zero_equity_exceeds_the_whole_peak() -> None:
    assert max_drawdown(np.array([100.0, -50.0])) == pytest.approx(-1.5)


def test_performance_of_a_curve_that_grows_as_cash_does() -> None:
    cash = np.full(252, 1e-4)
    shown = performance(curve_of(cash), cash)
    assert shown.n_returns == 252
    assert shown.total_return == pytest.approx(1.0001**252 - 1)
    assert shown.annual_return == pytest.approx(1.0001**252 - 1)
    assert shown.annual_volatility == pytest.approx(0.0, abs=1e-12)
    assert shown.sharpe is None


def test_performance_subtracts_cash() -> None:
    cash = np.full(260, 0.002)
    returns = np.tile([0.01, -0.004], 130)
    shown = performance(curve_of(returns), cash)
    deviation = 0.007 * math.sqrt(260 / 259)
    assert shown.ratio == pytest.approx((0.003 - 0.002) / deviation)
    assert shown.sharpe == pytest.approx((0.003 - 0.002) / deviation * math.sqrt(252))
    assert shown.annual_volatility == pytest.approx(deviation * math.sqrt(252))


@pytest.mark.parametrize("count", [9, 21, 103, 249])
def test_less_than_a_year_is_not_annualised(count) -> None:
    shown = performance(curve_of(np.tile([0.01, 0.0], count)[:count]), np.zeros(count))
    assert shown.total_return == pytest.approx(1.01 ** ((count + 1) // 2) - 1)
    assert shown.annual_return is None
    assert shown.annual_volatility is None
    assert shown.sharpe is None
    assert shown.ratio == pytest.approx(
        0.01 * ((count + 1) // 2) / count / np.std(np.tile([0.01, 0.0], count)[:count], ddof=1)
    )


def test_returns_after_ruin_are_finite() -> None:
    curve = np.array([100.0, 50.0, -20.0, -20.0])
    assert simple_returns(curve)[0] == pytest.approx(-0.5)
    assert np.isfinite(log_returns(curve)).all()
    assert log_returns(curve).sum() == pytest.approx(math.log(1e-6))
    assert log_returns(curve)[-1] == 0.0


@pytest.mark.parametrize("curve", [np.array([1.0]), np.array([0.0, 1.0]), np.ones((2, 2))])
def test_no_returns_from_what_is_no_curve(curve: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match="expected at least two points"):
        log_returns(curve)


def test_performance_names_a_mismatch() -> None:
    with pytest.raises(EvaluationError, match="3 returns of equity beside 2 of cash"):
        performance(np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(2))


def test_a_series_against_itself_is_not_distinguishable() -> None:
    returns = np.random.default_rng(0).normal(0.0, 0.01, 300)
    interval = paired_mean(returns, returns + 1e-15)
    assert (interval.estimate, interval.low, interval.high, interval.sign) == (0.0, 0.0, 0.0, 0)
    both = paired_sharpe(returns[:, None], returns[:, None] + 1e-15)
    assert both is not None
    assert both.sign == 0


def test_a_clear_difference_is_told_and_has_its_sign() -> None:
    rng = np.random.default_rng(1)
    market = rng.normal(0.0, 0.01, 400)
    better = market + rng.normal(0.001, 0.002, 400)
    interval = paired_mean(better, market, scale=1e4)
    assert interval.low is not None
    assert interval.high is not None
    assert interval.low < interval.estimate < interval.high
    assert interval.estimate == pytest.approx((better - market).mean() * 1e4)
    assert interval.sign == 1
    assert paired_mean(market, better).sign == -1


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(2)
    market = rng.normal(0.0, 0.02, 400)
    a, b = market + rng.normal(0.0005, 0.001, 400), market
    paired = paired_mean(a, b)
    unpaired = difference_of_means(a, b)
    assert paired.low is not None
    assert paired.high is not None
    assert unpaired.low is not None
    assert unpaired.high is not None
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)
    assert paired.sign == 1
    assert unpaired.sign == 0


def test_the_interval_covers_no_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    told = sum(
        paired_mean(rng.normal(0.0, 0.01, 150), rng.normal(0.0, 0.01, 150), replications=400).sign != 0
        for _ in range(200)
    )
    # 5% of 200 is 10; 25 is beyond five standard deviations of that
    assert told <= 25


def test_too_few_returns_have_no_interval() -> None:
    returns = np.full(MIN_OBSERVATIONS - 1, 0.05)
    interval = paired_mean(returns, np.zeros_like(returns))
    assert interval.too_short
    assert interval.sign == 0
    assert interval.estimate == pytest.approx(0.05)
    assert difference_of_means(returns, np.zeros(500)).too_short


def test_intervals_are_seeded() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=100), rng.normal(size=100)
    assert paired_mean(a, b, seed=1) == paired_mean(a, b, seed=1)
    assert paired_mean(a, b, seed=1) != paired_mean(a, b, seed=2)


def test_serial_dependence_widens_the_interval() -> None:
    rng = np.random.default_rng(5)
    shocks = rng.normal(size=500)
    smooth = np.convolve(shocks, np.ones(10) / 10, mode="same")
    interval = paired_mean(smooth, np.zeros(500))
    assert interval.block_length is not None
    assert interval.low is not None
    assert interval.high is not None
    independent = 2 * 1.96 * smooth.std(ddof=1) / math.sqrt(500)
    assert interval.block_length > 3
    assert interval.high - interval.low > 1.5 * independent


def test_several_accounts_are_not_taken_for_one_diversified_account() -> None:
    rng = np.random.default_rng(6)
    accounts = rng.normal(0.001, 0.01, (400, 4))
    difference = paired_sharpe(accounts, accounts[:, :1])
    assert difference is not None
    each = [sharpe_ratio(account) or 0.0 for account in accounts.T]
    assert difference.estimate == pytest.approx(np.mean(each) - each[0])


def test_cash_has_no_sharpe_to_compare_with() -> None:
    assert paired_sharpe(np.random.default_rng(7).normal(size=(50, 1)), np.zeros((50, 1))) is None


def test_unpaired_lengths_are_refused() -> None:
    with pytest.raises(EvaluationError, match="cannot be paired"):
        paired_mean(np.zeros(30), np.zeros(31))
