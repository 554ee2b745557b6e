"""A vendor's files month by month: read once, kept parsed, so that a refresh of the market reads only what is new."""

from datetime import timedelta

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import MARKET, code_version
from assets.partitions import session_month
from assets.resources import ProjectPaths, Recipe
from assets.support import NOTHING_MADE, check, long_table, stage, tag_by_recipe
from clstm_core.artifacts.folder import json_sha256
from clstm_core.plural import counted

NONE = "This source reads no files: there is nothing to load by month."


@dg.asset(
    # a group of its own: among assets that are not keyed by month, "Materialize all" would ask for months alone
    group_name="vendor_files",
    partitions_def=session_month,
    kinds={"polars", "parquet"},
    owners=["team:research"],
    code_version=code_version(__file__, rooms=MARKET),
    check_specs=check_specs(
        "vendor_sessions",
        warning={"files_readable": "Every session file of the month can be read."},
        keyed=session_month,
    ),
)
def vendor_sessions(context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths) -> dg.MaterializeResult:
    """The session files of one month, parsed: backfill months at once, load one again when its files change.

    `market_quotes` takes from here what is parsed and reads what is missing by itself: it waits for no month.
    """
    with stage(context, "vendor sessions") as progress:
        from clstm_core.market.cache import load_sessions

        tag_by_recipe(context, recipe)
        month = context.partition_time_window
        first, last = month.start.date(), month.end.date() - timedelta(days=1)
        found = load_sessions(recipe.core().market(), paths.places.cache, first, last, progress)
    if found is None:
        nothing = [check("files_readable", True, NONE)]
        return dg.MaterializeResult(metadata={"source": NONE}, data_version=NOTHING_MADE, check_results=nothing)
    broken = [session for session in found if session.fault]
    rows = [session._asdict() | {"day": str(session.day)} for session in found]
    total = sum(session.rows for session in found)
    words = f"{counted(len(found), 'session file')} from {first} to {last}, {counted(total, 'row')}."
    return dg.MaterializeResult(
        metadata={
            "source": recipe.source,
            "sessions": len(found),
            "rows": total,
            "dagster/row_count": total,
            "files": long_table(rows, ["day", "file", "rows", "fault"]),
        },
        data_version=dg.DataVersion(json_sha256(rows)[:16]),
        check_results=[check("files_readable", not broken, " ".join(one.fault for one in broken) or words)],
    )
