"""A walk-forward of seconds in a simulated market: a verdict in place of the audit, training in this process."""

from types import SimpleNamespace

import pytest

from clstm_core.artifacts.places import Places
from clstm_core.walk_forward.plan import WalkPlan
from clstm_core.walk_forward.run import Telling, walk_forward
from clstm_core.walk_forward.trained import Hooks
from tests.in_process import train_here, without_audit

SMALL = {
    "name": "small",
    "source": "simulated",
    "n_snapshots": 501,
    "recipes": ("smoke",),
    "folds": 2,
    "training": 150,
    "validation": 61,
    "steps": 1280,
    "seeds": (0, 1),
}


class Walk:
    """One walk-forward below a folder, and what it told."""

    def __init__(self, root, **changes):
        self.places = Places(root / "data")
        self.plan = WalkPlan(**(SMALL | changes))
        self.progress, self.folds, self.recorded = [], [], []

    def run(self):
        hooks = Hooks(record=lambda *found: self.recorded.extend(found))
        told = Telling(hooks=hooks, progress=lambda *said: self.progress.append(said), fold=self.folds.append)
        return walk_forward(self.plan, self.places, told)


@pytest.fixture
def walk(tmp_path):
    """Builds a walk; keywords change its plan."""
    return lambda root=None, **changes: Walk(root or tmp_path, **changes)


@pytest.fixture
def here(monkeypatch):
    """No audit, training in this process; the list grows by each training."""
    without_audit(monkeypatch)
    return train_here(monkeypatch)


@pytest.fixture
def dies(monkeypatch):
    """As `here`, but the process dies in a cell's training, at an iteration."""

    def build(cells, iteration):
        without_audit(monkeypatch)
        return train_here(monkeypatch, SimpleNamespace(cells=cells, iteration=iteration))

    return build


@pytest.fixture
def lives(monkeypatch):
    """Puts a training that does not die in the place of one that does; the list grows by each training."""
    return lambda: train_here(monkeypatch)


@pytest.fixture(scope="session")
def walked(tmp_path_factory):
    """A walk that came to its end, and its manifest; tests work on copies where they change anything."""
    with pytest.MonkeyPatch.context() as patch:
        without_audit(patch)
        train_here(patch)
        found = Walk(tmp_path_factory.mktemp("walked"))
        return found, found.run()
