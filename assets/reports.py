"""The report: what it shows, computed once and kept beside the run, and one page that opens without a network."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.checkpoint_comparison import checkpoint_comparison
from assets.exports import policy_bundle
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, escaped, record_gates, run_stage
from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifests import BundleManifest, ComparisonManifest, ReportManifest, RunInputs

REMOTE = ('src="http', "src='http", 'href="http://', "@import", "url(http")


@dg.asset(
    group_name="evaluation",
    deps=[checkpoint_comparison, policy_bundle],
    partitions_def=training_run,
    kinds={"plotly", "html"},
    owners=["team:research"],
    check_specs=[
        dg.AssetCheckSpec("opens_offline", asset="backtest_report", description="nothing is loaded from elsewhere"),
        dg.AssetCheckSpec("figures_present", asset="backtest_report"),
    ],
)
def backtest_report(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """Verdict, equity against baselines, ladder, attribution, training and gates on one self-contained page."""
    with run_stage(context, "report", paths) as (progress, run):
        from reports.collect import collect
        from reports.render import figure_count, render_report

        store, places = metrics.store(), paths.places
        inputs, comparison = RunInputs.read(run.inputs), ComparisonManifest.read(run.comparison)
        bundle = BundleManifest.read(places.bundle(run.name) / "manifest.json")
        bundle.require_parent("comparison", comparison)
        page = render_report(collect(run.name, store, paths.data), paths.reports)
        progress(1, 1)
        figures, text = figure_count(page), page.read_text()
        remote = [mark for mark in REMOTE if mark in text]
        url, verdict = report_server.page(run.name), comparison.comparison["verdict"]
        report = ReportManifest(
            run=run.name,
            path=places.relative(page),
            sha256=file_sha256(page),
            url=url,
            label=inputs.facts["label"],
            verdict=verdict,
            figures=figures,
            bytes=page.stat().st_size,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            parents={"comparison": comparison.identity, "bundle": bundle.identity},
        ).write(run.report)
        store.record(report)
        results = [
            check("opens_offline", not remote, f"Loads {', '.join(remote)}." if remote else "Loads nothing remote."),
            check("figures_present", figures > 0, f"{figures} figures."),
        ]
        record_gates(metrics, run, inputs.data_sha256, "backtest_report", results)
        published = store.publish(paths.data / "published" / "metrics.duckdb")
    shown: dict[str, Any] = {"label": inputs.facts["label"], "figures": figures}
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(url),
            "report_path": dg.MetadataValue.path(str(page)),
            "summary": dg.MetadataValue.md(escaped(verdict)[:990]),
            **shown,
            "published_metrics": dg.MetadataValue.path(str(published)),
        },
        check_results=results,
    )
