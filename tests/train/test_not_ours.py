"""A run folder that is not as the trainer left it: copied, mixed, damaged or moved; nothing is mixed in or lost."""

import json
import shutil

import pytest

from clstm_core.checkpoint import is_whole, load_checkpoint, newest_checkpoint
from clstm_core.errors import CheckpointError
from clstm_core.train.loop import train


@pytest.fixture
def go(toys, tiny, tmp_path):
    """Trains in a folder of that name; `until`: an iteration after which it is stopped."""

    def run(name, *, until=None, seed=0, report=None):
        asked = iter(range(1, 100))
        env, heldout = toys.NoiseEnv(8, seed=1), toys.NoiseEnv(4, seed=2)
        stop = None if until is None else lambda: next(asked) == until
        train(tiny(seed=seed), env, run_dir=tmp_path / name, heldout_env=heldout, stop=stop, report=report)
        return tmp_path / name

    return run


def test_a_checkpoint_of_another_run_is_not_gone_on_with(go):
    other, mine = go("other", until=5, seed=3), go("mine", until=2)
    shutil.copytree(other / "checkpoints" / "latest", mine / "checkpoints" / "stray")
    with pytest.raises(CheckpointError, match=r"stray was made by another run than this one: seed differ\. .*delete"):
        go("mine")
    assert load_checkpoint(mine / "checkpoints" / "latest").meta["iteration"] == 2


def test_a_run_whose_inputs_are_lost_goes_on_with_its_own_settings_alone(go, same_run):
    mine = go("mine", until=2)
    (mine / "inputs.json").unlink()
    with pytest.raises(CheckpointError, match=r"latest was made by another run than this one: seed differ"):
        go("mine", seed=3)
    assert not (mine / "inputs.json").exists(), "those settings are not the run's"
    assert same_run(go("mine"), go("whole"))


def test_checkpoints_of_which_none_is_whole_are_kept_aside(go, same_run):
    mine = go("mine", until=5)
    places = sorted((mine / "checkpoints").iterdir())
    for place in places:
        (place / "model.safetensors").write_bytes(b"torn")
    assert newest_checkpoint(mine) is None
    with pytest.warns(UserWarning, match=r"no checkpoint of run mine is whole, or of this release: .* lie in checkp"):
        go("mine")
    (aside,) = mine.glob("checkpoints.*")
    assert [place.name for place in sorted(aside.iterdir())] == [place.name for place in places]
    assert same_run(mine, go("whole"))


def test_a_damaged_rung_is_said_and_not_counted(go, toys, tiny):
    """But for one that is walked again: what the run goes on from lies before it."""
    mine = go("mine")
    for name in ("040", "100", "latest"):
        (mine / "checkpoints" / name / "model.safetensors").write_bytes(b"torn")
    with pytest.warns(UserWarning, match="040 is damaged, and lies behind what run mine goes on from") as warned:
        again = train(tiny(), toys.NoiseEnv(8, seed=1), run_dir=mine)
    assert len(warned) == 1
    assert sorted(again.checkpoints) == ["000", "020", "060", "080", "100"]
    assert is_whole(again.checkpoints["100"])


@pytest.mark.parametrize("junk", ['{"iteration": "x"}\n', '{"iteration": null}\n', "[1]\n", '\udcff{"iteration": 1'])
def test_a_line_that_is_no_iteration_is_dropped(go, same_run, junk):
    mine = go("mine", until=3)
    with (mine / "metrics.jsonl").open("a", errors="surrogateescape") as metrics:
        metrics.write(junk)
    assert same_run(go("mine"), go("whole"))


def test_a_folder_that_is_moved_while_it_is_trained_in_is_left_alone_at_its_old_place(go, same_run, tmp_path):
    """Another run may have begun there: what the first one saves later would be the newest checkpoint of both."""
    mine = tmp_path / "mine"

    def moved(metrics):
        if metrics["iteration"] == 3:
            mine.rename(tmp_path / "moved")
            go("mine", until=1, seed=3)

    with pytest.raises(CheckpointError, match=r"run folder .*mine was moved or replaced while it was trained in"):
        go("mine", report=moved)
    assert [json.loads(line)["iteration"] for line in (mine / "metrics.jsonl").read_text().splitlines()] == [1]
    assert load_checkpoint(newest_checkpoint(mine)).meta["config"]["seed"] == 3
    assert same_run(go("moved"), go("whole"))
