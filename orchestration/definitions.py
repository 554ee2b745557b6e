"""The one Definitions: assets, jobs, and resources made from where the project lies."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

import assets
from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from orchestration.jobs import jobs


def project_home() -> Path:
    """Where data/ and reports/generated/ lie: CLSTM_HOME, or this checkout."""
    return Path(os.environ.get("CLSTM_HOME") or Path(__file__).parents[1]).resolve()


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Everything, with resources that a test may replace."""
    root = project_home()
    resources: dict[str, Any] = {
        "paths": ProjectPaths(home=str(root)),
        "metrics": Metrics(path=str(root / "data" / "metrics.duckdb")),
        "report_server": ReportServer(),
        "recipe": Recipe.configure_at_launch(),
    }
    return dg.Definitions(
        assets=dg.load_assets_from_package_module(assets, include_specs=True),
        jobs=jobs,
        resources=resources | dict(resource_overrides or {}),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_defs()
