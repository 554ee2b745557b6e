"""Files that were damaged between two runs: work is done again or walked again, and what stood is kept."""

import pytest

from assets.critic_warmup import _set_aside
from assets.training import _set_aside_after_damage
from clstm_core.artifacts.folder import lock
from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.errors import CheckpointError


def ladder(run_dir, *names):
    for name in names:
        (run_dir / "checkpoints" / name).mkdir(parents=True)


def test_a_damaged_rung_below_whole_ones_is_set_aside_with_them(tmp_path):
    ladder(tmp_path, "000", "020", "040", "060", "latest")
    aside = _set_aside_after_damage(RunFolder(tmp_path), {"020": True, "040": False, "060": True, "080": False})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["000", "020"]
    assert sorted(path.name for path in aside.iterdir()) == ["040", "060", "latest"]


def test_rungs_that_training_has_not_reached_are_no_damage(tmp_path):
    ladder(tmp_path, "000", "020", "latest")
    assert _set_aside_after_damage(RunFolder(tmp_path), {"020": True, "040": False, "060": False}) is None
    assert (tmp_path / "checkpoints" / "latest").is_dir()


def test_nothing_is_set_aside_under_a_trainer_that_is_at_work(tmp_path):
    """One whose launch was killed ends its iteration first: it would write that into what comes in the run's place."""
    places, wanted = Places(tmp_path), RunInputs(run="one", config={}, config_sha256="", git_commit="")
    run = places.run("one")
    ladder(run.path, "020", "040", "060")
    with lock(run.lock, "run one"):
        with pytest.raises(CheckpointError, match=r"in use by another process \(pid"):
            _set_aside(run, wanted, places)
        with pytest.raises(CheckpointError, match=r"in use by another process \(pid"):
            _set_aside_after_damage(run, {"020": True, "040": False, "060": True})
        assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["020", "040", "060"]
    assert _set_aside(run, wanted, places) is not None
    assert not run.path.exists()
