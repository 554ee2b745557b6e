"""Chance that is as busy as a policy: what is measured of a ledger, and what a random trader makes of it."""

import math

import polars as pl
import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.errors import EvaluationError
from clstm_core.evaluation.backtest import run_backtest
from clstm_core.evaluation.baselines.chance import (
    SESSIONS_PER_DAY,
    Activity,
    MatchedRandom,
    activity_of,
    closing_rate,
)
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.baselines.straddles import ShortStraddle
from clstm_core.evaluation.ladder import backtest_ladder, backtest_matched
from clstm_core.specs import ACTIONS, CLOSE_ALL, FIRST_TEMPLATE, HOLD


class Books:
    """A backtest of two accounts over ten sessions: legs [(episode, step opened, sessions held)]."""

    def __init__(self, *legs: tuple[int, int, int]):
        fills = [{"episode": e, "step": s, "kind": "option", "reason": "open"} for e, s, _ in legs]
        fills += [{"episode": 0, "step": 1, "kind": "underlying", "reason": "open"}]
        fills += [{"episode": e, "step": s + held, "kind": "option", "reason": "expiry"} for e, s, held in legs]
        held = [{"episode": e, "step": s + k} for e, s, held in legs for k in range(held)]
        self.tables = {
            "fills": pl.DataFrame(fills),
            "positions": pl.DataFrame(held, schema={"episode": pl.Int64, "step": pl.Int64}),
            "equity": pl.DataFrame([{"episode": e, "step": s} for e in (0, 1) for s in range(11)]),
        }

    def table(self, name: str) -> pl.DataFrame:
        return self.tables[name]


def test_openings_are_orders_per_session_and_holding_is_sessions_per_leg() -> None:
    # a pair opened at once counts as one opening; another account opens one leg
    found = activity_of(Books((0, 2, 6), (0, 2, 6), (1, 1, 3)))
    assert found == Activity(openings=2 / 20, holding=5.0)
    assert activity_of(Books()) is None


@pytest.mark.parametrize("bad", [(0.0, 5.0), (1.1, 5.0), (0.5, 0.5), (math.nan, 2.0), (0.5, math.nan)])
def test_an_activity_that_is_none_is_refused(bad) -> None:
    with pytest.raises(EvaluationError, match="expected a rate above 0"):
        Activity(openings=bad[0], holding=bad[1])


@pytest.mark.parametrize("holding", [1.5, 4.0, 12.0, 25.0])
@pytest.mark.parametrize("days", [(30.0, 60.0), (5.0, 12.0)])
def test_the_closing_rate_gives_the_holding_time_that_was_asked_for(holding, days) -> None:
    sessions = [round(d * SESSIONS_PER_DAY) for d in days]
    days = tuple(s / SESSIONS_PER_DAY for s in sessions)
    rate = closing_rate(holding, days)
    # by counting: a leg lives through session k unless it was closed before, and no longer than to its expiry
    lived = sum((1 - rate) ** k for m in sessions for k in range(m)) / len(sessions)
    assert lived == pytest.approx(min(holding, sum(sessions) / 2), rel=1e-4)
    assert closing_rate(1.0, days) == 1.0
    assert closing_rate(1e3, days) == 0.0


def test_it_draws_openings_and_closes_as_often_as_asked(account_of, decide) -> None:
    n = 20_000
    mask = torch.zeros(n, len(ACTIONS), dtype=torch.bool)
    mask[:, [HOLD, CLOSE_ALL, 2, 7, 30]] = True
    mask[: n // 2, CLOSE_ALL] = False
    policy = MatchedRandom(Activity(openings=0.2, holding=4.0), of="x", seed=1, n_episodes=n)
    policy.reset(n)
    action = policy.draw(mask)
    assert set(action.tolist()) == {HOLD, CLOSE_ALL, 7, 30}
    for part in (action[: n // 2], action[n // 2 :]):
        assert float((part >= FIRST_TEMPLATE).double().mean()) == pytest.approx(0.2, abs=0.015)
        assert float((part == 7).double().mean()) == pytest.approx(0.1, abs=0.01)
    closed = (action == CLOSE_ALL).double()
    assert float(closed[n // 2 :].mean()) == pytest.approx(policy.closing, abs=0.015)
    assert not closed[: n // 2].any()
    mask[:, FIRST_TEMPLATE:] = False
    assert set(policy.draw(mask).tolist()) == {HOLD, CLOSE_ALL}


@pytest.mark.parametrize(("openings", "holding"), [(0.15, 4.0), (0.05, 12.0)])
@pytest.mark.parametrize("lag", [0, 1])
def test_its_own_ledgers_show_the_activity_that_was_matched(market, tmp_path, openings, holding, lag) -> None:
    wanted = Activity(openings=openings, holding=holding)
    policy = MatchedRandom(wanted, of="a policy", seed=3, n_episodes=48)
    result = run_backtest(policy, market, EnvConfig(fill_lag=lag), "train", out_dir=tmp_path)
    found = activity_of(result)
    assert found.openings == pytest.approx(openings, rel=0.12)
    assert found.holding == pytest.approx(holding, rel=0.12)
    matched = {"of": "a policy", "backtest": "", "openings": openings, "holding": holding}
    assert result.manifest["trader"]["matched"] == matched
    assert "opened as often and held as long as by a policy" in result.manifest["trader"]["label"]


def test_the_seed_decides(account_of, decide) -> None:
    env = account_of(*[5e6] * 200)
    first, again, other = (
        decide(MatchedRandom(Activity(openings=0.5, holding=3.0), of="x", seed=seed), env).share_quantity_N
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_chance_is_matched_to_the_champion_on_validation_dates_and_traded_on_the_judged_ones(
    market, ladder, tmp_path
) -> None:
    config = EnvConfig()
    rungs = backtest_ladder(ladder, market, config, None, tmp_path, meta={"run": "tiny"})
    (found,) = backtest_matched(rungs, market, config, None, tmp_path, meta={"run": "tiny"})
    assert (found.name, found.manifest["policy"]) == ("matched_random", "matched_random")
    assert (found.manifest["window"]["name"], found.manifest["fill_lag"]) == ("test", 1)
    matched = found.manifest["trader"]["matched"]
    of = matched["of"].removesuffix(" on validation dates")
    measured = next(
        result
        for result in rungs
        if result.name == of and result.manifest["window"]["name"] == "validation" and result.manifest["fill_lag"] == 1
    )
    assert activity_of(measured) == Activity(openings=matched["openings"], holding=matched["holding"])


def test_a_champion_that_holds_no_options_has_no_match(market, ladder, tmp_path, monkeypatch) -> None:
    config = EnvConfig()
    rungs = backtest_ladder(ladder[:1], market, config, None, tmp_path)
    monkeypatch.setattr("clstm_core.evaluation.ladder.activity_of", lambda result: None)
    assert backtest_matched(rungs, market, config, None, tmp_path) == []


def test_what_holds_only_cash_is_not_busy_and_a_straddle_is(market, tmp_path) -> None:
    cash = run_backtest(Rule("cash", "Cash"), market, EnvConfig(), "validation", out_dir=tmp_path)
    assert activity_of(cash) is None
    straddle = run_backtest(ShortStraddle("s", "s"), market, EnvConfig(), "train", out_dir=tmp_path)
    found = activity_of(straddle)
    assert found.openings == pytest.approx(1 / 20, rel=0.15)
    assert found.holding == pytest.approx(20, rel=0.15)
