"""A walk-forward of seconds in a simulated market: a verdict in place of the audit, training in this process."""

from types import SimpleNamespace

import pytest

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.walk_forward.plan import WalkPlan
from clstm_core.walk_forward.run import Telling, walk_forward
from clstm_core.walk_forward.trained import Hooks

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


def without_audit(patch):
    """Every market counts as proven: the audit has tests of its own."""
    import clstm_core.audit.run as audit_run
    from clstm_core.audit.result import AuditReport, ProofResult

    def audit(market, env_config, *, size, progress=None):
        proofs = tuple(
            ProofResult(name=name, passed=True, statistic=0.0, threshold=1.0, detail="holds", seconds=0.0)
            for name in audit_run.PROOFS
        )
        return AuditReport(proofs=proofs, size=size, market="test")

    patch.setattr(audit_run, "audit", audit)


def train_here(patch, stop_after=None):
    """Train in this process; the list grows by each run. With `stop_after` iterations it dies as a killed one does."""
    from clstm_core.train.envs import envs_of
    from clstm_core.train.inputs import config_of
    from clstm_core.train.loop import train

    trained = []

    def here(run, *, threads, report, warn):
        inputs = RunInputs.read(run.inputs)
        env, heldout = envs_of(inputs, Places(run.path.parents[1]))
        trained.append(run.name)

        def tell(row):
            report(row)
            if stop_after is not None and len(trained) > stop_after.cells and row["iteration"] == stop_after.iteration:
                raise KeyboardInterrupt

        train(config_of(inputs), env, run_dir=run.path, heldout_env=heldout, report=tell)

    patch.setattr("clstm_core.train.apart.train_apart", here)
    return trained


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
