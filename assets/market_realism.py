"""The outside judge: the market's quotes against figures that others published. It warns; the audit blocks."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import MARKET, code_version
from assets.market_data import GROUP, market_quotes
from assets.resources import Metrics, ProjectPaths, Recipe, ReportServer
from assets.support import NOTHING_MADE, check, long_table, numbers, stage, table, tag_by_recipe
from clstm_core.market.realism.names import CHECKS

if TYPE_CHECKING:
    from clstm_core.artifacts.manifests import RealismVerdict


@dg.asset(
    group_name=GROUP,
    deps=[market_quotes],
    kinds={"polars"},
    code_version=code_version(__file__, rooms=MARKET),
    owners=["team:research"],
    check_specs=check_specs("market_realism", warning=CHECKS, keyed=None),
)
def market_realism(
    context: dg.AssetExecutionContext,
    recipe: Recipe,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
) -> dg.MaterializeResult:
    """Option-selling indices, volatility, smile and spreads of these quotes beside what others published.

    It warns and blocks nothing: `docs/operations.md`, *Launching*.
    """
    with stage(context, "realism") as progress:
        from clstm_core.market.cache import ensure_quotes
        from clstm_core.realism_verdict import FAILURES, ensure_realism

        tag_by_recipe(context, recipe)
        places, quotes = paths.places, None
        try:
            quotes = ensure_quotes(recipe.core().market(), places.cache, make=False)
            verdict, stood = ensure_realism(quotes, places.cache)
            metrics.store().record(verdict)
            result = _shown(verdict, report_server)
        except FAILURES as error:
            # the judge only warns: what it fails at stops no training and no report
            context.log.warning("the judge failed", exc_info=True)
            result = _failed(error, quotes, paths, metrics)
            stood = False
        progress(1, 1, "the verdict on these quotes stands" if stood else "")
    return result


def _shown(verdict: "RealismVerdict", report_server: ReportServer) -> dg.MaterializeResult:
    """The verdict with its tables and its picture."""
    svg = _picture(verdict)
    return dg.MaterializeResult(
        metadata={
            "verdict": verdict.verdict,
            "label": verdict.label,
            **({"indices_by_year": report_server.picture("market", f"indices_{verdict.source}", svg)} if svg else {}),
            "bands": table(verdict.bands, ["name", "ours", "outside", "within", "unit", "holds"]),
            "indices": long_table(_by_year(verdict), ["year", "index", "ours", "published"]),
            "volatility": table(verdict.volatility, ["year", "vix", "bias", "rmse", "sessions"]),
            "path": dg.MetadataValue.path(str(verdict.place)),
            **numbers({"bands_left": sum(band["holds"] is False for band in verdict.bands)}),
        },
        data_version=dg.DataVersion(verdict.identity[:16]),
        check_results=[check(found["name"], found["passed"], found["detail"]) for found in verdict.checks],
    )


def _failed(error: BaseException, quotes: Path | None, paths: ProjectPaths, metrics: Metrics) -> dg.MaterializeResult:
    """Every check as a warning that names what failed, kept where the report looks for the verdict."""
    from clstm_core.realism_verdict import FAILURES, keep_unjudged, why_unjudged

    why = why_unjudged(error)
    metadata: dict[str, Any] = {"verdict": why}
    if quotes is not None:
        with suppress(*FAILURES):  # the warning is given even where it cannot be kept
            verdict = keep_unjudged(quotes, paths.places.cache, why)
            metadata["path"] = dg.MetadataValue.path(str(verdict.place))
            metrics.store().record(verdict)
    checks = [check(name, False, why) for name in CHECKS]
    return dg.MaterializeResult(metadata=metadata, data_version=NOTHING_MADE, check_results=checks)


def _by_year(verdict: "RealismVerdict") -> list[Mapping[str, Any]]:
    """The years that something was published for."""
    known = [row for row in verdict.indices if row["published"] is not None]
    return sorted(known, key=lambda row: (row["year"], row["index"]))


def _picture(verdict: "RealismVerdict") -> str | None:
    """Ours and the published indices by calendar year, as an SVG; None where nothing was published for these years."""
    from reports.svg import line_chart

    lines: dict[str, list[tuple[date, float | None]]] = {}
    for row in _by_year(verdict):
        if row["index"] != "total_return":
            end = date(row["year"], 12, 31)
            lines.setdefault(f"{row['index']}, these quotes", []).append((end, row["ours"]))
            lines.setdefault(f"{row['index']}, published", []).append((end, row["published"]))
    return line_chart(lines, "Return by calendar year, %", subtitle=verdict.label) if lines else None
