"""The walk-forward as an asset: its checks, its page, its observations, and what a second launch finds standing."""

from types import SimpleNamespace

import dagster as dg
import pytest

from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from assets.walk_forward import _ahead, _apart, walk_forward_record
from clstm_core.artifacts.places import Places
from clstm_core.store.store import MetricsStore
from clstm_core.walk_forward.run import read_walk

ASKED = {"walk": "small", "folds": 2, "training": 150, "validation": 61, "steps": 1280, "seeds": [0]}


def launched(home, instance, **changes):
    """A launch of the asset with the form filled in."""
    return dg.materialize(
        [walk_forward_record],
        instance=instance,
        resources={
            "paths": ProjectPaths(home=str(home)),
            "metrics": Metrics(path=str(home / "data" / "metrics.duckdb")),
            "report_server": ReportServer(home=str(home)),
            "recipe": Recipe(name="smoke", source="simulated", n_snapshots=501),
        },
        run_config={"ops": {"walk_forward_record": {"config": ASKED | changes}}},
        raise_on_error=False,
    )


def test_it_leaves_a_record_a_page_and_checks(home, instance, verdict, trains_here):
    verdict()
    result = launched(home, instance)
    assert result.success
    checks = {found.check_name: found.passed for found in result.get_asset_check_evaluations()}
    assert checks["folds_apart"]
    assert checks["ledgers_recompute"]
    assert set(checks) == {"folds_apart", "ledgers_recompute", "ahead_of_cash"}
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert metadata["report"].value.endswith("/walk-forward/small/index.html")
    assert (home / "reports" / "generated" / "walk-forward" / "small" / "index.html").is_file()
    assert 'href="walk-forward/small/index.html"' in (home / "reports" / "generated" / "index.html").read_text()
    assert len(metadata["folds"].value.records) == 2
    observed = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert len(observed) == 2
    made = read_walk(Places(home / "data"), "small")
    assert metadata["verdict"].value == made.verdict
    store = MetricsStore(home / "data" / "metrics.duckdb")
    known = {row["run"] for row in store.query("SELECT run FROM runs")}
    assert known == {"small.smoke.f01.s0", "small.smoke.f02.s0"}
    rows = store.query("SELECT count(*) AS n FROM backtests")[0]["n"]
    assert store.rebuild(home / "data")["backtests"] == rows


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"folds": 9}, "9 folds: expected at least"), ({"more_recipes": ["nope"]}, "'nope'"), ({"seeds": []}, "seeds []")],
)
def test_what_cannot_work_fails_in_a_sentence(home, instance, verdict, said, changes, words):
    verdict()
    result = launched(home, instance, **changes)
    assert not result.success
    assert words in said(result)


def test_a_market_that_is_not_proven_trains_nothing(home, instance, verdict, trains_here, said):
    verdict(failing=("conservation",))
    result = launched(home, instance)
    assert not result.success
    assert "the audit of fold 1's market failed" in said(result)
    assert not list((home / "data" / "runs").glob("*/checkpoints"))


def record(*, lows=(0.1,), **changes):
    """A record as the checks read it: one fold of each recipe, with what is changed of its row."""
    row = {"run": "r", "embargo": 147, "train_to": "2010-01-04", "validation_from": "2010-09-01"}
    row |= {"validation_to": "2012-09-03", "test_from": "2013-05-01", **changes}
    pair = {
        "against": "cash",
        "estimate": 1.0,
        "ci_high": 2.0,
        "confidence": 0.95,
        "n_dates": 400,
        "beyond_luck": False,
    }
    figures = [
        {"recipe": f"recipe {k}", "by_fold": [], "pairs": [{**pair, "ci_low": low, "p_value": None}]}
        for k, low in enumerate(lows)
    ]
    return SimpleNamespace(figures=figures, evidence={"folds": [row]})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"embargo": 146}, "146 sessions between two windows, expected 147"),
        ({"test_from": "2012-09-01"}, "overlap"),
    ],
)
def test_an_embargo_that_is_too_short_is_named(changes, words):
    found = _apart(SimpleNamespace(embargo=147, folds=1), record(**changes))
    assert found.passed == (not words)
    assert words in found.description


@pytest.mark.parametrize(
    ("lows", "passed"), [((0.1,), True), ((-0.1, 0.1), False), ((0.1, -0.1), True), ((None,), False)]
)
def test_a_recipe_that_is_walked_beside_the_launchs_makes_it_no_better(lows, passed):
    assert _ahead(record(lows=lows)).passed == passed
