"""A challenger as an asset: its checks, tables and page, that it is proposed and nothing more, and mistakes."""

import dagster as dg
import pytest

from assets.challenger import challenger_policy
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import ChallengerManifest
from clstm_core.artifacts.places import Places
from clstm_core.errors import RegistryError
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.retrain import read_challenger
from clstm_core.store.store import MetricsStore

ASKED = {"steps": 1280, "gate": 61, "judged": 61, "worlds": 10, "parity_steps": 30, "why": "a test of the asset"}


def launched(home, instance, **changes):
    instance.add_dynamic_partitions(training_run.name, ["mine"])
    return dg.materialize(
        [challenger_policy],
        instance=instance,
        partition_key="mine",
        resources={
            "paths": ProjectPaths(home=str(home)),
            "metrics": Metrics(path=str(home / "data" / "metrics.duckdb")),
            "report_server": ReportServer(home=str(home)),
            "recipe": Recipe(name="smoke", source="simulated", n_snapshots=600),
        },
        run_config={"ops": {"challenger_policy": {"config": ASKED | changes}}},
        raise_on_error=False,
    )


def test_a_first_challenger_is_made_and_proposed_and_promoted_by_nobody(home, instance, verdict, trains_here):
    verdict()
    result = launched(home, instance)
    assert result.success
    checks = {found.check_name: found.passed for found in result.get_asset_check_evaluations()}
    assert checks == {
        "actor_untouched": True,
        "critic_gained": True,
        "near_champion": True,
        "nothing_unlearned": True,
        "may_be_proposed": True,
    }
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    places = Places(home / "data")
    made = read_challenger(places, "mine")
    assert metadata["answer"].value == made.answer
    assert metadata["why"].value == made.why == "a test of the asset"
    assert "mine is challenger" in metadata["proposed"].value
    assert metadata["label"].value == "simulated quotes"
    assert metadata["page"].value.endswith("/challengers/mine/index.html")
    page = home / "reports" / "generated" / "challengers" / "mine" / "index.html"
    assert metadata["page_path"].value == str(page)
    assert "From scratch: passed every stage" in page.read_text()
    assert "it waits for a decision" in page.read_text()
    champion = home / "reports" / "generated" / "champion" / "index.html"
    assert '<a href="../challengers/mine/index.html">mine</a>' in champion.read_text()
    (row,) = metadata["side_by_side"].value.records
    assert row.data["start"] == "scratch"
    state = Registry(places).current()
    assert state.challenger.identity == made.bundle
    assert state.champion is None
    store = MetricsStore(home / "data" / "metrics.duckdb")
    assert [row["decision"] for row in store.query("SELECT decision FROM promotions")] == ["propose"]
    (kept,) = store.query("SELECT * FROM challengers")
    assert (kept["run"], kept["outcome"], kept["why"]) == ("mine", "challenger", made.why)
    assert store.query("SELECT count(*) AS n FROM training_metrics")[0]["n"] == 5
    again = launched(home, instance)
    assert again.success
    assert Registry(places).current().decision.number == state.decision.number  # it stands: proposed once


def test_a_start_from_nobody_is_a_sentence(home, instance, verdict, said):
    result = launched(home, instance, start="champion")
    assert not result.success
    assert "no champion to begin with" in said(result)


@pytest.fixture
def ended(monkeypatch):
    """A retraining whose only start the gate ended."""
    import clstm_core.feedback.retrain as room

    gate = {"name": "gate", "passed": False, "gain": -0.01, "limit": 0.0, "words": "It explains less."}
    facts = {"run": "mine", "start": "champion", "why": "a test", "outcome": "critic", "bundle": "", "stages": [gate]}
    facts |= {"answer": "mine is no challenger.", "champion": "c" * 64, "judged": {}, "figures": {}, "created": "2026"}

    def retrain(plan, places, telling):
        return [ChallengerManifest(**facts).write(places.challenger("mine") / FILE)]

    monkeypatch.setattr(room, "retrain", retrain)


def page_of(home):
    return (home / "reports" / "generated" / "challengers" / "mine" / "index.html").read_text()


def test_one_that_a_stage_ended_has_a_page_too(home, instance, ended):
    result = launched(home, instance)
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert event.materialization.metadata["proposed"].value == "Nothing was proposed."
    assert "From the champion: ended at the gate" in page_of(home)
    assert "It explains less." in page_of(home)


def test_what_it_showed_has_a_page_where_the_registry_refuses_it(home, instance, ended, monkeypatch, said):
    import clstm_core.feedback.standing as standing

    def refuses(places, found, why):
        raise RegistryError("made before the plan that stands")

    monkeypatch.setattr(standing, "propose_first", refuses)
    result = launched(home, instance)
    assert not result.success
    assert "made before the plan that stands" in said(result)
    assert "ended at the gate" in page_of(home)
