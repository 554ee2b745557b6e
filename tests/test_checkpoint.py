"""Checkpoints are whole or absent, verified on loading, and every refusal is a sentence."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clstm_core import checkpoint
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import CheckpointManifest
from clstm_core.checkpoint import (
    load_checkpoint,
    load_policy,
    lock_run,
    newest_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from clstm_core.errors import CheckpointError
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION


@pytest.fixture
def write(tiny, tmp_path):
    config = tiny()
    torch.manual_seed(0)
    model = CLSTM(4, 3, config.model, torch.full((4,), 2.0), torch.full((4,), 3.0))

    def save(name="100", iteration=1, **more):
        meta = {"iteration": iteration, "config": config.to_dict(), "observation_size": 4, "n_actions": 3, **more}
        state = {"h": torch.arange(6.0).view(2, 3).t(), "flag": torch.tensor([True, False]), "step": torch.tensor(3.0)}
        return save_checkpoint(
            tmp_path / "run" / "checkpoints" / name,
            model=model.state_dict(),
            state=state,
            meta=meta,
            parents={"market": "abc"},
        )

    return save, model, tmp_path / "run"


def test_round_trip(write):
    save, model, _ = write
    loaded = load_checkpoint(save())
    assert all(torch.equal(value, loaded.model[name]) for name, value in model.state_dict().items())
    assert torch.equal(loaded.state["h"], torch.arange(6.0).view(2, 3).t())
    assert loaded.meta["iteration"] == 1
    manifest = verify_checkpoint(loaded.folder)
    assert manifest == CheckpointManifest.read(loaded.folder / FILE) == loaded.manifest
    assert manifest.parents == {"market": "abc"}
    assert (manifest.run, manifest.milestone, manifest.iteration) == ("run", "100", 1)
    assert sorted(manifest.files) == ["meta.json", "model.safetensors", "state.safetensors"]


def test_load_policy_acts_like_the_saved_one(write):
    save, model, _ = write
    policy, meta = load_policy(save())
    obs = torch.randn(5, 4)
    with torch.no_grad():
        expected, _ = model.act(obs, None, model.initial_state(5))
        found, _ = policy.act(obs, None, policy.initial_state(5))
    assert torch.equal(found, expected)
    assert policy.encoder.obs_mean.tolist() == [2.0] * 4
    assert not policy.training
    assert meta["n_actions"] == 3


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "meta.json"])
def test_altered_and_missing_files_are_named(write, name):
    folder = write[0]()
    file = folder / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"altered file .*{name}: sha256 .* expected .*Delete"):
        load_checkpoint(folder)
    file.unlink()
    with pytest.raises(CheckpointError, match=f"missing file .*{name}: expected it beside manifest.json.*Delete"):
        load_policy(folder)


def test_no_checkpoint_half_manifest_and_foreign_version(write, tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere.*expected the manifest.*resume"):
        load_policy(tmp_path / "nowhere")
    manifest = write[0]() / "manifest.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(data | {"version": 99}))
    with pytest.raises(CheckpointError, match=r"holds checkpoint, version 99: expected checkpoint, version 2\."):
        load_checkpoint(manifest.parent)
    manifest.write_text(json.dumps({"version": 1, "files": data["files"]}))  # as a release before wrote it
    with pytest.raises(CheckpointError, match=r"holds something else, version 1: expected checkpoint, version 2\."):
        load_checkpoint(manifest.parent)
    manifest.write_text('{"version": 1, "fil')
    with pytest.raises(CheckpointError, match="unreadable manifest"):
        load_checkpoint(manifest.parent)


@pytest.mark.parametrize("fact", ["env_steps", "iteration", "milestone", "parents"])
def test_an_altered_manifest_is_named(write, fact):
    folder = write[0]()
    place = folder / FILE
    text = place.read_text()
    said = json.loads(text)
    changed = {"env_steps": 7, "iteration": 7, "milestone": "999", "parents": {"market": "other"}}
    place.write_text(json.dumps(said | {fact: changed[fact]}, indent=1, sort_keys=True) + "\n")
    with pytest.raises(CheckpointError, match=r"altered manifest .*manifest\.json.*Delete"):
        load_checkpoint(folder)
    assert newest_checkpoint(folder.parent.parent) is None
    place.write_text(text)
    assert newest_checkpoint(folder.parent.parent) == folder


def test_a_manifest_that_counts_other_steps_than_its_meta_data_is_named(write):
    """A seal that fits is no proof: what stands twice must agree."""
    folder = write[0]()
    manifest = CheckpointManifest.read(folder / FILE)
    replace(manifest, iteration=9).write(folder / FILE)
    with pytest.raises(CheckpointError, match=r"altered manifest .*: iteration 9, expected 1 as meta\.json says"):
        load_policy(folder)


@pytest.mark.parametrize("load", [load_policy, load_checkpoint])
@pytest.mark.parametrize(("what", "ours"), [("observation", OBSERVATION), ("actions", ACTIONS)])
@pytest.mark.parametrize("change", ["renamed", "swapped", "shorter"])
def test_another_list_of_features_or_actions_is_refused_by_name(write, load, what, ours, change):
    """Two lists of one length give tensors of one shape: nothing but their names tells them apart."""
    save = write[0]
    load(save(**{what: list(ours)}))
    load(save(**{what: None}))  # an env of other size has no list
    theirs = {
        "renamed": [*ours[:2], "moon_phase", *ours[3:]],
        "swapped": [ours[1], ours[0], *ours[2:]],
        "shorter": list(ours[:-1]),
    }[change]
    words = {
        "renamed": f"found moon_phase that this release lacks, expected {ours[2]} besides",
        "swapped": "the same names in another order or number",
        "shorter": f"found nothing that this release lacks, expected {ours[-1]} besides",
    }[change]
    with pytest.raises(CheckpointError, match=f"was trained with other {what}: {words}.*train again"):
        load(save(**{what: theirs}))


def test_newest_verified_wins(write):
    save, _, run = write
    assert newest_checkpoint(run) is None
    save("020", 2)
    save("040", 4)
    last = save("latest", 5)
    assert newest_checkpoint(run) == last
    (last / "state.safetensors").write_bytes(b"torn")
    assert newest_checkpoint(run) == run / "checkpoints" / "040"


@pytest.mark.parametrize("after", range(4))
def test_a_write_that_dies_leaves_the_previous_checkpoint(write, monkeypatch, after):
    save, _, run = write
    save("latest", 1)
    calls, rename = [], os.replace

    def dying(source, target):
        if Path(source).is_dir():  # the old one away, the new one in
            if len(calls) == after - 1:
                raise KeyboardInterrupt
            calls.append(target)
        rename(source, target)

    if after == 0:
        monkeypatch.setattr(checkpoint, "save_file", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    monkeypatch.setattr(os, "replace", dying)
    if after < 3:
        with pytest.raises((KeyboardInterrupt, OSError)):
            save("latest", 2)
    else:
        save("latest", 2)
    monkeypatch.undo()
    assert len(calls) == (0 if after == 0 else after - 1)
    found = newest_checkpoint(run)
    assert load_checkpoint(found).meta["iteration"] == (2 if after == 3 else 1)
    save("latest", 3)
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["latest"]


def test_two_writes_that_die_in_a_row_leave_the_previous_checkpoint(write, monkeypatch):
    """After a death between the two renames only `latest.previous` stands: the next death may not take it too."""
    save, _, run = write
    save("latest", 1)
    rename = os.replace

    def dying(source, target):
        if Path(source).is_dir() and Path(target).name == "latest":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", dying)
    for iteration in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            save("latest", iteration)
        assert load_checkpoint(newest_checkpoint(run)).meta["iteration"] == 1
    monkeypatch.undo()
    save("latest", 4)
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["latest"]


def test_lock_refuses_a_second_writer_and_clears_leftovers(tmp_path):
    leftover = tmp_path / "checkpoints" / ".latest.xyz.tmp"
    leftover.mkdir(parents=True)
    code = (
        "import sys, pathlib; from clstm_core.checkpoint import *\n"
        "try:\n  lock_run(pathlib.Path(sys.argv[1])).__enter__()\n"
        "except CheckpointError as error: print(error); sys.exit(7)"
    )
    with lock_run(tmp_path):
        assert not leftover.exists()
        run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 7
    assert (
        f"run folder {tmp_path} is in use by another process (pid {os.getpid()}): expected one at a time" in run.stdout
    )
    with lock_run(tmp_path):
        pass


def test_a_run_folder_that_is_a_file_is_named(tmp_path):
    file = tmp_path / "run"
    file.write_text("")
    with pytest.raises(CheckpointError, match=r"run folder .*run is a file: expected a folder"), lock_run(file):
        pass


def test_damage_is_not_whole(tmp_path):
    assert not checkpoint.is_whole(tmp_path / "nowhere")
