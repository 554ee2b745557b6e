"""A sweep of seconds in a simulated market: a verdict in place of the audit, training in this process."""

import pytest

from clstm_core.artifacts.places import Places
from clstm_core.sweeps.plan import SweepPlan
from clstm_core.sweeps.run import Telling, sweep
from clstm_core.walk_forward.trained import Hooks
from tests.in_process import train_here, without_audit

SMALL = {
    "name": "small",
    "source": "simulated",
    "n_snapshots": 700,
    "recipe": "smoke",
    "trials": 3,
    "steps": 1280,
    "confirm": 1,
    "space": ("ppo.actor_lr=1e-4:1e-2:log", "ppo.policy_epochs=1:3"),
}


def few_episodes(patch):
    """Eight episodes in each kind of market: what is counted is the same, in less time."""
    patch.setattr("clstm_core.sweeps.scored.episodes_of", lambda config: {"episodes": 8, "compared": 8})


class Sweep:
    """One sweep below a folder, and what it told."""

    def __init__(self, root, **changes):
        self.places = Places(root / "data")
        self.plan = SweepPlan(**(SMALL | changes))
        self.progress, self.trials, self.recorded = [], [], []

    def run(self):
        hooks = Hooks(record=lambda *found: self.recorded.extend(found))
        told = Telling(hooks=hooks, progress=lambda *said: self.progress.append(said), trial=self.trials.append)
        return sweep(self.plan, self.places, told)


@pytest.fixture
def small(tmp_path):
    """Builds a sweep; keywords change its plan."""
    return lambda root=None, **changes: Sweep(root or tmp_path, **changes)


@pytest.fixture
def here(monkeypatch):
    """No audit, training in this process; the list grows by each training."""
    without_audit(monkeypatch)
    few_episodes(monkeypatch)
    return train_here(monkeypatch)


@pytest.fixture
def dies(monkeypatch):
    """As `here`, but the process dies in a training, at an iteration."""
    from types import SimpleNamespace

    def build(cells, iteration):
        without_audit(monkeypatch)
        few_episodes(monkeypatch)
        return train_here(monkeypatch, SimpleNamespace(cells=cells, iteration=iteration))

    return build


@pytest.fixture
def lives(monkeypatch):
    """Puts a training that does not die in the place of one that does."""
    return lambda: train_here(monkeypatch)


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """A sweep that came to its end, and its manifest; tests work on copies where they change anything."""
    with pytest.MonkeyPatch.context() as patch:
        without_audit(patch)
        few_episodes(patch)
        train_here(patch)
        found = Sweep(tmp_path_factory.mktemp("swept"))
        return found, found.run()
