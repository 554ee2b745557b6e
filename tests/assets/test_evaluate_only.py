"""The job `evaluate_only` makes all that comes after the training, whatever stood there before."""

import pytest

from clstm_core.artifacts.manifests import BundleManifest, ComparisonManifest, ReportManifest
from clstm_core.artifacts.places import Places
from orchestration.definitions import build_defs


@pytest.fixture
def evaluate(instance, stages, monkeypatch):
    """Executes the job for a chain's run."""

    def execute(chain):
        monkeypatch.setenv("CLSTM_HOME", str(chain.home))
        job = build_defs().resolve_job_def("evaluate_only")
        return job.execute_in_process(
            instance=instance, partition_key=chain.run, run_config={"ops": stages[1]}, raise_on_error=False
        )

    return execute


def shown(chain):
    """The comparison, and those that the bundle and the report were made of."""
    places = Places(chain.data)
    run = places.run(chain.run)
    bundle = BundleManifest.read(places.bundle(chain.run) / "manifest.json")
    parents = [found.parents["comparison"] for found in (bundle, ReportManifest.read(run.report))]
    return ComparisonManifest.read(run.comparison).identity, parents


def test_a_run_that_is_trained_and_no_further_gets_its_report(trained, evaluate, said):
    assert not (trained.data / "backtests").exists()
    result = evaluate(trained)
    assert result.success, said(result)
    comparison, parents = shown(trained)
    assert parents == [comparison, comparison]


def test_a_comparison_that_comes_out_otherwise_gets_its_own_bundle(moved, evaluate, said, monkeypatch):
    before, _ = shown(moved)
    monkeypatch.setattr(
        "clstm_core.evaluation.companions.companion_sentence", lambda *_: "Something else is known by now."
    )
    result = evaluate(moved)
    assert result.success, said(result)
    comparison, parents = shown(moved)
    assert comparison != before
    assert parents == [comparison, comparison]
