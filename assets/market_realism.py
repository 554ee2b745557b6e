"""The outside judge: the market's quotes against figures that others published. It warns; the audit blocks."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.market_data import GROUP, market_quotes
from assets.resources import Metrics, ProjectPaths, Recipe
from assets.support import check, numbers, stage, table
from clstm_core.market.realism.names import CHECKS

if TYPE_CHECKING:
    from clstm_core.artifacts.manifests import RealismVerdict


@dg.asset(
    group_name=GROUP,
    deps=[market_quotes],
    kinds={"polars"},
    owners=["team:research"],
    check_specs=[dg.AssetCheckSpec(name, asset="market_realism", description=words) for name, words in CHECKS.items()],
)
def market_realism(
    context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """Option-selling indices, volatility, smile and spreads of these quotes beside what others published."""
    with stage(context, "realism") as progress:
        from clstm_core.market.cache import ensure_quotes
        from clstm_core.realism_verdict import FAILURES, ensure_realism

        places, quotes = paths.places, None
        try:
            quotes = ensure_quotes(recipe.core().market(), places.cache, make=False)
            verdict, stood = ensure_realism(quotes, places.cache)
            metrics.store().record(verdict)
            result = _shown(verdict)
        except FAILURES as error:
            # the judge only warns: what it fails at stops no training and no report
            context.log.warning("the judge failed", exc_info=True)
            result = _failed(error, quotes, paths, metrics)
            stood = False
        progress(1, 1, "the verdict on these quotes stands" if stood else "")
    return result


def _shown(verdict: "RealismVerdict") -> dg.MaterializeResult:
    """The verdict with its tables and its picture."""
    return dg.MaterializeResult(
        metadata={
            "verdict": verdict.verdict,
            "label": verdict.label,
            "picture": dg.MetadataValue.md(_picture(verdict)),
            "bands": table(verdict.bands, ["name", "ours", "outside", "within", "unit", "holds"]),
            "indices": table(_by_year(verdict), ["year", "index", "ours", "published"]),
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
    return dg.MaterializeResult(metadata=metadata, check_results=[check(name, False, why) for name in CHECKS])


def _by_year(verdict: "RealismVerdict") -> list[Mapping[str, Any]]:
    """The years that something was published for."""
    known = [row for row in verdict.indices if row["published"] is not None]
    return sorted(known, key=lambda row: (row["year"], row["index"]))


def _picture(verdict: "RealismVerdict") -> str:
    """Ours and the published indices by calendar year."""
    from reports.svg import as_markdown_image, line_chart

    lines: dict[str, list[tuple[date, float | None]]] = {}
    for row in _by_year(verdict):
        if row["index"] != "total_return":
            end = date(row["year"], 12, 31)
            lines.setdefault(f"{row['index']}, these quotes", []).append((end, row["ours"]))
            lines.setdefault(f"{row['index']}, published", []).append((end, row["published"]))
    if not lines:
        return "Nothing was published for these years."
    return as_markdown_image(line_chart(lines, "Return by calendar year, %", subtitle=verdict.label), "indices by year")
