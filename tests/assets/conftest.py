"""Stages of the chain one at a time, on small simulated markets, with a verdict in place of the audit's minutes."""

import dataclasses
import json
import shutil
from concurrent.futures import Executor, Future
from types import SimpleNamespace

import dagster as dg
import pytest

from assets.backtests import baseline_backtests, policy_backtests
from assets.checkpoint_comparison import checkpoint_comparison
from assets.companions import stressed_backtests, stressed_tensors, twin_backtests, twin_tensors
from assets.convention_sweeps import convention_sweeps
from assets.critic_foresight import critic_foresight
from assets.critic_warmup import warm_critic
from assets.environment_audit import environment_audit
from assets.evidence_audit import evidence_audit
from assets.exports import policy_bundle
from assets.fair_worlds import baseline_luck, fair_worlds
from assets.market_data import market_quotes, market_tensors
from assets.market_realism import market_realism
from assets.reports import backtest_report
from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from assets.support import PARTITION_TAG
from assets.training import trained_policy
from clstm_core.config import RECIPES, WorldsConfig
from tests.graphs import graphs  # noqa: F401

SMALL = {"name": "smoke", "source": "simulated", "n_snapshots": 260}
VALIDATED = 1100  # sessions of which training, validation and test each have enough to be judged
STAGES = (
    market_quotes,
    market_realism,
    market_tensors,
    twin_tensors,
    stressed_tensors,
    environment_audit,
    warm_critic,
    trained_policy,
    policy_backtests,
    baseline_backtests,
    twin_backtests,
    stressed_backtests,
    critic_foresight,
    baseline_luck,
    fair_worlds,
    checkpoint_comparison,
    convention_sweeps,
    evidence_audit,
    policy_bundle,
    backtest_report,
)
FAST = {
    "policy_bundle": {"config": {"parity_steps": 20}},
    "baseline_luck": {"config": {"worlds": 200}},
    "fair_worlds": {"config": {"worlds": 200, "baseline_worlds": 200}},
}


class Chain:
    """Stages launched as the UI launches them: one asset of one run at a time, with a recipe of its own."""

    def __init__(self, home, instance, run, **recipe):
        self.home, self.instance, self.run = home, instance, run
        self.recipe = Recipe(**(SMALL | recipe))

    @property
    def data(self):
        return self.home / "data"

    @property
    def folder(self):
        return self.data / "runs" / self.run

    def stage(self, *assets, ops=None):
        """The result of materializing these assets in one launch; a failure does not raise."""
        names = {asset.key.path[-1] for asset in assets}
        return dg.materialize(
            list(assets),
            instance=self.instance,
            partition_key=self.run if any(asset.partitions_def for asset in assets) else None,
            # a stage that is not partitioned knows the run it is launched for by the run's tag
            tags=None if any(asset.partitions_def for asset in assets) else {PARTITION_TAG: self.run},
            resources={
                "paths": ProjectPaths(home=str(self.home)),
                "metrics": Metrics(path=str(self.data / "metrics.duckdb")),
                "report_server": ReportServer(home=str(self.home)),
                "recipe": self.recipe,
            },
            run_config={"ops": {name: value for name, value in (ops or {}).items() if name in names}},
            raise_on_error=False,
        )

    def does(self, *assets, **options):
        """Each asset in a launch of its own, all of them well."""
        for asset in assets:
            result = self.stage(asset, **options)
            assert result.success, sentence(result)
        return self


def sentence(result):
    """What a failed launch says to the user."""
    failures = [event.event_specific_data for event in result.all_events if event.is_step_failure]
    return " ".join(
        found.user_failure_data.description if found.user_failure_data else str(found.error) for found in failures
    )


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path / "home"


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as found:
        found.add_dynamic_partitions("training_run", ["one", "two"])
        yield found


@pytest.fixture
def chain(home, instance):
    """Builds a chain of a run; keywords go to its recipe."""

    def build(run="one", **recipe):
        return Chain(home, instance, run, **recipe)

    return build


@pytest.fixture(scope="session")
def stages():
    """Every asset of the chain, in order, and the settings that make them quick."""
    return STAGES, FAST


@pytest.fixture
def said():
    """What a failed launch says to the user."""
    return sentence


def stub_audit(patch, failing=()):
    """Replace the audit by a given verdict; the list grows by each audit asked for."""
    import clstm_core.audit.run as audit_run
    from clstm_core.audit.result import AuditReport, ProofResult

    asked = []

    def audit(market, env_config, *, size, progress=None):
        asked.append(size)
        proofs = tuple(
            ProofResult(
                name=name,
                passed=name not in failing,
                statistic=2.0 if name in failing else 0.0,
                threshold=1.0,
                detail="planted" if name in failing else "holds",
                seconds=0.0,
            )
            for name in audit_run.PROOFS
        )
        return AuditReport(proofs=proofs, size=size, market="test")

    patch.setattr(audit_run, "audit", audit)
    return asked


class Here(Executor):
    """In the place of a process beside this one: it would begin with importing torch, and know of no patch."""

    def submit(self, fn, /, *args, **options):
        done = Future()
        done.set_result(fn(*args, **options))
        return done


def nothing_beside(patch):
    """What is handed to a process beside this one is done here; `test_chain.py` and the core's own tests have one."""
    for module in ("evaluation.ladder", "evaluation.fair_worlds", "generalisation.measure"):
        patch.setattr(f"clstm_core.{module}.beside", Here)


@pytest.fixture
def verdict(monkeypatch):
    """Replaces the audit, which has tests of its own, by a given verdict; the list grows by each audit asked for."""
    return lambda failing=(): stub_audit(monkeypatch, failing)


@pytest.fixture
def trains_here(monkeypatch):
    """Training in the test's own process, where patches of its code count."""
    train_here(monkeypatch)


def train_here(patch):
    from clstm_core.artifacts.manifests import RunInputs
    from clstm_core.artifacts.places import Places
    from clstm_core.train.envs import envs_of
    from clstm_core.train.inputs import config_of
    from clstm_core.train.loop import train

    def here(run, *, threads, report, warn):
        inputs = RunInputs.read(run.inputs)
        env, heldout = envs_of(inputs, Places(run.path.parents[1]))
        train(config_of(inputs), env, run_dir=run.path, heldout_env=heldout, report=report)

    patch.setattr("clstm_core.train.apart.train_apart", here)


BESIDE = (market_realism, critic_foresight, convention_sweeps)  # shown in the report, and nothing follows from them


def finish(root, stages=STAGES, **recipe):
    """A home below `root` in which run "one" went through these stages.

    Beside it: `trained`, as it was half the way there, and `versions.json`, the version of each stage's result.
    """
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral(tempdir=str(root)) as found:
        patch.setenv("OMP_NUM_THREADS", "1")
        stub_audit(patch)
        nothing_beside(patch)
        train_here(patch)
        found.add_dynamic_partitions("training_run", ["one"])
        chain, versions = Chain(root / "home", found, "one", **recipe), {}
        for stage in stages:
            result = chain.stage(stage, ops=FAST)
            assert result.success, sentence(result)
            (event,) = result.get_asset_materialization_events()
            versions[stage.key.path[-1]] = event.materialization.tags["dagster/data_version"]
            if stage is trained_policy:
                shutil.copytree(chain.home, root / "trained")
        (root / "versions.json").write_text(json.dumps(versions))
    return root / "home"


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A home in which run "one" went through the whole chain; tests work on copies of it."""
    return finish(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def moved(finished, tmp_path, instance, verdict, monkeypatch):
    """The finished chain, copied to another place: its old place is not there for it."""
    verdict()
    nothing_beside(monkeypatch)
    home = shutil.copytree(finished, tmp_path / "elsewhere" / "project")
    return Chain(home, instance, "one")


@pytest.fixture
def trained(finished, chain, home, verdict, monkeypatch):
    """A copy of the chain as it was when the run was trained, and nothing of it judged."""
    verdict()
    nothing_beside(monkeypatch)
    shutil.copytree(finished.parent / "trained", home)
    return chain("one")


@pytest.fixture(scope="session")
def relaunch(finished, tmp_path_factory):
    """A finished chain, copied to another place, of which each stage was launched once more.

    said: each stage's materialization, and its launch; written: when each manifest was last written, before and after
    """
    root, said = tmp_path_factory.mktemp("relaunched"), {}
    home = shutil.copytree(finished, root / "home")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral(tempdir=str(root)) as found:
        patch.setenv("OMP_NUM_THREADS", "1")
        stub_audit(patch)
        nothing_beside(patch)
        found.add_dynamic_partitions("training_run", ["one"])
        written = [times(home)]
        for asset in STAGES:
            result = Chain(home, found, "one").stage(asset, ops=FAST)
            assert result.success, sentence(result)
            (event,) = result.get_asset_materialization_events()
            said[asset] = event.materialization, found.get_run_by_id(result.run_id)
        written.append(times(home))
    return SimpleNamespace(home=home, said=said, written=written)


def times(home):
    """When each manifest of a home was last written."""
    return {path: path.stat().st_mtime_ns for path in (home / "data").glob("**/manifest.json")}


@pytest.fixture(scope="session")
def relaunched(relaunch):
    """What each stage of a finished chain says when it is launched once more: its materialization, and the launch."""
    return relaunch.said


@pytest.fixture(scope="session")
def finished_validated(tmp_path_factory):
    """A chain up to its comparison, in a market long enough for a validation window."""
    judged = [stage for stage in STAGES[: STAGES.index(checkpoint_comparison) + 1] if stage not in BESIDE]
    return finish(tmp_path_factory.mktemp("validated"), judged, n_snapshots=VALIDATED)


@pytest.fixture(scope="session")
def finished_in_worlds(tmp_path_factory):
    """A chain up to its report in such a market, of a run that trains in generated worlds."""
    smoke = RECIPES["smoke"]()
    worlds = WorldsConfig(historical=1.0, heston=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "smoke", lambda: dataclasses.replace(smoke, worlds=worlds))
        stages = [stage for stage in STAGES if stage not in BESIDE]
        return finish(tmp_path_factory.mktemp("worlds"), stages, n_snapshots=VALIDATED)


@pytest.fixture
def in_worlds(finished_in_worlds, tmp_path, instance, verdict, monkeypatch):
    """A copy of the finished chain of a run that trains in generated worlds."""
    verdict()
    nothing_beside(monkeypatch)
    home = shutil.copytree(finished_in_worlds, tmp_path / "elsewhere" / "project")
    return Chain(home, instance, "one", n_snapshots=VALIDATED)


@pytest.fixture
def validated(finished_validated, tmp_path, instance, verdict, monkeypatch):
    """A copy of the chain that has a validation window, judged and not yet audited."""
    verdict()
    nothing_beside(monkeypatch)
    home = shutil.copytree(finished_validated, tmp_path / "elsewhere" / "project")
    return Chain(home, instance, "one", n_snapshots=VALIDATED)
