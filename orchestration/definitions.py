"""The one Definitions: assets, jobs, and resources made from where the project lies."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

import assets
from assets.resources import REPORT_URL, Metrics, ProjectPaths, Recipe, ReportServer
from orchestration.home import project_home
from orchestration.jobs import jobs
from orchestration.schedules import schedules
from orchestration.sensors import sensors
from orchestration.start_run import start_run, started_runs

steps_in_processes = dg.multiprocess_executor.configured(
    {
        "max_concurrent": 2,  # a chain has two branches at most that are worth a core each
        # a step begins with torch and the project imported, in a copy of a process that has done nothing else
        "start_method": {"forkserver": {"preload_modules": ["torch", "orchestration.definitions"]}},
    }
)
"""Each step in a process of its own, in the UI and on the command line alike."""


def build_defs(
    *,
    resource_overrides: Mapping[str, Any] | None = None,
    executor: dg.ExecutorDefinition = steps_in_processes,
) -> dg.Definitions:
    """Everything, with resources and an executor that a test may replace."""
    root = project_home()
    resources: dict[str, Any] = {
        "paths": ProjectPaths(home=str(root)),
        "metrics": Metrics(path=str(root / "data" / "metrics.duckdb")),
        "report_server": ReportServer(home=str(root), url=os.environ.get("CLSTM_REPORT_URL") or REPORT_URL),
        "recipe": Recipe.configure_at_launch(),
    }
    return dg.Definitions(
        assets=_with_sources(),
        jobs=[*jobs, start_run],
        executor=executor,
        schedules=schedules,
        sensors=[started_runs, *sensors],
        resources=resources | dict(resource_overrides or {}),
    )


def _with_sources() -> list[Any]:
    """Every asset, with the place of its code, which the UI links."""
    found = dg.load_assets_from_package_module(assets, include_specs=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # what is beta here is a link
        return list(dg.with_source_code_references(found))


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_defs()
