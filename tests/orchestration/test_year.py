"""A year of weekly ticks through Dagster's own scheduler: one run per tick, whatever happens to the daemon.

The clock is put in; a crash between a run's creation and its launch, a fortnight without a daemon and both changes of
clocks are planted. Every week the data folder is made a week older and pruned, and so is Dagster's log.
"""

import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._scheduler import scheduler

from assets.support import PARTITION_TAG
from clstm_core.artifacts.places import Places
from clstm_core.artifacts.retention import living_runs, prune_all
from clstm_core.recipe import Recipe
from orchestration import schedules
from orchestration.event_log import prune_events
from orchestration.standing import write_standing

pytestmark = pytest.mark.slow

WEEKS = int(os.environ.get("CLSTM_YEAR_WEEKS", "52"))
FIRST = datetime(2026, 1, 3, 6, tzinfo=UTC)
LAUNCHER = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
COORDINATOR = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
CRASH, MISSED = WEEKS // 3, (WEEKS // 2, WEEKS // 2 + 1)
"""The week whose tick is cut off, and those in which nothing watches the clock until the second has passed."""


class Crash(BaseException):
    """The daemon's process is gone."""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_standing(tmp_path / "data", Recipe(name="smoke", source="simulated", n_snapshots=420))
    return tmp_path


@pytest.fixture
def daemon(home, monkeypatch):
    """Looks at the clock at an instant, as Dagster's daemon does, and executes what it launches in this process."""
    place = str(Path(__file__).with_name("year_definitions.py"))
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(executable_path=sys.executable, python_file=place, attribute="defs")
    )
    with dg.instance_for_test(overrides={"run_launcher": LAUNCHER, "run_coordinator": COORDINATOR}) as instance:
        target = InProcessTestWorkspaceLoadTarget(origin)
        with WorkspaceProcessContext(instance, target) as context:
            location = context.create_request_context().code_locations[0]
            (repository,) = location.get_repositories().values()

            def begin(at):
                with freeze_time(at):
                    instance.start_schedule(repository.get_schedule("weekly_retraining"))

            def look(at):
                monkeypatch.setattr(schedules, "now", lambda: at)
                list(scheduler.launch_scheduled_runs(context, logging.getLogger("daemon"), at, iteration_times={}))

            yield instance, begin, look


def grow_older(folder: Path, days: float) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            stat = path.stat()
            os.utime(path, (stat.st_atime - days * 86_400, stat.st_mtime - days * 86_400))


def size(*folders: Path) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def test_a_year_of_weekly_ticks(daemon, home, monkeypatch):
    instance, begin, look = daemon
    real = scheduler.check_for_debug_crash
    places, begun = Places(home / "data"), []
    sizes, logs, dagster = [], [], Path(instance.root_directory)
    for week in range(WEEKS):
        at = FIRST + timedelta(weeks=week)
        if week == 0:
            begin(at - timedelta(minutes=1))
        if week == MISSED[0]:
            continue
        if week == CRASH:

            def crash(_flags, key):
                if key == "RUN_CREATED":
                    raise Crash

            monkeypatch.setattr(scheduler, "check_for_debug_crash", crash)
            with pytest.raises(Crash):
                look(at + timedelta(seconds=30))
            monkeypatch.setattr(scheduler, "check_for_debug_crash", real)
        look(at + timedelta(seconds=60))
        look(at + timedelta(seconds=90))  # nothing is due any more
        begun.append(f"weekly-{at:%Y-%m-%d}")
        grow_older(home / "data", 7.0)
        prune_all(places, days=30.0)
        prune_events(instance, days=0.0, living=living_runs(places))
        sizes.append(size(places.cache, home / "data" / "launches", places.set_aside))
        logs.append(size(dagster))

    runs = instance.get_runs()
    assert sorted(run.tags[PARTITION_TAG] for run in runs) == begun, "one launch per tick"
    assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
    assert len(begun) == WEEKS - 1
    reports = {path.parent.name for path in (home / "reports" / "generated").glob("*/index.html")}
    assert reports == set(begun)
    assert sizes[-1] <= 1.05 * sizes[0], "caches, launches and what was set aside do not grow"
    assert logs[-1] <= 1.05 * len(begun) * logs[0], "Dagster's own log holds the launches of the runs that there are"
    events = {path.stem for path in dagster.glob("history/runs/*-*.db")}
    assert events == {run.run_id for run in runs}, "and no file of another"
    assert not list(places.runs.glob("*/checkpoints/latest")) or WEEKS < 6
    assert all((places.bundle(name) / "manifest.json").is_file() for name in begun)
