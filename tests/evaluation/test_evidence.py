"""Evidence: built from backtests made by hand."""

import json
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.attribution import beyond_cash
from clstm_core.evaluation.build_evidence import build_evidence
from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.figures import ATTRIBUTION, FIGURE
from tests.evaluation.made_up import N, account, book


def test_the_best_fixed_rule_stands_beside_the_judged_rung(evidence):
    assert evidence.rules[0]["rule"] == "near long call, stacked"
    assert "near long call, stacked, grows +2.00 bp per session, 0.200 per unit of risk" in evidence.rules_words
    assert "checkpoint 80% earns 0.100, 50% of it (1% to 99%)." in evidence.rules_words


def test_what_conventions_would_have_bought_arrives_apart_from_what_is_judged(evidence):
    assert [row["sin"] for row in evidence.sins] == ["clean", "mid_fills"]
    assert evidence.sins[1]["inflation"] is None  # what is no finite number
    assert evidence.delays == [{"fill_lag": -1, "possible": False}]
    assert evidence.sins_words == "Nothing here counts as a result."
    assert (evidence.costs, evidence.tilt, evidence.delays_words) == ([], [], "")
    assert {row["name"] for row in evidence.backtests}.isdisjoint({"mid_fills", "delay_-1"})


def test_what_is_earned_elsewhere_arrives_with_its_interval_and_in_words(evidence):
    home, fresh = evidence.generalisation
    assert (home["where"], fresh["where"]) == ("training dates", "worlds made of training days")
    assert home["low_bps"] == pytest.approx(3.0 - 0.5 * 1.9977, abs=1e-3)
    assert "actions" not in fresh
    assert "memorised: checkpoint 80% grows +3.00 bp" in evidence.generalisation_answer
    rung = evidence.policy_name.split("_")[1]
    package = {"020": "buys a call at the money of the near expiry", "080": "sells an iron condor of the far expiry"}
    assert [row["action"] for row in evidence.habits] == ["waits", package[rung]]
    assert evidence.habits[0]["wild"] == 0.9
    assert package[rung] in evidence.habits_words


def test_the_whole_run_arrives(evidence, comparison):
    assert evidence.data_label == "modelled quotes, modelled spread"
    assert evidence.policy_name == comparison.champion["name"]
    assert [curve.name for curve in evidence.curves] == [evidence.policy_name, "cash", "buy_and_hold"]
    assert [curve.is_policy for curve in evidence.curves] == [True, False, False]
    assert (evidence.first_date, evidence.last_date, evidence.n_sessions) == ("2024-01-02", "2024-03-01", N)
    assert evidence.verdict == comparison.verdict
    assert evidence.trial_count == comparison.trials == 3
    assert evidence.overfitting_answer == comparison.overfitting["answer"]
    assert [row["severity"] for row in evidence.quality] == ["error", "info", None]
    assert [row.get("p50_us") for row in evidence.parity] == [140.0, None]
    assert dict(evidence.provenance) == {
        "recipe": "smoke",
        "seed": "3",
        "env steps": "512",
        "market tensors": "d" * 64,
        "quotes file": "a" * 64,
        "git commit": "abc",
        "checkpoint judged, % of the run": comparison.champion["milestone"],
    }


def test_backtests_are_those_of_the_headlines_window_and_their_curves_are_named(evidence):
    assert {row["window"] for row in evidence.backtests} == {"test"}
    assert {row["fill_lag"] for row in evidence.backtests} == {0, 1}
    drawn = {(row["name"], row["fill_lag"]) for row in evidence.backtests if row["headline"]}
    assert drawn == {(curve.name, 1) for curve in evidence.curves}
    assert all(set(FIGURE) <= set(row) for row in evidence.backtests)
    assert [row["name"] for row in evidence.twin] == ["cash"]


def test_the_drawn_policies_stand_in_every_world_that_they_were_traded_in(evidence, results, comparison):
    traded = [(row["policy"], row["world"]) for row in evidence.worlds]
    champion = evidence.policy_name
    assert traded == [
        (champion, "calibrated"),
        ("cash", "calibrated"),
        ("cash", "zero-premium"),
        ("buy_and_hold", "calibrated"),
    ]
    alone = build_evidence(run="demo", facts={}, comparison=comparison, results=results)
    assert alone.worlds == []  # real quotes have no world beside them


def test_the_ladder_is_the_comparisons_pairs_in_the_order_of_rungs(evidence, comparison):
    assert len(evidence.ladder) == len(comparison.pairs)
    rungs = [row["milestone"] for row in evidence.ladder]
    assert rungs == sorted(rungs)


def test_attribution_adds_up_to_the_change_of_equity(evidence):
    terms = [row[name] for row in evidence.attribution for name in ATTRIBUTION]
    equity = evidence.curves[0].equity
    assert sum(terms) == pytest.approx(equity[-1] - equity[0], abs=1e-6)
    assert sum(row["pnl_usd"] for row in evidence.attribution) == pytest.approx(sum(terms), abs=1e-6)
    assert [row["month"] for row in evidence.attribution] == ["2024-01", "2024-02", "2024-03"]
    residual = sum(abs(row["residual_usd"]) for row in evidence.attribution)
    assert evidence.residual_share == pytest.approx(residual / sum(map(abs, terms)))


def test_attribution_beyond_cash_is_profit_less_what_cash_earned(evidence):
    equity = evidence.curves[0].equity
    cash = equity[0] * (1.0001 ** (N - 1) - 1)
    assert sum(row["cash_usd"] for row in evidence.attribution) == pytest.approx(cash)
    assert sum(row["excess_usd"] for row in evidence.attribution) == pytest.approx(equity[-1] - equity[0] - cash)
    assert [row["residual_share"] for row in evidence.attribution] == [
        pytest.approx(abs(row["residual_usd"]) / sum(abs(row[name]) for name in ATTRIBUTION))
        for row in evidence.attribution
    ]


def test_a_large_residual_is_flagged_in_its_month():
    month = {name: 0.0 for name in ATTRIBUTION} | {"pnl_usd": 100.0, "cash_usd": 40.0}
    good, bad = beyond_cash(
        [month | {"delta_usd": 75.0, "residual_usd": 25.0}, month | {"delta_usd": -7, "residual_usd": 3}]
    )
    assert (good["large"], bad["large"]) == (False, True)
    assert (good["excess_usd"], good["residual_share"]) == (60.0, 0.25)
    assert beyond_cash([month])[0]["large"] is False


def test_the_judged_account_arrives_whole(evidence):
    assert [row["date"] for row in evidence.sessions] == evidence.curves[0].dates
    assert [row["equity_usd"] for row in evidence.sessions] == evidence.curves[0].equity
    assert evidence.sessions[-1]["excess"] == pytest.approx(
        evidence.curves[0].equity[-1] / evidence.curves[0].equity[0] / 1.0001**59 - 1
    )
    assert evidence.sessions[0]["return"] is None
    assert (evidence.sessions[3]["legs"], evidence.sessions[10]["legs"]) == (1, 0)
    assert evidence.caps == {"net_exposure": 1.0}
    (trade,) = evidence.trades
    assert (trade["pnl_usd"], trade["days"], trade["action"]) == (pytest.approx(598.7), 7, "hold")
    assert evidence.worst_trades == []
    assert [row["action"] for row in evidence.trade_figures] == ["hold", "all"]
    figures = {row["figure"]: row["value"] for row in evidence.tear_sheet}
    assert figures["Start capital"] == evidence.curves[0].equity[0]
    assert figures["Sharpe ratio"] is None  # 59 returns are no year
    assert [row["period"] for row in evidence.months] == ["2024-01", "2024-02", "2024-03"]
    assert [row["regime"] for row in evidence.regimes] == ["calm", "middle", "wild"]
    assert evidence.crises == []


def test_implied_volatility_sorts_sessions_where_it_is_known(results, comparison):
    known = {row["date"]: 0.1 + 0.001 * k for k, row in enumerate(build(results, comparison).sessions)}
    found = build(results, comparison, implied=known)
    assert found.regimes_words.startswith("implied volatility")
    assert [row["sessions"] for row in found.regimes] == [20, 19, 20]


def test_the_critic_is_judged_where_its_discount_is_known(results, comparison):
    assert build(results, comparison).calibration == []
    rows = build(results, comparison, discount=0.9).calibration
    assert sum(row["sessions"] for row in rows) == N - 5
    assert rows[0]["low"] < rows[0]["seen"] < rows[0]["high"]


def test_an_account_that_never_traded_has_no_trips_of_anothers(results, comparison):
    champion = comparison.champion["backtest_id"]
    others = [
        replace(result, tables=result.tables | book(episode=1)) if result.id == champion else result
        for result in results
    ]
    assert build(others, comparison).trades == []


def test_simulated_dates_hold_no_crisis(results, comparison):
    champion = comparison.champion["backtest_id"]

    def labelled(label: str):
        moved = [
            replace(
                result,
                manifest=result.manifest | {"label": label},
                tables=result.tables | {"equity": shifted(result.tables["equity"], 170)},
            )
            if result.id == champion
            else result
            for result in results
        ]
        return build(moved, comparison).crises

    assert [row["crisis"] for row in labelled("modelled quotes")] == ["Yen carry trade"]
    assert labelled("simulated quotes") == []


def build(results, comparison, **more) -> Evidence:
    return build_evidence(run="demo", facts={}, comparison=comparison, results=results, **more)


def shifted(equity: pl.DataFrame, days: int) -> pl.DataFrame:
    return equity.with_columns(pl.col("snapshot") + timedelta(days=days))


def test_the_action_mix_is_a_share_of_all_decisions(evidence):
    assert evidence.actions[0] == {"action": "hold", "count": 40, "share": pytest.approx(40 / 60)}
    assert sum(row["share"] for row in evidence.actions) == pytest.approx(1.0)


def test_only_the_first_account_of_several_is_drawn():
    several = account("random", episodes=3)
    found = build_evidence(run="demo", facts={}, comparison=None, results=[several])
    assert found.curves[0].equity == account("random").tables["equity"]["equity_usd"].to_list()


def test_the_registrys_count_of_trials_goes_before_the_comparisons(results, comparison):
    def counted(trials):
        return build_evidence(run="demo", facts={}, comparison=comparison, results=results, trials=trials).trial_count

    assert (counted(None), counted(12), counted(0)) == (3, 12, 0)


def test_a_comparison_of_other_backtests_is_refused(results, comparison):
    champion = comparison.champion["backtest_id"]
    others = [result for result in results if result.id != champion]
    with pytest.raises(EvaluationError, match=f"by backtest {champion}: found none such among 4"):
        build_evidence(run="demo", facts={}, comparison=comparison, results=others)
    stale = {**comparison.to_dict(), "champion": {**comparison.champion, "backtest_id": "of-an-earlier-training"}}
    with pytest.raises(EvaluationError, match="Compare the checkpoints again"):
        build_evidence(run="demo", facts={}, comparison=stale, results=results)


def test_without_a_touch_fill_or_a_test_window_what_there_is_is_shown():
    fraction = [account("cash", rule="fraction"), account("cash", rule="fraction", lag=0)]
    found = build_evidence(run="demo", facts={}, comparison=None, results=fraction)
    assert [(row["fill_lag"], row["headline"]) for row in found.backtests] == [(1, True), (0, False)]
    late = [account("cash", window="validation", lag=2), account("cash", window="in_sample", lag=2)]
    found = build_evidence(run="demo", facts={}, comparison=None, results=late)
    assert [(row["window"], row["headline"]) for row in found.backtests] == [("validation", True)]


def test_a_run_of_which_nothing_is_known_is_empty():
    found = build_evidence(run="nobody", facts={}, comparison=None, results=[])
    assert found == Evidence(run="nobody")


def test_a_dict_of_a_comparison_is_as_good_as_the_comparison(results, comparison):
    read = json.loads(json.dumps(comparison.to_dict()))
    one, two = (build_evidence(run="r", facts={}, comparison=c, results=results) for c in (comparison, read))
    assert one == two
