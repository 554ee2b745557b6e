"""What a comparison may claim, on curves made by hand: only what its interval shows, and on which data."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import BacktestManifest
from clstm_core.errors import EvaluationError
from clstm_core.evaluation import words
from clstm_core.evaluation.backtest import BacktestResult
from clstm_core.evaluation.compare import compare
from clstm_core.evaluation.figures import MEAN_METRIC
from clstm_core.evaluation.ledgers import BUDGET
from clstm_core.evaluation.pairing import series
from clstm_core.evaluation.statistics import performance
from clstm_core.evaluation.summary import summarise
from clstm_core.evaluation.words import claim, data_label
from clstm_core.market.tables.schema import UTC_NS

CASH_RETURN = 1e-4
N = 300


@pytest.fixture
def result_of(tmp_path: Path):
    """A backtest result with a curve of given daily returns; a checkpoint where a milestone is given."""

    def build(
        name: str,
        returns: np.ndarray,
        *,
        milestone: str = "",
        mode: str = "",
        window: str = "test",
        fill_lag: int = 1,
        **facts,
    ) -> BacktestResult:
        curve = 5e6 * np.concatenate([[1.0], np.cumprod(1.0 + returns)])
        n = len(curve)
        first = datetime(2015, 1, 1, tzinfo=UTC)
        equity = pl.DataFrame(
            {
                "episode": [0] * n,
                "step": range(n),
                "snapshot": [first + timedelta(days=i) for i in range(n)],
                "equity_usd": curve,
                "spot": 4000.0 + np.cumsum(np.cos(np.arange(n))),
                "cash_return": [0.0] + [CASH_RETURN] * (n - 1),
            }
        ).with_columns(pl.col("snapshot").cast(UTC_NS))
        folder = tmp_path / f"{name}_{window}_{fill_lag}"
        folder.mkdir(exist_ok=True)
        equity.write_parquet(folder / "equity.parquet")
        shown = performance(curve, equity["cash_return"].to_numpy()[1:]).to_dict()
        checkpoint = None
        if milestone:
            checkpoint = {
                "milestone": milestone,
                "env_steps": int(milestone) * 1000,
                "sha256": f"{name}",
                "folder": f"checkpoints/{milestone}",
                "trained_on": "sp500_modelled",
                "trained_label": "modelled quotes",
            }
        traded = 0 if name == "cash" else 12
        told = {
            "name": name,
            "policy": "checkpoint" if milestone else name,
            "milestone": milestone,
            "mode": mode,
            "run": "r1",
            "trader": {"label": name, "checkpoint": checkpoint},
            "window": {"name": window},
            "first_date": "2015-01-01",
            "last_date": "2015-12-31",
            "n_snapshots": n,
            "fill_lag": fill_lag,
            "fill_rule": "touch",
            "fill_fraction": 1.0,
            "seed": 0,
            "source": "sp500_modelled",
            "label": "modelled quotes",
            "spread": "modelled",
            "notes": [],
        }
        summary = {
            **shown,
            "turnover": 1.0,
            "spread_usd": 2.0,
            "fees_usd": 3.0,
            "n_fills": traded,
            "n_liquidations": 0,
            "n_ruined": 0,
            "max_margin_used": 0.1,
        }
        artifact = BacktestManifest(
            id=folder.name,
            created_at="2026-01-01T00:00:00+00:00",
            facts=told | facts,
            summary=summary,
            files=files_of(folder, "equity.parquet"),
        ).write(folder / FILE)
        return BacktestResult(id=folder.name, folder=folder, manifest=artifact.flat(), artifact=artifact)

    return build


def noise(seed: int, mean: float = 0.0, n: int = N, scale: float = 0.01) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, scale, n)


def cash(n: int = N) -> np.ndarray:
    return np.full(n, CASH_RETURN)


def test_a_policy_that_does_what_cash_does_is_not_distinguishable_from_it(result_of) -> None:
    found = compare(
        [result_of("cash", cash()), result_of("clstm_100_argmax", cash() + 1e-16, milestone="100", mode="argmax")]
    )
    pair = next(pair for pair in found.pairs if pair["metric"] == MEAN_METRIC)
    assert (pair["estimate"], pair["distinguishable"]) == (0.0, False)
    assert "not distinguishable from cash (+0.0% per year, 95% CI +0.0% to +0.0%)" in found.verdict
    assert "Deflated Sharpe ratio: none, of fewer than 60 returns, or none that vary." in found.notes


def test_noise_about_cash_is_not_distinguishable(result_of) -> None:
    found = compare(
        [
            result_of("cash", cash()),
            result_of("buy_and_hold", noise(1)),
            result_of("clstm_100_argmax", noise(0) + CASH_RETURN, milestone="100", mode="argmax"),
        ]
    )
    assert "not distinguishable from cash (" in found.verdict
    assert "95% CI -" in found.verdict
    assert f"none is corrected for the {len(found.pairs)} differences" in " ".join(found.notes)
    assert "beats" not in found.verdict


def test_a_real_edge_beats_and_a_real_loss_trails(result_of) -> None:
    market = noise(2)
    better = result_of("clstm_100_argmax", market + noise(3, 0.002, scale=0.001), milestone="100", mode="argmax")
    found = compare([result_of("cash", cash()), result_of("buy_and_hold", market), better])
    assert "beats buy and hold (+" in found.verdict
    worse = result_of("clstm_080_argmax", market + noise(3, -0.002, scale=0.001), milestone="080", mode="argmax")
    found = compare(
        [result_of("cash", cash()), result_of("buy_and_hold", market), result_of("put_write", market), worse]
    )
    assert "trails buy and hold (-" in found.verdict
    assert "; trails PUT." in found.verdict


def test_ten_sessions_are_too_short_to_say_anything(result_of) -> None:
    found = compare(
        [
            result_of("cash", cash(10)),
            result_of("clstm_100_argmax", np.full(10, 0.02), milestone="100", mode="argmax"),
        ]
    )
    assert "too short to distinguish from cash (10 returns)" in found.verdict
    assert "10 daily returns are too few" in found.verdict
    assert "11 sessions" in found.verdict
    assert "CI" not in found.verdict
    assert all(pair["ci_low"] is None and not pair["distinguishable"] for pair in found.pairs)


def test_the_verdict_names_its_data_and_what_it_was_trained_on(result_of) -> None:
    real = {"source": "spx_cboe", "label": "real quotes", "spread": "quoted"}
    found = compare(
        [
            result_of("cash", cash(10), **real),
            result_of("clstm_100_argmax", cash(10), milestone="100", mode="argmax", **real),
        ]
    )
    assert "Data: real quotes (spx_cboe, spread quoted)." in found.verdict
    assert "Trained on sp500_modelled (modelled quotes), never on spx_cboe." in found.verdict
    modelled = compare([result_of("a", cash()), result_of("b_argmax", noise(0), milestone="100", mode="argmax")])
    assert "modelled quotes (sp500_modelled, spread modelled), smile and spreads assumed" in modelled.verdict
    assert "Trained on earlier sessions of sp500_modelled." in modelled.verdict


def test_labels_of_worlds_without_a_premium() -> None:
    manifest = {"source": "simulated", "label": "simulated quotes", "spread": "modelled", "premium": False}
    assert data_label(manifest).endswith("no variance premium (P = Q)")


def test_the_champion_is_picked_on_validation_and_not_on_test(result_of) -> None:
    results = [result_of("cash", cash()), result_of("cash", cash(), window="validation")]
    for milestone, on_validation, on_test in (("020", 0.005, -0.001), ("060", 0.0, 0.005), ("100", -0.001, 0.0)):
        name = f"clstm_{milestone}_argmax"
        for window, mean in (("validation", on_validation), ("test", on_test)):
            returns = noise(int(milestone), mean)
            results.append(result_of(name, returns, milestone=milestone, mode="argmax", window=window))
    found = compare(results)
    assert found.champion is not None
    assert found.champion["milestone"] == "020"
    assert "validation" in found.champion["reason"]
    assert found.verdict.startswith("Checkpoint 20%")
    assert found.trials == 3
    assert {row["name"] for row in found.rows if row["champion"]} == {"clstm_020_argmax"}


def test_without_validation_the_last_rung_stands_and_it_says_so(result_of) -> None:
    results = [result_of("cash", cash())]
    results += [
        result_of(f"clstm_{m}_argmax", noise(int(m), mean), milestone=m, mode="argmax")
        for m, mean in (("020", 0.01), ("100", 0.0))
    ]
    found = compare(results)
    assert found.champion is not None
    assert found.champion["milestone"] == "100"
    assert "for want of a validation window" in found.verdict


def earned(**rungs: tuple[float, float]) -> list[dict]:
    """What each rung of a run in generated worlds grows by in fresh ones and on validation dates."""
    return [
        {
            **{"milestone": name.removeprefix("r"), "kind": kind, "mode": "argmax", "draws": 100.0},
            **{"growth_bps": growth, "error_bps": 0.5, "per_risk": growth / 50.0},
        }
        for name, (fresh, dates) in rungs.items()
        for kind, growth in (("training_worlds", fresh), ("fresh_worlds", fresh), ("validation_dates", dates))
    ]


def two_rungs(result_of) -> list[BacktestResult]:
    """The first rung is better on validation dates, the second on test dates."""
    results = []
    for window, first, second in (("validation", 0.002, 0.0), ("test", 0.0, 0.002)):
        results += [
            result_of("cash", cash(), window=window),
            result_of("clstm_020_argmax", noise(0) + first, milestone="020", mode="argmax", window=window),
            result_of("clstm_100_argmax", noise(1) + second, milestone="100", mode="argmax", window=window),
        ]
    return results


def test_of_a_run_in_worlds_the_rung_that_earns_in_fresh_ones_is_champion(result_of) -> None:
    results = two_rungs(result_of)
    assert compare(results).champion["milestone"] == "020"
    found = compare(results, measured=earned(r020=(0.2, 3.0), r100=(2.0, 0.0)))
    assert (found.champion["milestone"], found.champion["qualified"]) == ("100", True)
    assert found.verdict.startswith("Checkpoint 100% (100,000 env steps) (the best growth per unit of risk on fresh")
    assert any("checkpoint 20% does not: growth on fresh worlds is not told" in note for note in found.notes)


def test_where_no_rung_qualifies_the_last_is_shown_and_called_no_champion(result_of) -> None:
    found = compare(two_rungs(result_of), measured=earned(r020=(2.0, -3.0), r100=(0.2, 0.0)))
    assert (found.champion["milestone"], found.champion["qualified"]) == ("100", False)
    assert found.verdict.startswith(
        "No rung qualifies: keep the champion there was, or cash. Checkpoint 100% (100,000 env steps) (the last one, "
        "shown for want of a champion: unqualified) returned"
    )
    assert not any(row["champion"] for row in (*found.rows, *found.pairs))
    assert {pair["policy_name"] for pair in found.judged()} == {"clstm_100_argmax"}


@pytest.mark.parametrize("kept", [(), ("training_worlds", "validation_dates")])
def test_a_run_in_worlds_without_figures_of_fresh_ones_has_no_champion(result_of, kept) -> None:
    measured = [row for row in earned(r020=(9.0, 9.0), r100=(9.0, 9.0)) if row["kind"] in kept]
    found = compare(two_rungs(result_of), measured=measured)
    assert (found.champion["milestone"], found.champion["qualified"]) == ("100", False)
    assert any("fresh worlds" in note for note in found.notes)


def test_a_rung_that_never_traded_is_no_worse_than_cash_when_choosing(result_of) -> None:
    results = [result_of("cash", cash(), window=window) for window in ("test", "validation")]
    for window in ("test", "validation"):
        results.append(result_of("clstm_020_argmax", noise(20, -0.003), milestone="020", mode="argmax", window=window))
        idle = result_of("clstm_100_argmax", cash(), milestone="100", mode="argmax", window=window)
        idle.manifest["summary"]["n_fills"] = 0
        results.append(idle)
    found = compare(results)
    assert found.champion is not None
    assert found.champion["milestone"] == "100"
    assert "It made no trade: it is cash." in found.verdict


def test_the_lagged_fill_is_the_headline_and_the_other_stands_beside(result_of) -> None:
    results = []
    for lag, mean in ((1, 0.0), (0, 0.01)):
        results.append(result_of("cash", cash(), fill_lag=lag))
        results.append(result_of("clstm_100_argmax", noise(0, mean), milestone="100", mode="argmax", fill_lag=lag))
    found = compare(results)
    headline = [row for row in found.rows if row["headline"]]
    assert {row["fill_lag"] for row in headline} == {1}
    later = next(row["total_return"] for row in found.rows if row["fill_lag"] == 0 and row["policy"] == "checkpoint")
    assert f"at the decision's own quotes it returned {later:+.1%}" in found.verdict
    assert "at the next session's quotes, touch" in found.verdict


def ladder_of(result_of, early: tuple[float, float], late: tuple[float, float]) -> list[BacktestResult]:
    """Two rungs whose mean daily returns in sample and held out are given, on noise that both share."""
    results = []
    for number, window in enumerate(("in_sample", "test")):
        shared = noise(number)
        for milestone, means in (("020", early), ("100", late)):
            returns = shared + means[number] + noise(int(milestone), scale=0.0005)
            results.append(
                result_of(f"clstm_{milestone}_argmax", returns, milestone=milestone, mode="argmax", window=window)
            )
    return results


def test_an_early_rung_that_overfit_less_is_told(result_of) -> None:
    found = compare(ladder_of(result_of, early=(0.0005, 0.0), late=(0.003, 0.0)))
    assert "Did early checkpoints overfit less? Yes" in found.overfitting["answer"]
    first = found.overfitting["rows"][0]
    assert first["gap_less_last"]["estimate"] == pytest.approx(-25.0, abs=3.0)
    assert found.overfitting["rows"][-1]["gap_less_last"] is None


def test_rungs_that_overfit_alike_are_not_distinguishable(result_of) -> None:
    found = compare(ladder_of(result_of, early=(0.002, 0.0), late=(0.002, 0.0)))
    assert "Did early checkpoints overfit less? Not distinguishable" in found.overfitting["answer"]


def test_overfitting_is_not_answered_without_an_in_sample_window(result_of) -> None:
    found = compare([result_of("cash", cash()), result_of("a_argmax", noise(0), milestone="100", mode="argmax")])
    assert "Not answered" in found.overfitting["answer"]


def test_a_ruined_account_keeps_its_last_equity_on_the_windows_dates(result_of) -> None:
    ruined = result_of("ruined", np.concatenate([noise(0, n=40), [-0.95]]))
    found = series([result_of("cash", cash()), ruined])
    assert found["ruined"].log_returns.shape == (N,)
    assert (found["ruined"].log_returns[41:] == 0.0).all()
    assert found["ruined"].excess[41:, 0] == pytest.approx(-CASH_RETURN)


def test_other_dates_are_refused(result_of) -> None:
    shifted = result_of("b", noise(0, n=100))
    table = shifted.table("equity").with_columns(pl.col("snapshot") + pl.duration(days=1))
    table.write_parquet(shifted.folder / "equity.parquet")
    with pytest.raises(EvaluationError, match="b was backtested on other dates"):
        series([result_of("cash", cash()), shifted])


def test_what_cannot_be_compared_is_said(result_of) -> None:
    with pytest.raises(EvaluationError, match="nothing to compare"):
        compare([])
    with pytest.raises(EvaluationError, match="no backtest of the test window: found validation"):
        compare([result_of("cash", cash(), window="validation")])
    one = result_of("cash", cash())
    with pytest.raises(EvaluationError, match="two backtests of cash"):
        compare([one, one])


def test_baselines_alone_give_no_champion(result_of) -> None:
    found = compare([result_of("cash", cash()), result_of("buy_and_hold", noise(0))])
    assert found.champion is None
    assert found.verdict.startswith("No checkpoint was backtested")
    assert found.trials == 0


def test_rows_carry_what_a_reader_asks(result_of) -> None:
    found = compare([result_of("cash", cash()), result_of("a_argmax", noise(0), milestone="100", mode="argmax")])
    row = found.to_rows()[0]
    wanted = {"policy", "milestone", "window", "fill_lag", "fill_rule", "total_return", "sharpe", "max_drawdown"}
    assert wanted | {"turnover", "spread_usd", "fees_usd", "n_fills"} <= set(row)
    assert found.to_dict()["verdict"] == found.verdict


def test_a_claim_converts_basis_points_per_session_to_percent_per_year() -> None:
    pair = {"against": "cash", "estimate": 1.0, "ci_low": 0.5, "ci_high": 1.5, "confidence": 0.95, "n_dates": 300}
    assert claim(pair) == "beats cash (+2.5% per year, 95% CI +1.3% to +3.8%)"


def test_a_window_under_a_year_is_not_annualised() -> None:
    pair = {"against": "cash", "estimate": 1.0, "ci_low": 0.5, "ci_high": 1.5, "confidence": 0.95, "n_dates": 100}
    assert claim(pair) == "beats cash (+1.0% over the 100 sessions, 95% CI +0.5% to +1.5%)"


def test_what_is_beaten_must_be_more_than_luck() -> None:
    pair = {"against": "cash", "ci_low": 1.0, "ci_high": 3.0, "estimate": 2.0, "confidence": 0.95, "n_dates": 400}
    skill = pair | {"p_value": 0.004, "p_adjusted": 0.004, "beyond_luck": True}
    assert words.beats(skill)
    assert words.claim(skill).endswith(", luck p = 0.4%)")
    lucky = pair | {
        "p_value": 0.2,
        "p_adjusted": 0.2,
        "beyond_luck": False,
        "stressed_ci_low": 1.0,
        "stressed_ci_high": 2.0,
    }
    assert not words.beats(lucky)
    assert words.claim(lucky).startswith("is ahead, but no further than luck reaches, of cash")
    untested = lucky | {"p_value": None, "p_adjusted": None}
    assert not words.beats(untested)
    assert words.claim(untested).startswith("is ahead, untested against luck, of cash")
    behind = lucky | {"ci_low": -3.0, "ci_high": -1.0}
    assert words.claim(behind).startswith("trails cash")


def test_a_summary_by_hand() -> None:
    stamp = [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    equity = pl.DataFrame(
        {
            "episode": [0, 0, 0],
            "step": [0, 1, 2],
            "snapshot": stamp,
            "equity_usd": [100.0, 80.0, 120.0],
            "margin_usd": [0.0, 40.0, 30.0],
            "cash_return": [0.0, 0.0, 0.0],
            "slippage_usd": [0.0, 1.0, 2.0],
            "fees_usd": [0.0, 0.5, 0.5],
            "liquidated": [False, True, False],
            "over_budget": [False, True, True],
            "budget_breached": [False, True, False],
            **{name: [0.0, 0.5, 0.25] for name in BUDGET},
            "terminated": [False, False, False],
        }
    )
    fills = pl.DataFrame(
        {
            "quantity": [-2.0, 2.0, 10.0],
            "price": [1.5, 0.0, 3.0],
            "multiplier": [10.0, 10.0, 1.0],
            "reason": ["open", "expiry", "hedge"],
            "size_zero": [True, False, False],
        }
    )
    decisions = pl.DataFrame({"action_name": ["hold", "hold"], "unfilled": [True, False], "rejected": [False, False]})
    tables = {"equity": equity, "fills": fills, "decisions": decisions, "positions": pl.DataFrame({"stale": [True]})}
    found = summarise(tables, capital=100.0)
    assert found["turnover"] == pytest.approx((2 * 1.5 * 10 + 10 * 3) / 100)
    assert (found["n_fills"], found["n_expiries"], found["n_liquidations"], found["n_unfilled"]) == (2, 1, 1, 1)
    assert found["n_size_zero_fills"] == 1
    assert (found["spread_usd"], found["fees_usd"]) == (3.0, 1.0)
    assert found["total_return"] == pytest.approx(0.2)
    assert found["max_drawdown"] == pytest.approx(-0.2)
    assert found["max_margin_used"] == pytest.approx(0.5)
    assert (found["largest_net_exposure"], found["largest_premium_sold"]) == (0.5, 0.5)
    assert (found["n_budget_breaches"], found["longest_budget_cure"]) == (2, 1)
    assert found["action_mix"] == {"hold": 1.0}
    assert found["sharpe"] is None


def test_what_is_beaten_must_be_beaten_in_the_stressed_world_too() -> None:
    pair = {"against": "cash", "ci_low": 1.0, "ci_high": 3.0, "estimate": 2.0, "confidence": 0.95, "n_dates": 400}
    assert words.beats(pair)
    assert words.claim(pair).startswith("beats cash")
    survives = pair | {"stressed_ci_low": 0.2, "stressed_ci_high": 2.0}
    assert words.beats(survives)
    lost = pair | {"stressed_ci_low": -0.1, "stressed_ci_high": 2.0}
    assert not words.beats(lost)
    assert words.claim(lost).startswith("is ahead, but not in the stressed world, of cash")
    behind = pair | {"ci_low": -3.0, "ci_high": -1.0, "stressed_ci_low": -4.0, "stressed_ci_high": -2.0}
    assert words.claim(behind).startswith("trails cash")
