"""A vendor's files month by month: read once, kept parsed, so that a refresh of the market reads only what is new."""

from datetime import timedelta

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import MARKET, code_version
from assets.partitions import session_month
from assets.resources import ProjectPaths, Recipe
from assets.support import check, stage, table, tag_run

NONE = "This source reads no files: there is nothing to load by month."


@dg.asset(
    group_name="market_data",
    partitions_def=session_month,
    kinds={"polars", "parquet"},
    owners=["team:research"],
    code_version=code_version(*MARKET),
    check_specs=check_specs(
        "vendor_sessions",
        warning={"files_readable": "Every session file of the month can be read."},
        per_run=False,
    ),
)
def vendor_sessions(context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths) -> dg.MaterializeResult:
    """The session files of one month, parsed: backfill months at once, load one again when its files change."""
    with stage(context, "vendor sessions") as progress:
        from clstm_core.market.cache import load_sessions

        tag_run(context, recipe=recipe.name, source=recipe.source)
        month = context.partition_time_window
        first, last = month.start.date(), month.end.date() - timedelta(days=1)
        found = load_sessions(recipe.core().market(), paths.places.cache, first, last, progress)
    if found is None:
        return dg.MaterializeResult(metadata={"source": NONE}, check_results=[check("files_readable", True, NONE)])
    broken = [session for session in found if session.fault]
    rows = [session._asdict() | {"day": str(session.day)} for session in found]
    words = f"{len(found)} session files from {first} to {last}, {sum(session.rows for session in found):,} rows."
    return dg.MaterializeResult(
        metadata={
            "source": recipe.source,
            "sessions": len(found),
            "rows": sum(session.rows for session in found),
            "files": table(rows, ["day", "file", "rows", "fault"]),
        },
        check_results=[check("files_readable", not broken, " ".join(one.fault for one in broken) or words)],
    )
