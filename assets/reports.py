"""The report: one page a run that opens without a network."""

import dagster as dg

from assets.checkpoint_comparison import COMPARISON, checkpoint_comparison
from assets.critic_warmup import INPUTS
from assets.exports import policy_bundle
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, read_json, record_gates, stage


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
    run = context.partition_key
    run_dir, store = paths.run(run), metrics.store()
    with stage(context, "report") as progress:
        from reports.collect import collect
        from reports.render import figure_count, render_report

        inputs = read_json(run_dir / INPUTS, "Materialize warm_critic for this run first.")
        comparison = read_json(run_dir / COMPARISON, "Materialize checkpoint_comparison for this run first.")
        page = render_report(collect(run, store, paths.data), paths.reports)
        progress(1, 1)
        figures, text = figure_count(page), page.read_text()
        remote = [mark for mark in ('src="http', "src='http", 'href="http://', "@import", "url(http") if mark in text]
        url = report_server.page(run)
        row = {"run": run, "path": str(page), "url": url, "label": inputs["label"], "verdict": comparison["verdict"]}
        store.upsert("reports", [{**row, "figures": figures, "bytes": page.stat().st_size}])
        results = [
            check("opens_offline", not remote, f"Loads {', '.join(remote)}." if remote else "Loads nothing remote."),
            check("figures_present", figures > 0, f"{figures} figures."),
        ]
        record_gates(store, run_dir, inputs["data_sha256"], "backtest_report", results)
        store.publish(paths.data / "published" / "metrics.duckdb")
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(url),
            "report_path": dg.MetadataValue.path(str(page)),
            "summary": dg.MetadataValue.md(comparison["verdict"][:990]),
            "label": inputs["label"],
            "figures": figures,
            "published_metrics": dg.MetadataValue.path(str(paths.data / "published" / "metrics.duckdb")),
        },
        check_results=results,
    )
