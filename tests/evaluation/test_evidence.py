"""Evidence: built from backtests made by hand, kept beside the run, and refused when it is not what was kept."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.attribution import beyond_cash
from clstm_core.evaluation.build_evidence import build_evidence
from clstm_core.evaluation.compare import compare
from clstm_core.evaluation.evidence import EVIDENCE_VERSION, Curve, Evidence, load_evidence, save_evidence
from clstm_core.evaluation.exposures import CAPS
from clstm_core.evaluation.figures import ATTRIBUTION, FIGURE
from clstm_core.evaluation.ledgers import FILLS, POSITIONS

N = 60
TERMS = ("delta_usd", "gamma_usd", "vega_usd", "theta_usd", "carry_usd", "settlement_usd", "residual_usd")
ACTIONS = ["hold"] * 40 + ["near_short_strangle"] * 15 + ["hedge_delta"] * 5


@dataclass
class MadeUp:
    """A backtest that nobody ran: it has what judging takes, and no folder."""

    id: str
    name: str
    manifest: dict[str, Any]
    tables: dict[str, pl.DataFrame] = field(repr=False)

    def table(self, name: str) -> pl.DataFrame:
        return self.tables[name]

    def curves(self):
        equity = self.tables["equity"]
        wide = equity.pivot("episode", index="step", values="equity_usd").sort("step").drop("step")
        first = equity.filter(pl.col("episode") == 0)
        return wide.to_numpy(), first["cash_return"].to_numpy()[1:], first["snapshot"]


def ledger(seed: int, episode: int) -> pl.DataFrame:
    """One episode's equity, split into terms that add up to it."""
    random = np.random.default_rng([seed, episode])
    first = datetime(2024, 1, 2, 21, tzinfo=UTC)
    terms = {name: random.normal(10 * k, 900, N) for k, name in enumerate(TERMS)}
    costs = {"slippage_usd": random.uniform(0, 60, N), "fees_usd": random.uniform(0, 8, N)}
    for values in (*terms.values(), *costs.values()):
        values[0] = 0.0
    return pl.DataFrame(
        {
            "episode": [episode] * N,
            "step": range(N),
            "snapshot": [first + timedelta(days=k) for k in range(N)],
            "equity_usd": 1e6 + np.cumsum(sum(terms.values()) - sum(costs.values())),
            "cash_return": [0.0] + [1e-4] * (N - 1),
            "spot": 5000.0 + np.cumsum(random.normal(1, 30, N)),
            "interest_usd": 0.0,
            "margin_usd": 1000.0,
            **{name: 0.1 for name in CAPS},
            **terms,
            **costs,
        }
    )


def book(episode: int = 0) -> dict[str, pl.DataFrame]:
    """A put sold on the third day, that expires worthless on the tenth."""
    first = datetime(2024, 1, 2, 21, tzinfo=UTC)
    trade = {"episode": episode, "kind": "option", "contract_id": "P", "multiplier": 100.0, "fill_rule": "touch"}
    sold = {"step": 3, "quantity": -2.0, "price": 3.0, "fee_usd": 1.3, "reason": "open"}
    gone = {"step": 10, "quantity": 2.0, "price": 0.0, "fee_usd": 0.0, "reason": "expiry"}
    rows = [
        {
            **trade,
            **fill,
            "snapshot": first + timedelta(days=int(fill["step"])),
            "bid": 3.0,
            "ask": 3.1,
            "size_zero": False,
        }
        for fill in (sold, gone)
    ]
    held = [
        {"episode": episode, "step": step, "contract_id": "P", "quantity": -2.0, "multiplier": 100.0, "mark": 3.0}
        | {"stale": False, "snapshot": first + timedelta(days=step)}
        for step in range(3, 10)
    ]
    return {"fills": pl.DataFrame(rows).cast(FILLS), "positions": pl.DataFrame(held).cast(POSITIONS)}


def account(name: str, *, window: str = "test", lag: int = 1, rule: str = "touch", episodes: int = 1) -> MadeUp:
    """A backtest called `name`; one of a checkpoint where it begins with clstm_."""
    rung, mode = name.split("_")[1:] if name.startswith("clstm_") else ("", "")
    equity = pl.concat([ledger(sum(map(ord, name)) + lag, episode) for episode in range(episodes)])
    total = float(equity["equity_usd"][N - 1] / 1e6 - 1)
    manifest = {
        "name": name,
        "policy": "checkpoint" if rung else name,
        "milestone": rung,
        "mode": mode,
        "run": "demo",
        "trader": {"label": name, "checkpoint": {"sha256": name, "env_steps": int(rung or 0)} if rung else None},
        "window": {"name": window},
        "first_date": "2024-01-02",
        "last_date": "2024-03-01",
        "n_snapshots": N,
        "fill_rule": rule,
        "fill_fraction": 1.0 if rule == "touch" else 0.56,
        "fill_lag": lag,
        "seed": 0,
        "source": "sp500_modelled",
        "label": "modelled quotes",
        "spread": "modelled",
        "notes": [],
        "env": {"max_net_exposure": 1.0},
        "quotes": {"path": "cache/quotes/q/quotes.parquet", "sha256": "a" * 64},
        "data_sha256": "d" * 64,
        "summary": {name: 0.0 for name in FIGURE}
        | {"total_return": total, "sharpe": total, "n_returns": N - 1, "n_ruined": 0, "n_fills": 3},
    }
    decisions = pl.DataFrame({"episode": 0, "step": range(1, N + 1), "action_name": ACTIONS})
    decisions = decisions.with_columns(value=pl.col("step").sin(), reward=pl.col("step").cos())
    tables = {"equity": equity, "decisions": decisions, **book()}
    return MadeUp(id=f"{name}-{window}-{lag}-{rule}", name=name, manifest=manifest, tables=tables)


POLICIES = ("clstm_020_argmax", "clstm_080_argmax", "clstm_080_stochastic", "cash", "buy_and_hold")


@pytest.fixture(scope="module")
def results() -> list[MadeUp]:
    """Two rungs and two baselines on the test window at both lags, and on validation."""
    found = [account(name, lag=lag, episodes=2 if "stoch" in name else 1) for lag in (1, 0) for name in POLICIES]
    return found + [account(name, window="validation") for name in POLICIES if "stoch" not in name]


@pytest.fixture(scope="module")
def comparison(results):
    return compare(results, replications=50)


@pytest.fixture
def evidence(results, comparison) -> Evidence:
    """What a whole run shows."""
    return build_evidence(
        run="demo",
        facts={
            "recipe": "smoke",
            "seed": 3,
            "env_steps": 512,
            "trained_on": "sp500_modelled",
            "trained_label": "modelled quotes",
            "git_commit": "abc",
            "champion_milestone": "of an earlier comparison",
            "quotes_sha256": None,
            "heldout_snapshots": 7,
            "started_at": datetime(2026, 1, 5, tzinfo=UTC),
        },
        comparison=comparison,
        results=results,
        twin=[account("cash", window="test")],
        training_rows=[
            {"iteration": 1, "env_steps": 256, "approx_kl": 0.01, "heldout_explained_variance_5": math.nan},
            {"iteration": 2, "env_steps": 512, "approx_kl": 0.02, "mean_reward": 1},
        ],
        gates=[{"gate": "audit", "name": "fees", "passed": False, "recorded_at": datetime(2026, 1, 5, tzinfo=UTC)}],
        exports=[{"file": "policy.onnx", "bytes": 9}],
        parity=[{"runtime": "onnx", "steps": 1000}, {"runtime": "torchscript", "steps": 1000}],
        latency=[{"runtime": "onnx", "p50_us": 140.0}],
        generalisation=[
            {
                **{"milestone": "080", "kind": kind, "mode": "argmax", "label": "simulated quotes", "draws": 65.0},
                **{
                    "growth_bps": growth,
                    "error_bps": 0.5,
                    "deviation_bps": 10.0,
                    "per_risk": 0.1,
                    "gap_bps": None,
                    "actions": {"hold": 1.0},
                },
            }
            for kind, growth in (("training_dates", 3.0), ("fresh_worlds", 1.0))
        ],
        habits=[
            {"milestone": rung, "tercile": name, "from_vol": 0.1, "to_vol": 0.2, "actions": {"hold": 0.9, other: 0.1}}
            for rung, other in (("020", "near_long_call"), ("080", "far_iron_condor"))
            for name in ("calm", "middle", "wild")
        ],
        rules=[
            {
                "rule": "near long call, stacked",
                "growth_bps": 2.0,
                "error_bps": 0.1,
                "deviation_bps": 10.0,
                "per_risk": 0.2,
            }
        ],
        conventions={
            "sins": [{"sin": "clean", "inflation": None}, {"sin": "mid_fills", "inflation": math.inf}],
            "delays": [{"fill_lag": -1, "possible": False}],
            "break_evens": [{"policy": "cash", "spread_multiple": None}],
            "answers": {"sins": "Nothing here counts as a result."},
            "apart": [],
        },
        findings=[{"check": "wide", "severity": "info"}, {"check": "odd"}, {"check": "copied", "severity": "error"}],
        generated_at="2026-01-05 10:00 UTC",
    )


def test_the_best_fixed_rule_stands_beside_the_judged_rung(evidence):
    assert evidence.rules[0]["rule"] == "near long call, stacked"
    assert "near long call, stacked, grows +2.00 bp per session, 0.200 per unit of risk" in evidence.rules_words
    assert "rung 080 earns 0.100, 50% of it (1% to 99%)." in evidence.rules_words


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
    assert "memorised: rung 080 grows +3.00 bp" in evidence.generalisation_answer
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


def test_what_was_saved_is_loaded(evidence, tmp_path):
    written = save_evidence(evidence, tmp_path / "evidence")
    assert written.keys() == {path.name for path in (tmp_path / "evidence").iterdir()}
    assert load_evidence(tmp_path / "evidence") == evidence
    assert "NaN" not in (tmp_path / "evidence" / "evidence.json").read_text()
    assert save_evidence(evidence, tmp_path / "again") == written


def test_saving_again_replaces_the_whole(evidence, tmp_path):
    save_evidence(evidence, tmp_path / "evidence")
    save_evidence(Evidence(run="later"), tmp_path / "evidence")
    assert load_evidence(tmp_path / "evidence") == Evidence(run="later")
    assert [path.name for path in tmp_path.iterdir()] == ["evidence"]


def altered(change: Callable[[dict], Any]):
    """Rewrite evidence.json by `change`, which returns its new content or changes it in place."""

    def alter(folder: Path) -> None:
        path = folder / "evidence.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))

    return alter


def without(name: str):
    return altered(lambda content: content.pop(name) and None)


def with_value(name: str, value: Any):
    return altered(lambda content: content.update({name: value}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "evidence.json").unlink(), "evidence.json"),
        (lambda folder: (folder / "evidence.json").write_text("{"), "JSONDecodeError"),
        (lambda folder: (folder / "evidence.json").write_bytes(b"\xff\xfe"), "UnicodeDecodeError"),
        (lambda folder: (folder / "evidence.json").write_text("[" * 100_000), "RecursionError"),
        (lambda folder: (folder / "evidence.json").write_text("[]"), f"not of version {EVIDENCE_VERSION}"),
        (lambda folder: (folder / "curves.parquet").unlink(), "curves.parquet"),
        (lambda folder: (folder / "training.parquet").write_bytes(b"PAR1"), "training.parquet differ"),
        (with_value("version", EVIDENCE_VERSION - 1), f"not of version {EVIDENCE_VERSION}"),
        (with_value("files", {"evidence.json": "0"}), "does not name its tables"),
        (with_value("files", None), "does not name its tables"),
        (without("verdict"), "verdict missing or unknown"),
        (with_value("colour", "red"), "colour missing or unknown"),
        (with_value("run", None), "run in evidence.json"),
        (with_value("n_sessions", "many"), "n_sessions in"),
        (with_value("n_sessions", True), "n_sessions in"),
        (with_value("residual_share", "large"), "residual_share in"),
        (with_value("gates", {}), "gates in"),
        (with_value("gates", ["fees"]), "gates in"),
        (with_value("provenance", [["a", "b", "c"]]), "provenance in"),
        (with_value("provenance", 7), "provenance in"),
        (with_value("verdict_points", [1]), "verdict_points in"),
        (with_value("caps", {"net_exposure": "much"}), "caps in"),
    ],
)
def test_what_is_not_what_was_saved_is_one_sentence(evidence, tmp_path, damage, says):
    folder = tmp_path / "evidence"
    save_evidence(evidence, folder)
    damage(folder)
    with pytest.raises(EvaluationError, match=says) as found:
        load_evidence(folder)
    assert str(found.value).startswith(f"unusable evidence {folder}: ")
    assert str(found.value).endswith("Make it again from the run's backtests.")


def test_a_table_of_another_shape_is_refused_though_its_hash_is_right(evidence, tmp_path):
    from clstm_core.artifacts.folder import file_sha256

    folder = tmp_path / "evidence"
    save_evidence(evidence, folder)
    curves = folder / "curves.parquet"
    pl.read_parquet(curves).drop("equity_usd").write_parquet(curves)
    altered(lambda content: content["files"].update({"curves.parquet": file_sha256(curves)}))(folder)
    with pytest.raises(EvaluationError, match="KeyError: 'equity_usd'"):
        load_evidence(folder)


@pytest.mark.parametrize("values", [(0.1, "high"), (True, "yes"), (0.1, math.nan), (0.1, [1]), ({}, 1)])
def test_a_column_that_could_not_be_read_as_it_was_is_not_written(tmp_path, values):
    mixed = Evidence(run="r", training=[{"approx_kl": value} for value in values])
    with pytest.raises(EvaluationError, match="cannot write training of the evidence for r"):
        save_evidence(mixed, tmp_path / "evidence")
    assert not (tmp_path / "evidence").exists()


@pytest.mark.parametrize(("dates", "equity"), [([], []), (["2024-01-02"], []), (["2024-01-02"], [1.0, 2.0])])
def test_a_curve_has_one_equity_per_date(dates, equity):
    with pytest.raises(EvaluationError, match="one equity per date"):
        Curve(name="c", dates=dates, equity=equity)
