"""The evidence audited: what was seen, fitted, chosen, charged and printed, made anew before anyone relies on it."""

import dagster as dg

from assets.backtests import results_of
from assets.check_specs import check_specs
from assets.checkpoint_comparison import PARENTS, checkpoint_comparison
from assets.code_versions import EVIDENCE, code_version
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, record_gates, run_stage, table
from clstm_core.artifacts.folder import file_sha256
from clstm_core.evidence_audit.names import CHECKS


@dg.asset(
    group_name="evaluation",
    deps=[checkpoint_comparison],
    partitions_def=training_run,
    kinds={"polars", "torch"},
    code_version=code_version(__file__, rooms=EVIDENCE),
    owners=["team:research"],
    check_specs=check_specs("evidence_audit", blocking=CHECKS),
)
def evidence_audit(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """Whether the evidence follows from the past, training dates and the books: no report and no bundle without."""
    with run_stage(context, "evidence audit", paths) as (progress, run):
        from clstm_core.evidence_audit.case import load_case
        from clstm_core.evidence_audit.run import audit_evidence

        results = {name: results_of(run, name, paths.places)[1] for name in PARENTS}
        ladder, baselines = results.pop("policy_backtests"), results.pop("baseline_backtests")
        case = load_case(run, paths.places, ladder=ladder, baselines=baselines, beside=results)
        findings = list(audit_evidence(case, progress))
        checks = [
            check(found.name, found.passed, found.detail, blocking=True, counted=found.counted) for found in findings
        ]
        record_gates(metrics, run, case.inputs.data_sha256, "evidence_audit", checks)
    rows = [{"check": found.name, "passed": found.passed, "counted": found.counted} for found in findings]
    return dg.MaterializeResult(
        metadata={
            "panel": report_server.panel(run.name, "gates"),
            "checks": table(rows, ["check", "passed", "counted"]),
            "passed": sum(found.passed for found in findings),
            "of": len(findings),
        },
        data_version=dg.DataVersion(file_sha256(run.comparison)[:16]),
        check_results=checks,
    )
