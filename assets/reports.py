"""The report: what it shows, computed once and kept beside the run, and one page that opens without a network."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.backtests import results_of
from assets.check_specs import check_specs
from assets.checkpoint_comparison import PARENTS, checkpoint_comparison
from assets.code_versions import REPORT, code_version
from assets.convention_sweeps import convention_sweeps
from assets.critic_foresight import critic_foresight
from assets.evidence_audit import evidence_audit
from assets.exports import policy_bundle
from assets.market_realism import market_realism
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, escaped, record_gates, run_stage
from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifests import (
    AuditVerdict,
    BundleManifest,
    ComparisonManifest,
    ConventionsManifest,
    CriticManifest,
    EvidenceManifest,
    GateResults,
    GeneralisationManifest,
    LuckManifest,
    RealismVerdict,
    ReportManifest,
    RunInputs,
    RunStatus,
)
from clstm_core.artifacts.places import Places, RunFolder

if TYPE_CHECKING:
    from clstm_core.evaluation.evidence import Evidence

REMOTE = ('src="http', "src='http", 'href="http://', "@import", "url(http")


@dg.asset(
    group_name="evaluation",
    deps=[checkpoint_comparison, evidence_audit, policy_bundle, market_realism, critic_foresight, convention_sweeps],
    partitions_def=training_run,
    kinds={"plotly", "html"},
    code_version=code_version(__file__, rooms=REPORT, reports=True),
    owners=["team:research"],
    check_specs=check_specs(
        "backtest_report",
        warning={
            "opens_offline": "The page loads nothing from elsewhere.",
            "figures_present": "The page has its figures.",
        },
    ),
)
def backtest_report(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """Verdict, equity against baselines, ladder, attribution, training and gates on one self-contained page."""
    with run_stage(context, "report", paths) as (progress, run):
        report, page = write_report(run, paths.places, paths.reports, report_server.page(run.name))
        progress(1, 1)
        store, inputs = metrics.store(), RunInputs.read(run.inputs)
        store.record(report)
        text, figures = page.read_text(), report.figures
        remote = [mark for mark in REMOTE if mark in text]
        results = [
            check("opens_offline", not remote, f"Loads {', '.join(remote)}." if remote else "Loads nothing remote."),
            check("figures_present", figures > 0, f"{figures} figures."),
        ]
        record_gates(metrics, run, inputs.data_sha256, "backtest_report", results)
        published = store.publish(paths.data / "published" / "metrics.duckdb")
        _, said = _controls(inputs, paths.places)
    shown: dict[str, Any] = {"label": inputs.facts["label"], "figures": figures, "controls": said}
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.url(report.url),
            "summary": dg.MetadataValue.md(escaped(report.verdict or "")[:990]),
            "report_path": dg.MetadataValue.path(str(page)),
            **shown,
            "published_metrics": dg.MetadataValue.path(str(published)),
        },
        data_version=dg.DataVersion(report.sha256[:16]),
        check_results=results,
    )


def write_report(run: RunFolder, places: Places, reports: Path, url: str) -> tuple[ReportManifest, Path]:
    """Compute a run's evidence from its files, keep it beside the run, and draw its page; the manifest and the page.

    Args:
        reports: folder of the pages; url: where the page is shown

    Raises: ArtifactError for what an earlier stage did not leave, or left altered
    """
    from clstm_core.evaluation.evidence import load_evidence, save_evidence
    from reports.render import figure_count, render_report

    inputs, comparison = RunInputs.read(run.inputs), ComparisonManifest.read(run.comparison)
    bundle = BundleManifest.read(places.bundle(run.name) / "manifest.json")
    bundle.require_parent("comparison", comparison)
    files = save_evidence(_evidence(run, inputs, comparison, bundle, places), run.evidence)
    parents = {"comparison": comparison.identity, "bundle": bundle.identity, "inputs": inputs.identity}
    named = {f"{run.evidence.name}/{name}": sha256 for name, sha256 in files.items()}
    evidence = EvidenceManifest(run=run.name, files=named, parents=parents).write(run.path / "evidence.json")
    page = render_report(load_evidence(run.evidence), reports)
    report = ReportManifest(
        run=run.name,
        path=places.relative(page),
        sha256=file_sha256(page),
        url=url,
        label=inputs.facts["label"],
        verdict=comparison.comparison["verdict"],
        figures=figure_count(page),
        bytes=page.stat().st_size,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        parents={**parents, "evidence": evidence.identity},
    ).write(run.report)
    return report, page


def _evidence(
    run: RunFolder, inputs: RunInputs, comparison: ComparisonManifest, bundle: BundleManifest, places: Places
) -> "Evidence":
    """What the run's manifests say, as a report shows it."""
    import polars as pl

    from clstm_core.evaluation.build_evidence import build_evidence
    from clstm_core.evaluation.regimes import implied_by_date
    from clstm_core.realism_verdict import realism_place
    from clstm_core.store.rows import metrics_rows

    facts: dict[str, Any] = {}
    for manifest in (RunStatus.read(run.status, files=False), inputs, comparison):
        facts |= manifest.rows()["runs"][0]
    gates = [GateResults.kept(place) for place in sorted(run.gates("any").parent.glob("*.json"))]
    verdicts = [AuditVerdict.kept(place) for place in sorted((places.cache / "audits").glob("*.json"))]
    mine = {inputs.parents.get("verdict"), inputs.parents.get("training_verdict")}
    said = [*(found for found in verdicts if found and found.identity in mine), *filter(None, gates)]
    results = {name: results_of(run, name, places)[1] for name in PARENTS}
    findings = places.root / facts["quotes_dir"] / "findings.parquet"
    earned, (controls, controls_words) = _earned(run, comparison), _controls(inputs, places)
    judged = RealismVerdict.kept(realism_place(places.cache, inputs.parents["quotes"]))
    return build_evidence(
        run=run.name,
        facts=facts,
        comparison=comparison.comparison,
        results=[*results["policy_backtests"], *results["baseline_backtests"]],
        twin=results["twin_backtests"],
        stressed=results["stressed_backtests"],
        training_rows=metrics_rows(run.path),
        gates=[row for manifest in said for row in manifest.rows()["gate_results"]],
        exports=bundle.rows()["exports"],
        parity=bundle.parity,
        latency=bundle.latency,
        realism=judged.content() if judged else None,
        critic=critic.rows_by_window if (critic := CriticManifest.kept(run.critic)) else [],
        generalisation=earned.figures if earned else [],
        habits=earned.habits if earned else [],
        rules=earned.rules if earned else [],
        controls=controls,
        controls_words=controls_words,
        conventions=_swept(run, comparison),
        luck=walked.luck if (walked := LuckManifest.kept(run.luck)) else None,
        implied=implied_by_date(places.tensors(inputs.data_sha256 or "")),
        discount=(inputs.config.get("ppo") or {}).get("gamma"),
        findings=pl.read_parquet(findings).to_dicts() if findings.is_file() else [],
        generated_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _controls(inputs: RunInputs, places: Places) -> tuple[list[dict[str, Any]], str]:
    """What the run's recipe finds where the edge is known, as rows and in words."""
    from clstm_core.controls.kept import controls_said, kept_controls
    from clstm_core.train.inputs import config_of

    config = config_of(inputs)
    kept = kept_controls(config, places)
    return (kept.rows()["controls"] if kept else []), controls_said(kept, config.recipe)


def _swept(run: RunFolder, comparison: ComparisonManifest) -> dict[str, Any] | None:
    """What the conventions would have bought; None where they were not walked.

    Raises: ArtifactError where it was altered, or is of another comparison
    """
    if not run.conventions.is_file():
        return None
    found = ConventionsManifest.read(run.conventions)
    found.require_parent("comparison", comparison)
    return found.content()


def _earned(run: RunFolder, comparison: ComparisonManifest) -> GeneralisationManifest | None:
    """What the ladder earns in each kind of market, as the comparison knew it; None where it knew of none.

    Raises: ArtifactError where it is gone, altered or another one
    """
    if GeneralisationManifest.kind not in comparison.parents and not run.generalisation.is_file():
        return None
    found = GeneralisationManifest.read(run.generalisation)
    comparison.require_parent(GeneralisationManifest.kind, found)
    return found
