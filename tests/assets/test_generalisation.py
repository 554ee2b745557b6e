"""A run in generated worlds through the chain: what it earns elsewhere is kept, chosen by, shown and exported."""

import dataclasses
import json

import pytest

from assets.checkpoint_comparison import checkpoint_comparison
from assets.evidence_audit import evidence_audit
from assets.exports import policy_bundle
from assets.fair_worlds import fair_worlds
from assets.reports import backtest_report
from assets.training import trained_policy
from clstm_core.artifacts.manifests import BundleManifest, ComparisonManifest, GeneralisationManifest
from clstm_core.deployment import runtimes
from clstm_core.errors import BundleError
from clstm_core.evaluation.generalisation import FRESH_WORLDS, TRAINING_DATES, TRAINING_WORLDS, VALIDATION_DATES
from clstm_core.specs import RUNGS
from clstm_core.store.store import MetricsStore


def earned(chain):
    return GeneralisationManifest.read(chain.folder / "generalisation.json")


def judged(chain):
    return ComparisonManifest.read(chain.folder / "comparison.json")


def planted(chain, *, growth: float):
    """What the ladder earns, altered: the second rung earns so much in fresh worlds and on validation dates."""
    kept = earned(chain)
    figures = [
        row | {"growth_bps": growth, "error_bps": 0.1, "per_risk": growth / 50.0, "deviation_bps": 50.0}
        if row["milestone"] == "040" and row["kind"] in (FRESH_WORLDS, VALIDATION_DATES)
        else row
        for row in kept.figures
    ]
    dataclasses.replace(kept, figures=figures).write(kept.place)


def judged_again(chain, stages, last):
    """Launch once more, up to `last`, what follows from a choice; the rungs' backtests stand as they are."""
    order = (fair_worlds, checkpoint_comparison, evidence_audit, policy_bundle, backtest_report)
    chain.does(*order[: order.index(last) + 1], ops=stages[1])


def test_what_the_ladder_earns_elsewhere_is_kept_and_in_the_store(in_worlds):
    kept = earned(in_worlds)
    kinds = {row["kind"] for row in kept.figures}
    assert {TRAINING_WORLDS, FRESH_WORLDS, VALIDATION_DATES, "blocks", "bates"} <= kinds
    assert "historical" not in kinds  # training had it
    assert [*dict.fromkeys(row["milestone"] for row in kept.figures)] == list(RUNGS)
    store = MetricsStore(in_worlds.data / "metrics.duckdb")
    rows = store.query("SELECT * FROM generalisation WHERE run = 'one'")
    assert len(rows) == len(kept.figures)
    assert all(sum(json.loads(row["actions"]).values()) == pytest.approx(1.0) for row in rows)
    store.rebuild(in_worlds.data)
    assert store.query("SELECT count(*) AS n FROM generalisation")[0]["n"] == len(rows)


def test_it_is_not_walked_again_and_its_check_speaks(in_worlds):
    before = earned(in_worlds).identity
    result = in_worlds.stage(trained_policy)
    assert result.success
    assert earned(in_worlds).identity == before
    (found,) = (one for one in result.get_asset_check_evaluations() if one.check_name == "generalises")
    assert "in fresh worlds of the same families, a gap of" in found.description
    assert {"gap_mean_bps", "gap_low_bps", "gap_high_bps"} <= set(found.metadata)
    gates = json.loads((in_worlds.folder / "gates" / "trained_policy.json").read_text())["results"]
    (gate,) = (row for row in gates if row["name"] == "generalises")
    assert not gate["blocking"]


def test_a_run_on_dates_is_measured_too_and_chosen_as_before(validated):
    kinds = {row["kind"] for row in earned(validated).figures}
    assert {TRAINING_DATES, FRESH_WORLDS, VALIDATION_DATES, "historical", "heston"} <= kinds
    assert TRAINING_WORLDS not in kinds
    assert "Sharpe" in judged(validated).champion["reason"]
    assert judged(validated).qualified


def test_the_report_shows_it(in_worlds):
    page = (in_worlds.home / "reports" / "generated" / "one" / "index.html").read_text()
    assert '<section id="generalisation"' in page
    assert "In calm markets (volatility at the money up to" in page
    assert "worlds: simulated quotes" in page


def test_it_is_said_to_be_trained_on_worlds_wherever_that_is_said(in_worlds):
    worlds = "worlds (historical 50%, heston 50%) made of the"
    page = (in_worlds.home / "reports" / "generated" / "one" / "index.html").read_text()
    bundle = BundleManifest.read(in_worlds.data / "bundles" / "one" / "manifest.json")
    (row,) = MetricsStore(in_worlds.data / "metrics.duckdb").query("SELECT * FROM runs WHERE run = 'one'")
    for said in (page, bundle.provenance["trained_on"], row["trained_on"]):
        assert worlds in said
    assert row["trained_label"] == "simulated quotes"


def test_a_ladder_of_which_no_rung_qualifies_has_no_champion(in_worlds, stages):
    """Five iterations teach nothing: what is shown is the last rung, and everything that leaves says what it is."""
    planted(in_worlds, growth=-5.0)
    judged_again(in_worlds, stages, backtest_report)
    made = judged(in_worlds)
    assert (made.champion["milestone"], made.qualified) == ("100", False)
    assert made.comparison["verdict"].startswith(
        "No rung qualifies: keep the champion there was, or cash. Checkpoint 100%"
    )
    assert "checkpoint 40% does not:" in " ".join(made.comparison["notes"])
    folder = in_worlds.data / "bundles" / "one"
    bundle = BundleManifest.read(folder / "manifest.json")
    assert not bundle.qualified
    assert (folder / "MODEL_CARD.md").read_text().startswith("# Model card: UNQUALIFIED\n\n**UNQUALIFIED: no rung")
    assert "is not to be traded" in (folder / "UNQUALIFIED.md").read_text()
    assert runtimes.onnx_metadata(folder / "policy.onnx")["standing"].startswith("UNQUALIFIED")
    gates = json.loads((in_worlds.folder / "gates" / "policy_bundle.json").read_text())["results"]
    assert {row["name"]: row["passed"] for row in gates}["champion_exported"] is False
    store = MetricsStore(in_worlds.data / "metrics.duckdb")
    (run,) = store.query("SELECT champion_milestone, verdict FROM runs WHERE run = 'one'")
    assert run["champion_milestone"] is None
    assert run["verdict"].startswith("No rung qualifies")
    page = (in_worlds.home / "reports" / "generated" / "one" / "index.html").read_text()
    assert "No rung qualifies: keep the champion there was, or cash." in page
    (folder / "UNQUALIFIED.md").unlink()
    with pytest.raises(BundleError, match=r"UNQUALIFIED\.md"):
        BundleManifest.read(folder / "manifest.json")


def test_the_rung_that_earns_in_fresh_worlds_is_champion_and_the_audit_agrees(in_worlds, stages):
    planted(in_worlds, growth=5.0)
    judged_again(in_worlds, stages, policy_bundle)
    made = judged(in_worlds)
    assert (made.champion["milestone"], made.qualified) == ("040", True)
    assert "the best growth per unit of risk on fresh worlds" in made.comparison["verdict"]
    bundle = BundleManifest.read(in_worlds.data / "bundles" / "one" / "manifest.json")
    assert (bundle.policy["milestone"], bundle.qualified) == ("040", True)
    assert not (in_worlds.data / "bundles" / "one" / "UNQUALIFIED.md").exists()


def test_without_its_figures_no_rung_is_champion_and_the_audit_stops_the_chain(in_worlds, said):
    (in_worlds.folder / "generalisation.json").unlink()
    in_worlds.does(checkpoint_comparison)
    assert not judged(in_worlds).qualified
    result = in_worlds.stage(evidence_audit)
    (found,) = (one for one in result.get_asset_check_evaluations() if not one.passed)
    assert "nothing says what the rungs earn in fresh worlds" in found.description


def test_figures_that_the_comparison_was_not_made_from_are_refused(in_worlds, said):
    planted(in_worlds, growth=5.0)
    for stage in (evidence_audit, backtest_report):
        assert "was made from another generalisation" in said(in_worlds.stage(stage))


def test_a_champion_by_another_rule_is_named_by_the_audit(in_worlds, monkeypatch):
    from clstm_core.evaluation import compare, headline

    original = headline.champion_of

    def lenient(groups, key, measured):
        found = original(groups, key, measured)
        return found._replace(qualified=not found.qualified)

    monkeypatch.setattr(compare, "champion_of", lenient)
    (in_worlds.folder / "comparison.json").unlink()
    in_worlds.does(checkpoint_comparison)
    result = in_worlds.stage(evidence_audit)
    failed = {one.check_name for one in result.get_asset_check_evaluations() if not one.passed}
    assert failed == {"champion_on_validation"}
