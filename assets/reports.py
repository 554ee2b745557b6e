"""The report: the evidence of a run, kept beside it, and one page that draws it and opens without a network."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.backtests import results_of
from assets.checkpoint_comparison import COMPARISON, checkpoint_comparison
from assets.critic_warmup import INPUTS
from assets.exports import policy_bundle
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, read_json, read_kept, record_gates, stage

if TYPE_CHECKING:
    from clstm_core.evaluation.evidence import Evidence


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
        from clstm_core.evaluation.evidence import load_evidence, save_evidence
        from reports.render import figure_count, render_report

        inputs = read_json(run_dir / INPUTS, "Materialize warm_critic for this run first.")
        comparison = read_json(run_dir / COMPARISON, "Materialize checkpoint_comparison for this run first.")
        save_evidence(_evidence(run, paths, store, comparison), run_dir / "evidence")
        page = render_report(load_evidence(run_dir / "evidence"), paths.reports)
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


def _evidence(run: str, paths: ProjectPaths, store: Any, comparison: dict[str, Any]) -> "Evidence":
    """What the run's files and the store know, as a report shows it."""
    import polars as pl

    from clstm_core.evaluation.build_evidence import build_evidence
    from clstm_core.evaluation.trials import COUNT_TRIALS
    from clstm_core.store.rows import read_jsonl

    facts = store.query("SELECT * FROM runs WHERE run = ?", [run])[0]
    markets = [facts["data_sha256"] or "?", facts["training_data_sha256"] or "?"]
    gates = "SELECT * FROM gate_results WHERE run = ? OR (run = '' AND data_sha256 IN (?, ?)) ORDER BY gate, name"
    looked_at = {"data_sha256": facts["data_sha256"], "window": "test"}
    bundle = read_kept(paths.data / "bundles" / run / "manifest.json") or {}
    findings = Path(facts["quotes_dir"] or paths.data) / "findings.parquet"
    return build_evidence(
        run=run,
        facts=facts,
        comparison=comparison,
        results=[
            result
            for name in ("policy_backtests", "baseline_backtests")
            for result in results_of(paths.run(run), name, paths.backtests)
        ],
        training_rows=read_jsonl(paths.run(run) / "metrics.jsonl"),
        gates=store.query(gates, [run, *markets]),
        exports=store.query("SELECT * FROM exports WHERE run = ? ORDER BY file", [run]),
        parity=bundle.get("parity") or [],
        latency=bundle.get("latency") or [],
        findings=pl.read_parquet(findings).to_dicts() if findings.is_file() else [],
        trials=store.query(COUNT_TRIALS, looked_at)[0]["n"] or None,
        generated_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
