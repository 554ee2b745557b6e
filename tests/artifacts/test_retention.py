"""What is kept of cached market data: whatever a run was made from, for ever, and the rest while somebody uses it."""

import dataclasses
import json
import os
import shutil
import time

import pytest

from clstm_core.artifacts.folder import lock
from clstm_core.artifacts.manifest import FILE, write_named_by_content
from clstm_core.artifacts.manifests import (
    BacktestManifest,
    CheckpointManifest,
    EvidenceManifest,
    QuotesManifest,
    RunInputs,
    RunStatus,
    TensorsManifest,
)
from clstm_core.artifacts.places import Places
from clstm_core.artifacts.retention import KEPT_DAYS, launches_at_work, living_runs, prune, prune_all
from clstm_core.config import smoke

DAY = 86_400.0


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "data")


@pytest.fixture
def market(places):
    """Writes quotes and the tensors made from them; both manifests."""

    def write(source: str):
        quotes = write_named_by_content(
            places.cache / "quotes",
            lambda place: QuotesManifest(
                source=source, label="", spread="", notes=[], settings={}, raw_files={}, counts={}
            ).write(place / FILE),
        )
        tensors = write_named_by_content(
            places.cache / "tensors",
            lambda place: TensorsManifest(info={"source": source}, parents={"quotes": quotes.identity}).write(
                place / FILE
            ),
        )
        return quotes, tensors

    return write


def age(path, days):
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def run_of(places, name, **parents):
    config = smoke()
    inputs = RunInputs(run=name, config=config.to_dict(), config_sha256=config.sha256, git_commit="c", parents=parents)
    return inputs.write(places.run(name).inputs)


def test_what_nobody_used_for_long_goes_and_what_is_young_stays(places, market):
    old, young = market("old"), market("young")
    for manifest in old:
        age(manifest.folder, KEPT_DAYS + 1)
    for manifest in young:
        age(manifest.folder, KEPT_DAYS - 1)
    assert prune(places) == [places.relative(manifest.folder) for manifest in old]
    assert [manifest.folder.exists() for manifest in (*old, *young)] == [False, False, True, True]
    assert prune(places) == []
    assert prune(places, days=KEPT_DAYS - 2) == [places.relative(manifest.folder) for manifest in young]


def test_what_a_run_was_made_from_stays_however_old_with_the_quotes_below_it(places, market):
    used, trained_on, unused = market("used"), market("trained_on"), market("unused")
    run_of(places, "demo", tensors=used[1].identity, training_tensors=trained_on[1].identity)
    for manifest in (*used, *trained_on, *unused):
        age(manifest.folder, 1000)
    assert prune(places) == [places.relative(manifest.folder) for manifest in unused]
    assert all(manifest.folder.is_dir() for manifest in (*used, *trained_on))


def test_what_a_backtest_traded_stays_although_no_run_was_made_from_it(places, market):
    """The twin's quotes: without them its books do not recompute."""
    twin, unused = market("twin"), market("unused")
    parents = {"tensors": twin[1].identity, "checkpoint": "c" * 64}
    backtest = BacktestManifest(
        id="b", created_at="", facts={}, summary={}, files={"fills.parquet": "x"}, parents=parents
    )
    backtest.write(places.backtests / "b" / FILE)
    for manifest in (*twin, *unused):
        age(manifest.folder, 1000)
    assert prune(places) == [places.relative(manifest.folder) for manifest in unused]


@pytest.mark.parametrize("room", ["registry/bundles/0123456789abcdef", "challengers/b"])
def test_what_the_registry_or_a_challenger_was_made_from_stays(places, market, room):
    """Although the bundle that it was copied from is gone."""
    used, unused = market("used"), market("unused")
    place = places.root / room / FILE
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"parents": {"tensors": used[1].identity}}))
    for manifest in (*used, *unused):
        age(manifest.folder, 1000)
    assert prune(places) == [places.relative(manifest.folder) for manifest in unused]


def test_parsed_files_go_by_age_one_at_a_time(places):
    folder = places.cache / "sessions" / "spx_cboe"
    folder.mkdir(parents=True)
    for name, days in (("a.parquet", 40), ("a.sha256", 40), ("b.parquet", 3), (".c.x.tmp", 40)):
        (folder / name).write_bytes(b"x")
        age(folder / name, days)
    assert prune(places) == ["cache/sessions/spx_cboe/a.parquet", "cache/sessions/spx_cboe/a.sha256"]
    assert sorted(path.name for path in folder.iterdir()) == [".c.x.tmp", "b.parquet"], "what is being written stays"


def test_verdicts_runs_and_backtests_are_never_pruned(places, market):
    _, tensors = market("used")
    run = run_of(places, "demo", tensors=tensors.identity)
    kept = [places.cache / "audits" / "key.json", places.backtests / "id" / FILE, places.bundle("demo") / FILE]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    for path in (*kept, run.place, *(path.parent for path in kept), run.folder):
        age(path, 10_000)
    assert prune(places, days=0.0) == []
    assert all(path.is_file() for path in (*kept, run.place))


def test_a_folder_that_is_used_again_is_young_again(places, tmp_path):
    from clstm_core.market.cache import ensure_quotes
    from clstm_core.market.sources import default_config

    folder = ensure_quotes(default_config("simulated", n_snapshots=30), places.cache)
    age(folder, 1000)
    assert ensure_quotes(default_config("simulated", n_snapshots=30), places.cache) == folder
    assert prune(places) == []
    age(folder, 1000)
    assert prune(places) == [places.relative(folder)]


def test_an_empty_data_folder_has_nothing_to_prune(places):
    assert prune(places) == []
    assert not places.root.exists()


def test_a_run_whose_inputs_are_damaged_takes_nothing_with_it(places, market):
    used = market("used")
    inputs = run_of(places, "demo", tensors=used[1].identity)
    other = run_of(places, "other", tensors=used[1].identity)
    inputs.place.write_text("{}")
    for manifest in used:
        age(manifest.folder, 1000)
    assert prune(places) == []
    dataclasses.replace(other, parents={}).write(other.place)
    assert prune(places) == [places.relative(manifest.folder) for manifest in used]


def age_all(folder, days):
    for path in (folder, *folder.rglob("*")):
        age(path, days)


def filled(folder, name="file"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x" * 100)
    return folder


def test_everything_that_nothing_refers_to_goes_when_it_is_old(places, market):
    used, unused = market("used"), market("unused")
    judged = run_of(places, "judged", tensors=used[1].identity)
    filled(places.run("judged").path / "checkpoints" / "latest")
    kept = [filled(places.run("judged").path / "checkpoints" / name) for name in ("000", "020", "100")]
    RunStatus(run="judged", status="finished").write(places.run("judged").status)
    (places.run("judged").path / "policy_backtests.json").write_text("{}")
    filled(places.run("judged").path / "checkpoints.20260101T000000")
    exported, reported = (run_of(places, name).place for name in ("exported", "reported"))
    filled(places.bundle("exported"))
    places.run("reported").report.write_text("{}")
    abandoned = run_of(places, "abandoned")
    filled(places.set_aside / "old.20260101T000000")
    filled(places.root / "launches" / "judged")
    age_all(places.root, KEPT_DAYS + 1)
    wanted = {
        ("cached market data", used[1].folder.parent.name and places.relative(unused[0].folder)),
        ("cached market data", places.relative(unused[1].folder)),
        ("rolling checkpoint", "runs/judged/checkpoints/latest"),
        ("set aside", "runs/judged/checkpoints.20260101T000000"),
        ("set aside", "set_aside/old.20260101T000000"),
        ("abandoned run", "runs/abandoned"),
        ("launch", "launches/judged"),
    }
    told = prune_all(places, dry_run=True)
    assert {(item.what, places.relative(item.path)) for item in told} == wanted
    assert all(item.path.exists() and item.bytes > 0 for item in told), "a dry run removes nothing"
    removed = prune_all(places)
    assert {(item.what, places.relative(item.path)) for item in removed} == wanted
    assert not any(item.path.exists() for item in removed)
    assert all(path.exists() for path in (judged.place, exported, reported, *kept, *(one.folder for one in used)))
    assert not abandoned.place.exists()
    assert prune_all(places) == []


def test_what_is_young_or_at_work_stays(places):
    run_of(places, "young")
    working = run_of(places, "working")
    resumable = run_of(places, "resumable")
    filled(places.run("resumable").path / "checkpoints" / "latest")
    RunStatus(run="resumable", status="stopped").write(places.run("resumable").status)
    (places.run("resumable").path / "policy_backtests.json").write_text("{}")
    launch = filled(places.root / "launches" / "working")
    age_all(working.folder, 1000)
    age_all(resumable.folder, 1000)
    with lock(launch / "stage.1.lock", "run working", shared=True):
        age_all(launch, 1000)
        assert prune_all(places) == [], "a process works on it"
    assert [item.what for item in prune_all(places)] == ["abandoned run", "launch"]
    assert (places.run("resumable").path / "checkpoints" / "latest").is_dir(), "a stopped run goes on from there"
    assert places.run("young").inputs.is_file()


def checkpoint_of(folder, inputs, name="100", **parents):
    manifest = CheckpointManifest(
        run=inputs.run,
        milestone=name,
        env_steps=1,
        iteration=1,
        git_commit="c",
        parents={"inputs": inputs.identity, **parents},
    )
    return manifest.write(folder / name / FILE)


def test_a_run_that_another_was_made_from_stays_however_old(places, market):
    used = market("used")
    old = run_of(places, "old", training_tensors=used[1].identity)
    rung = checkpoint_of(old.folder / "checkpoints", old)
    judged = run_of(places, "judged", policy=old.identity)
    checkpoint_of(judged.folder / "checkpoints", judged, policy=rung.identity)
    (judged.folder / "report.json").write_text("{}")
    age_all(places.root, 1000)
    assert prune_all(places) == []
    for place in (judged.place, old.place):
        assert place.is_file()
    judged.place.unlink()
    assert prune_all(places) == [], "a copy of its checkpoint names it as well"
    shutil.rmtree(judged.folder)
    assert [item.what for item in prune_all(places)] == ["abandoned run"]
    assert [item.what for item in prune_all(places)] == ["cached market data"] * 2, "and then what it was made from"


@pytest.mark.parametrize("by", ["backtests/id/manifest.json", "bundles/run/manifest.json", "runs/run/report.json"])
@pytest.mark.parametrize("aside", ["set_aside/run.20260101T000000", "runs/run/checkpoints.20260101T000000"])
def test_what_was_set_aside_stays_while_something_made_from_it_stands(places, market, by, aside):
    used, folder = market("used"), places.root / aside
    run = run_of(places, "run")
    (run.folder / "policy_backtests.json").write_text("{}")
    config = smoke()
    inputs = RunInputs(run="run", config=config.to_dict(), config_sha256=config.sha256, git_commit="before").write(
        folder / "inputs.json"
    )
    rung = checkpoint_of(folder / "checkpoints" if "set_aside" in aside else folder, inputs, "080")
    last = checkpoint_of(folder, inputs, "100", training_tensors=used[1].identity)
    child = EvidenceManifest(run="run", parents={"checkpoint": rung.identity}).write(places.root / by)
    age_all(places.root, 1000)
    assert prune_all(places) == []
    assert all(manifest.place.is_file() for manifest in (inputs, rung, last, *used))
    child.place.unlink()
    gone = prune_all(places)
    assert [(item.what, places.relative(item.path)) for item in gone] == [("set aside", aside)], "its own name nothing"


def test_caches_stay_while_a_launch_works_and_what_it_works_on(places, market):
    found = market("found")
    run_of(places, "begun")
    launch = filled(places.root / "launches" / "begun")
    with lock(launch / "lock", "run begun"):
        assert launches_at_work(places) == {"begun"}
        assert prune_all(places, days=0.0) == []
    assert launches_at_work(places, ["begun"]) == {"begun"}, "one from the UI holds no lock between its stages"
    assert prune_all(places, days=0.0, at_work=["begun"]) == []
    assert [item.what for item in prune_all(places, days=0.0, at_work=["another"])] == ["abandoned run", "launch"]
    removed = prune_all(places, days=0.0)
    assert {item.path for item in removed} == {manifest.folder for manifest in found}


def test_runs_that_there_are(places):
    for name in ("kept", "abandoned"):
        run_of(places, name)
    filled(places.bundle("deployed"))
    filled(places.runs / ".half.x.tmp")
    age_all(places.run("abandoned").path, 1000)
    removed = prune_all(places, dry_run=True)
    assert living_runs(places) == {"kept", "abandoned", "deployed"}
    assert living_runs(places, removed) == {"kept", "deployed"}


def test_a_run_that_is_at_work_stays_however_old_its_files_look(places):
    """The bare trainer is no launch, and a clock that is put forward makes what it wrote old."""
    run = run_of(places, "long").folder
    age_all(run, 1000)
    with lock(run / ".lock", "run long"):
        age_all(run, 1000)
        assert prune_all(places) == []
    assert [item.what for item in prune_all(places)] == ["abandoned run"]
