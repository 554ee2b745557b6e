"""The evidence audit in the chain: passes on an honest run, and names each leak that is planted in one."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from assets.backtests import baseline_backtests, policy_backtests
from assets.checkpoint_comparison import checkpoint_comparison
from assets.critic_warmup import warm_critic
from assets.evidence_audit import evidence_audit
from assets.training import trained_policy
from clstm_core.evaluation import backtest, compare, headline, ladder, pairing, statistics
from clstm_core.evidence_audit.names import CHECKS
from clstm_core.market.tensors import MarketTensors


def slow(*values):
    """A case like one that always runs: each walks the chain's backtests anew."""
    return pytest.param(*values, marks=pytest.mark.slow)


def failed(chain):
    """Names of the audit's checks that fail, with their words, and that the chain stops there."""
    result = chain.stage(evidence_audit)
    found = {e.check_name: e for e in result.get_asset_check_evaluations() if e.asset_key == evidence_audit.key}
    assert list(found) == list(CHECKS)
    return {name: evaluation.description for name, evaluation in found.items() if not evaluation.passed}


def again(chain, *assets):
    """Judge the run anew: what was kept of these stages is forgotten."""
    for asset in assets:
        (chain.folder / f"{asset.key.path[-1]}.json").unlink(missing_ok=True)
    return chain.does(*assets)


def test_an_honest_run_passes_and_every_check_counted_something(validated):
    assert failed(validated) == {}
    gates = json.loads((validated.folder / "gates" / "evidence_audit.json").read_text())
    assert [row["name"] for row in gates["results"]] == list(CHECKS)
    assert all(row["passed"] and row["blocking"] and row["detail"] for row in gates["results"])


def test_the_report_names_the_audit(moved):
    page = (moved.home / "reports" / "generated" / "one" / "index.html").read_text()
    assert "Evidence audit: does it follow" in page
    assert all(name in page for name in CHECKS)


def test_a_champion_chosen_on_the_test_window_is_named(validated, monkeypatch):
    original = headline.champion_of

    def planted(groups, key, measured):
        honest = original(groups, key, measured).judged
        rungs = [rung for rung in headline.rungs_of(groups[key]) if rung.name != honest.name]
        best = max(rungs, key=lambda rung: rung.manifest["summary"]["total_return"])
        return headline.Choice(best, "the best Sharpe ratio on the validation window")

    monkeypatch.setattr(compare, "champion_of", planted)
    again(validated, checkpoint_comparison)
    assert "champion_on_validation" in failed(validated)


def test_a_headline_at_the_decisions_own_quotes_is_named(validated, monkeypatch):
    original = headline.headline_of
    monkeypatch.setattr(compare, "headline_of", lambda groups: original(groups)._replace(fill_lag=0))
    again(validated, checkpoint_comparison)
    assert "headline_fills_later" in failed(validated)


def test_backtests_without_commissions_are_named(validated, monkeypatch):
    original = ladder.run_backtests

    def planted(policies, market, env_config, *args, **options):
        free = dataclasses.replace(env_config, commission_per_contract_usd=0.0, commission_per_share_usd=0.0)
        return original(policies, market, free, *args, **options)

    monkeypatch.setattr(ladder, "run_backtests", planted)
    again(validated, policy_backtests, checkpoint_comparison)  # its books follow from its own costs
    said = failed(validated)
    assert "costs_charged" in said
    assert "commission_per_contract_usd" in said["costs_charged"]


@pytest.mark.parametrize("columns", [slice(15, 16), *(slow(one) for one in (slice(None), slice(0, 1), slice(4, 5)))])
def test_an_observation_that_carries_features_of_tomorrow_is_named(validated, monkeypatch, columns):
    from clstm_core.env.table_view import TableView

    original = TableView.features

    def planted(self, index):
        seen = original(self, index).clone()
        seen[:, columns] = original(self, (index + 1).clamp(max=len(self.features_TF) - 1))[:, columns]
        return seen

    monkeypatch.setattr(TableView, "features", planted)
    again(validated, policy_backtests)
    monkeypatch.undo()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    again(validated, checkpoint_comparison)
    assert "observations_rebuilt" in failed(validated)


@pytest.mark.parametrize(
    ("where", "name"),
    [(pairing, "log_returns"), slow(pairing, "simple_returns"), slow(statistics, "simple_returns")],
)
def test_a_comparison_that_clips_the_worst_days_is_named(validated, monkeypatch, where, name):
    original = getattr(where, name)

    def planted(curve):
        returns = original(curve)
        return np.maximum(returns, np.quantile(returns, 0.05))

    monkeypatch.setattr(where, name, planted)
    if where is statistics:
        again(validated, policy_backtests, baseline_backtests)
    again(validated, checkpoint_comparison)
    assert "figures_recomputed" in failed(validated)


def test_an_interval_of_a_lucky_seed_is_named(validated, monkeypatch):
    original = compare.paired_mean
    monkeypatch.setattr(compare, "paired_mean", lambda a, b, **options: original(a, b, **(options | {"seed": 7})))
    again(validated, checkpoint_comparison)
    assert "figures_recomputed" in failed(validated)


def test_a_validation_window_that_is_the_test_window_is_named(validated, monkeypatch):
    original = backtest.resolve_window

    def planted(market, window):
        if window == "validation":
            _, start, stop = original(market, "test")
            return window, start, stop
        return original(market, window)

    monkeypatch.setattr(backtest, "resolve_window", planted)
    again(validated, policy_backtests, baseline_backtests, checkpoint_comparison)
    said = failed(validated)
    assert "windows_disjoint" in said
    assert "outside its validation window" in said["windows_disjoint"]


@pytest.mark.parametrize("cut", [(3, 0), slow((0, 3))])
def test_a_test_window_that_begins_late_or_ends_early_is_named(validated, monkeypatch, cut):
    original = backtest.resolve_window

    def planted(market, window):
        name, start, stop = original(market, window)
        return (name, start + cut[0], stop - cut[1]) if window == "test" else (name, start, stop)

    monkeypatch.setattr(backtest, "resolve_window", planted)
    again(validated, policy_backtests, baseline_backtests, checkpoint_comparison)
    assert "expected every session of its test window" in failed(validated)["windows_disjoint"]


def test_a_count_of_trials_that_begins_anew_is_named(validated):
    """The comparison as it was made before the registry knew of other looks at these dates."""
    from clstm_core.artifacts.manifests import ComparisonManifest

    made = ComparisonManifest.read(validated.folder / "comparison.json")
    fewer = dict(made.comparison) | {"trials": made.comparison["trials"] - 1}
    dataclasses.replace(made, comparison=fewer).write(validated.folder / "comparison.json")
    said = failed(validated)
    assert list(said) == ["figures_recomputed", "statistics_recomputed"]
    assert "policies are said to have looked" in said["figures_recomputed"]
    assert "trials of the track record" in said["statistics_recomputed"]


@pytest.mark.parametrize(
    ("part", "name", "key", "check"),
    [
        ("tear_sheet", "Sharpe ratio", "high", "account_recomputed"),
        ("tear_sheet", "CVaR 95, one day", "value", "account_recomputed"),
        ("record", "dsr", "", "statistics_recomputed"),
        ("record", "min_sessions", "", "statistics_recomputed"),
        ("overfit", "probability", "", "statistics_recomputed"),
    ],
)
def test_a_figure_of_the_account_or_of_how_sure_it_is_that_was_altered_is_named(validated, part, name, key, check):
    from clstm_core.artifacts.manifests import ComparisonManifest

    made = ComparisonManifest.read(validated.folder / "comparison.json")
    altered = json.loads(json.dumps(made.comparison))
    if part == "tear_sheet":
        row = next(row for row in altered["account"]["tear_sheet"] if row["figure"] == name)
        row[key] = (row[key] or 0.0) + 0.01
    else:
        altered["statistics"][part] = {**(altered["statistics"][part] or {}), name: 0.02}
    dataclasses.replace(made, comparison=altered).write(validated.folder / "comparison.json")
    said = failed(validated)
    assert list(said) == [check]
    assert name in said[check] or "too little" in said[check]


@pytest.fixture
def trains_anew(validated, trains_here, monkeypatch):
    """Trains the run again, by what was planted, and judges it by the code as it is."""
    from clstm_core.generalisation import ensure
    from clstm_core.generalisation.measure import Measured

    def train(target, name, planted):
        for folder in (validated.folder / "checkpoints").iterdir():
            shutil.rmtree(folder)
        with monkeypatch.context() as patch:
            patch.setattr(target, name, planted)
            # ten seconds of walks through other markets, of which a champion on dates is not chosen
            patch.setattr(ensure, "measure", lambda *_args, **_options: Measured(rows=[], habits=[], rules=[]))
            validated.does(warm_critic, trained_policy)
        again(validated, policy_backtests, baseline_backtests, checkpoint_comparison)

    return train


def test_training_on_all_dates_is_named(validated, trains_anew):
    """The window that the envs take is the whole market; every manifest says otherwise."""
    original = MarketTensors.split

    def planted(self, name):
        return (0, self.n_snapshots) if name == "train" else original(self, name)

    trains_anew(MarketTensors, "split", planted)
    said = failed(validated)
    assert "training_dates" in said
    assert "outside the train window" in said["training_dates"]


def test_a_scaler_of_a_checkpoint_that_is_not_the_training_datess_is_named(validated, trains_anew):
    from clstm_core.model import encoder

    original = encoder.Encoder.__init__

    def planted(self, size, hidden, n_layers, mean, std):
        original(self, size, hidden, n_layers, mean, std * 1.05)

    trains_anew(encoder.Encoder, "__init__", planted)
    assert "fits_on_training_dates" in failed(validated)


def test_a_failed_audit_leaves_no_bundle_and_no_report(validated, stages, monkeypatch):
    original = headline.headline_of
    monkeypatch.setattr(compare, "headline_of", lambda groups: original(groups)._replace(fill_lag=0))
    again(validated, checkpoint_comparison)
    order, ops = stages
    result = validated.stage(*order[order.index(evidence_audit) :], ops=ops)
    assert not result.success
    assert {event.asset_key.path[-1] for event in result.get_asset_materialization_events()} == {"evidence_audit"}
