"""Files that were damaged between two runs: work is done again or walked again, and what stood is kept."""

from assets.training import _set_aside_after_damage
from clstm_core.artifacts.places import RunFolder


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
