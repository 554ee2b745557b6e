"""What schedule and sensor ask for: one launch of `run_shadow` for the run that CLSTM_SHADOW_RUN names."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from assets.partitions import training_run
from orchestration.coordinator import refusal

if TYPE_CHECKING:
    from clstm_core.recipe import Recipe

SHADOW_RUN = "CLSTM_SHADOW_RUN"
"""Environment variable with the run whose bundle watches new sessions in shadow."""


def why_none(instance: dg.DagsterInstance, recipe: "Recipe") -> str:
    """Why nothing can be watched in shadow now; empty where it can.

    A launch beside another of the same run would be refused and not be asked for again: it is asked for afterwards.
    """
    if not (run := os.environ.get(SHADOW_RUN)):
        return f"No run is named in {SHADOW_RUN}."
    if not instance.has_dynamic_partition(str(training_run.name), run):
        return f"{SHADOW_RUN} names {run}: no run of that name was ever started here."
    if not recipe.data_dir:
        return f"Source {recipe.source} reads no folder."
    return refusal(instance, run) or ""


def shadow_request(recipe: "Recipe", key: str, tags: Mapping[str, str] | None = None) -> dg.RunRequest:
    """A launch on the standing recipe's folder; the same `key` is launched once.

    Assumes: `why_none` found nothing
    """
    run = os.environ[SHADOW_RUN]
    config = {"source": "directory", "market": recipe.source, "data": str(recipe.data_dir)}
    return dg.RunRequest(
        run_key=f"{run}-{key}",
        partition_key=run,
        tags=dict(tags or {}),
        run_config={"ops": {name: {"config": config} for name in ("shadow_session", "shadow_reconciliation")}},
    )
