"""What is told of retrainings: starts of a plan together, decisions beside them, and what is damaged by its name."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import ChallengerManifest, TensorsManifest
from clstm_core.artifacts.places import Places
from clstm_core.feedback.challenger_figures import ALL, stage_of
from clstm_core.feedback.challenger_story import story
from clstm_core.feedback.plan import PLAN, RetrainPlan
from clstm_core.feedback.promote import decide
from clstm_core.feedback.registry import Registry

sys.path.insert(0, str(Path(__file__).parent))
from registry_makings import bundle, challenger
from retrain_makings import SMALL

WHY = "because a test asks"
GATE = {"name": "gate", "passed": False, "gain": -0.01, "limit": 0.0, "words": "It explains less."}


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "data")


@pytest.fixture
def made(places):
    """Makes a challenger below the data folder."""

    def make(run, **facts):
        return challenger(places.root, run, **facts)

    return make


def keep_plan(places, name, **changes):
    plan = RetrainPlan(**(SMALL | {"name": name} | changes))
    folder = places.run(name).path
    folder.mkdir(parents=True)
    (folder / PLAN).write_text(json.dumps(plan.to_dict()))
    return plan


def both(places, made, name="june"):
    """A plan of two starts: the first ended at the gate, the other may be proposed."""
    keep_plan(places, name, starts=("champion", "scratch"), champion="c" * 64, champion_folder="bundles/c")
    ended(places, name, champion="c" * 64)
    return made(f"{name}.scratch", champion="c" * 64, start="scratch")


def ended(places, run, **facts):
    """A challenger that the gate ended: no pairs, no bundle."""
    said = {"run": run, "start": "champion", "why": "a test", "outcome": "critic", "answer": f"{run} is no challenger."}
    said |= {"bundle": "", "stages": [GATE], "judged": {}, "figures": {}, "created": "2026-11-02T00:00:00+00:00"}
    place = places.challenger(run) / FILE
    return ChallengerManifest(**(said | {"champion": ""} | facts)).write(place)


def test_nothing_was_made(places):
    told = story(places)
    assert (told["retrainings"], told["damaged"], told["answer"]) == ([], [], "No challenger was made yet.")


def test_the_starts_of_a_plan_stand_side_by_side_and_the_newest_first(places, made):
    both(places, made)
    made("may", created="2026-10-01T00:00:00+00:00")
    told = story(places)
    june, may = told["retrainings"]
    assert (june["name"], may["name"]) == ("june", "may")
    assert [(start["run"], start["start"]) for start in june["starts"]] == [
        ("june", "champion"),
        ("june.scratch", "scratch"),
    ]
    assert june["answer"].startswith("From the champion: ended at the gate, its critic foresees no more")
    assert "From scratch: passed every stage, log growth beyond cash +" in june["answer"]
    assert june["facts"]["steps"] == SMALL["steps"]
    assert june["label"] == "modelled quotes"
    assert told["answer"].startswith("3 starts were trained to an end, 2 of them passed every stage. The newest, june:")


def test_a_start_that_has_not_ended_is_named(places):
    keep_plan(places, "june", starts=("champion", "scratch"), champion="c" * 64, champion_folder="bundles/c")
    ended(places, "june", champion="c" * 64)
    (june,) = story(places)["retrainings"]
    assert [start["state"] for start in june["starts"]] == ["whole", "missing"]
    assert "From scratch: has not come to its end" in june["answer"]


def test_without_a_plan_names_tell_what_belongs_together(places, made):
    ended(places, "june", champion="c" * 64)
    made("june.scratch", champion="c" * 64, start="scratch")
    made("may.scratch", start="scratch")  # of no `may`: a retraining of that name
    names = {found["name"]: len(found["starts"]) for found in story(places)["retrainings"]}
    assert names == {"june": 2, "may.scratch": 1}


def test_figures_are_those_of_the_pairs(places, made):
    growth, against = np.linspace(-0.01, 0.02, 252), np.full(252, 0.001)
    figures = {"max_drawdown": -0.2, "champion_max_drawdown": -0.1, "champion_luck_p": 0.5}
    made("june", champion="c" * 64, growth=growth, against=against, figures=figures)
    ((start,),) = (found["starts"] for found in story(places)["retrainings"])
    mine, theirs = start["accounts"]["challenger"], start["accounts"]["champion"]
    assert mine["growth"] == mine["beyond_cash"] == pytest.approx(growth.sum())
    assert theirs["growth"] == pytest.approx(0.252)
    assert (mine["max_drawdown"], theirs["max_drawdown"], theirs["luck_p"]) == (-0.2, -0.1, 0.5)
    regimes = {row["regime"]: row for row in start["regimes"]}
    assert [row["sessions"] for row in regimes.values()] == [252, 84, 84, 84]
    assert regimes[ALL]["estimate"] == pytest.approx(1e4 * (growth - against).mean())
    assert regimes[ALL]["low"] < regimes[ALL]["estimate"] < regimes[ALL]["high"]
    assert regimes["calm"]["estimate"] == pytest.approx(1e4 * (growth - against)[::3].mean())
    assert start["days"]["challenger"] == growth.tolist()


def test_few_days_have_no_interval_and_a_first_challenger_no_champion(places, made):
    made("june", growth=np.full(61, 0.001))
    ((start,),) = (found["starts"] for found in story(places)["retrainings"])
    assert [row["low"] is None for row in start["regimes"]] == [False, True, True, True]
    assert start["accounts"]["champion"] == {}
    assert "champion" not in start["days"]
    assert "no champion stood" in start["outcome_words"]


def test_what_was_decided_stands_beside_it(places, made):
    registry = Registry(places)
    bundle(places.root, "old")
    registry.appoint(places.bundle("old"), WHY)
    champion = registry.current().champion.identity
    manifest = made("june", champion=champion, figures={"luck_p": 0.9})
    assert decided(places) == "it was not proposed"
    registry.propose(manifest, places.bundle("june"), WHY)
    assert decided(places) == "it waits for a decision"
    decide(places)
    assert decided(places) == "the rules refused it (not luck)"
    (june,) = story(places)["retrainings"]
    assert june["champion"] == {"identity": champion, "run": "old"}
    assert [row["decision"] for row in june["starts"][0]["decisions"]] == ["refuse", "propose"]


def test_who_became_champion_and_who_was_rolled_back(places, made):
    registry = Registry(places)
    bundle(places.root, "old")
    registry.appoint(places.bundle("old"), WHY)
    manifest = made("june", champion=registry.current().champion.identity)
    registry.propose(manifest, places.bundle("june"), WHY)
    decide(places)
    (june,) = story(places)["retrainings"]
    assert june["starts"][0]["role"] == "champion"
    assert decided(places) == "it became champion by all rules"
    registry.roll_back(WHY)
    assert decided(places) == "it was champion and was rolled back"
    (registry.root / "states" / "000001" / "decision.json").write_text("{}")
    told = story(places)
    assert "decision.json" in told["registry"]
    assert told["retrainings"][0]["starts"][0]["decided"] == "what was decided on it cannot be read"


def market(places, days=30):
    """A market of so many days from 2021-01-01 on, of which its manifest and their dates are kept; its identity."""
    folder = places.cache / "new"
    folder.mkdir(parents=True)
    dates = np.arange("2021-01-01", days, dtype="datetime64[D]").astype("datetime64[ns]").astype(np.int64)
    save_file({"snapshot_T": dates}, folder / "market.safetensors")
    splits = {"train": (0, 10), "validation": (15, 20), "test": (25, days), "none": (3, 3)}
    info = {"splits": splits, "label": "simulated quotes"}
    made = TensorsManifest(info=info, files=files_of(folder)).write(folder / FILE)
    target = places.tensors(made.identity)
    target.parent.mkdir(parents=True)
    folder.rename(target)
    return made.identity


def test_days_and_label_are_those_of_the_market_where_nothing_was_judged(places):
    identity = market(places)
    ended(places, "june", parents={"tensors": identity})
    (june,) = story(places)["retrainings"]
    assert june["label"] == "simulated quotes"
    assert [tuple(row.values()) for row in june["days"]] == [
        ("trained on", "2021-01-01", "2021-01-10", 10),
        ("gate", "2021-01-16", "2021-01-20", 5),
        ("judged", "2021-01-26", "2021-01-30", 5),
    ]
    (places.tensors(identity) / "market.safetensors").write_bytes(b"damaged")
    (june,) = story(places)["retrainings"]
    assert (june["days"], june["label"]) == ([], "quotes of unknown origin")


def decided(places):
    return story(places)["retrainings"][0]["starts"][0]["decided"]


def cut(folder):
    (folder / FILE).write_text("{")


def alter(folder):
    (folder / "pairs.parquet").write_bytes(b"no table")


def lose(folder):
    (folder / FILE).unlink()


def spoil(folder):
    """Growth that is text, in a file that fits its manifest."""
    table = pl.read_parquet(folder / "pairs.parquet").with_columns(cash=pl.lit("much"))
    table.write_parquet(folder / "pairs.parquet")
    sealed(files=files_of(folder))(folder)


def sealed(**facts):
    """A manifest whose seal fits and whose facts are of another form."""

    def damage(folder):
        content = json.loads((folder / FILE).read_text())
        known = {name: value for name, value in content.items() if name not in ("kind", "version", "seal")}
        ChallengerManifest(**(known | facts)).write(folder / FILE)

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "unreadable manifest"),
        (alter, "altered file"),
        (lose, "no challenger at"),
        (spoil, "growth that is no number"),
        (sealed(stages={}), "has a dict as stages: expected a list"),
        (sealed(stages=["gate"]), "facts of another form than expected"),
        (sealed(judged=[]), "has a list as judged: expected a dict"),
        (sealed(start="luck"), "names the start 'luck'"),
        (sealed(run="other"), "holds the challenger other: expected broken"),
        (sealed(judged={"first": "2001-01-01", "last": "2001-02-01"}), "as its manifest says"),
        (sealed(parents=None), "has a NoneType as parents"),
    ],
)
def test_a_damaged_folder_is_named_and_the_others_are_told(places, made, damage, words):
    made("whole")
    made("broken")
    damage(places.challenger("broken"))
    told = story(places)
    (found,) = told["damaged"]
    assert (found["name"], found["page"]) == ("broken", "broken")
    assert words in found["error"]
    assert {each["name"]: each["starts"][0]["state"] for each in told["retrainings"]} == {
        "whole": "whole",
        "broken": "damaged",
    }
    assert "1 cannot be read" in told["answer"]


def test_a_damaged_start_is_named_beside_the_other(places, made):
    both(places, made)
    cut(places.challenger("june"))
    (june,) = story(places)["retrainings"]
    assert [(start["run"], start["state"]) for start in june["starts"]] == [
        ("june", "damaged"),
        ("june.scratch", "whole"),
    ]


def test_a_folder_that_no_run_can_be_called_is_named_without_a_page(places, made):
    made("whole")
    shutil.copytree(places.challenger("whole"), places.root / "challengers" / "<b>")
    (places.root / "challengers" / "a file").write_text("")
    told = story(places)
    assert [found["name"] for found in told["retrainings"]] == ["whole"]
    assert {(found["name"], found["page"]) for found in told["damaged"]} == {("<b>", ""), ("a file", "")}


@pytest.mark.parametrize(
    ("row", "figure", "unit"),
    [
        (GATE, -0.01, "variance"),
        ({"name": "kl", "passed": False, "kl": 0.01, "beyond": 0.5, "limit": 0.02, "words": ""}, 0.5, "nats"),
        ({"name": "kl", "passed": True, "kl": 0.01, "beyond": None, "limit": 0.02, "words": ""}, 0.01, "nats"),
        ({"name": "golden decisions", "passed": True, "figure": 0.05, "limit": None, "words": ""}, 0.05, "share"),
        ({"name": "stress: COVID crash", "passed": True, "figure": -0.1, "limit": -0.02, "words": ""}, -0.1, "growth"),
        ({"name": "regression", "passed": True, "words": ""}, None, ""),
    ],
)
def test_a_stages_figure_has_its_unit(row, figure, unit):
    found = stage_of(row)
    assert (found["figure"], found["unit"], found["limit"]) == (figure, unit, row.get("limit"))


def test_units_are_known_of_every_stage_that_regression_has():
    from clstm_core.feedback import regression
    from clstm_core.feedback.challenger_figures import FIGURES

    source = Path(regression.__file__).read_text()
    for name, (_, unit, _) in FIGURES.items():
        assert name in ("gate", "kl") or f'"{name}"' in source
        assert unit
