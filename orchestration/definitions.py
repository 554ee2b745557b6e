"""The one Definitions: assets, jobs, and resources made from where the project lies."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets import (
    backtests,
    checkpoint_comparison,
    critic_warmup,
    environment_audit,
    exports,
    market_data,
    reports,
    training,
)
from assets.resources import Metrics, ProjectPaths, ReportServer
from orchestration.jobs import jobs

MODULES = (
    market_data,
    environment_audit,
    critic_warmup,
    training,
    backtests,
    checkpoint_comparison,
    exports,
    reports,
)


def project_home() -> Path:
    """Where data/ and reports/generated/ lie: CLSTM_HOME, or this checkout."""
    return Path(os.environ.get("CLSTM_HOME") or Path(__file__).resolve().parents[1])


def build_defs(*, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Everything, with resources that a test may replace."""
    root = project_home()
    resources: dict[str, Any] = {
        "paths": ProjectPaths(home=str(root)),
        "metrics": Metrics(path=str(root / "data" / "metrics.duckdb")),
        "report_server": ReportServer(),
    }
    return dg.Definitions(
        assets=[*dg.load_assets_from_modules(MODULES), training.training_progress],
        jobs=jobs,
        resources=resources | dict(resource_overrides or {}),
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads."""
    return build_defs()
