"""The bundle: the champion as safetensors, TorchScript and ONNX, and the proof that each decides alike."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from assets.check_specs import check_specs
from assets.checkpoint_comparison import checkpoint_comparison
from assets.code_versions import EXPORT, RUNTIME, code_version
from assets.evidence_audit import evidence_audit
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, record_gates, run_stage, table
from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import file_sha256, json_sha256, sweep
from clstm_core.artifacts.manifests import BundleManifest, ComparisonManifest, RunInputs
from clstm_core.artifacts.manifests.deployment import UNQUALIFIED
from clstm_core.evaluation.words import rung_name
from clstm_core.train.inputs import config_of
from clstm_policy.guard import MAX_LOGIT_DIFFERENCE

if TYPE_CHECKING:
    from clstm_core.env.options_env import OptionsEnv

LATENCY_GOAL_US = 1000.0
CODE = "clstm_core.deployment.bundle"


class ExportConfig(dg.Config):
    """How hard to compare."""

    parity_steps: int = Field(
        1000, description="decisions, none reset from outside, that every runtime must make alike"
    )


@dg.asset(
    group_name="deployment",
    deps=[checkpoint_comparison, evidence_audit],
    partitions_def=training_run,
    kinds={"onnx", "torch"},
    code_version=code_version(__file__, *RUNTIME, rooms=EXPORT),
    owners=["team:deployment"],
    check_specs=check_specs(
        "policy_bundle",
        blocking={
            "parity": "PyTorch, TorchScript and ONNX take the same decisions over unbroken episodes.",
            "golden_vectors": "The loaded graphs give the outputs that were written down beside them.",
        },
        warning={
            "latency": f"One decision takes less than {LATENCY_GOAL_US:.0f} us in 99 of 100 cases.",
            "champion_exported": "What is exported is a champion: some rung qualified.",
        },
    ),
)
def policy_bundle(
    context: dg.AssetExecutionContext,
    config: ExportConfig,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
) -> dg.MaterializeResult:
    """A folder to deploy: the policy in three formats, its configuration, hashes, golden vectors and a model card.

    How it is called: `docs/operations.md`, *Using a bundle*.
    """
    with run_stage(context, "export", paths) as (progress, run):
        from clstm_core.deployment.bundle import build_bundle, load_bundle
        from clstm_core.deployment.parity import unbroken_env
        from clstm_core.errors import BundleError
        from clstm_core.market.tensors import load_market

        places, inputs = paths.places, RunInputs.read(run.inputs)
        comparison = ComparisonManifest.read(run.comparison)
        comparison.require_parent("inputs", inputs)
        folder, checkpoint = places.bundle(run.name), run.checkpoint(comparison.champion["milestone"])
        provenance = {
            "run": run.name,
            "standing": _standing(comparison),
            "data_label": comparison.comparison["data_label"],
            "data_sha256": inputs.data_sha256,
            "trained_on": inputs.facts["trained_on"],
            "training_data_sha256": inputs.training_data_sha256,
            "report": f"reports/generated/{run.name}/index.html",
            "verdict": comparison.comparison["verdict"],
        }
        parents = {"comparison": comparison.identity, "inputs": inputs.identity}
        weights = file_sha256(checkpoint / "manifest.json")
        made_from = json_sha256([provenance, parents, weights, config.parity_steps, code_sha256(CODE)])
        manifest = None
        try:
            manifest = load_bundle(folder).manifest
            if manifest.made_from == made_from:
                progress.reused("the bundle of this checkpoint stands; its hashes and golden vectors were verified")
        except BundleError as error:
            if folder.exists():
                context.log.warning(f"{error} It is built again now.")
        if manifest is None or manifest.made_from != made_from:
            sweep(places.bundles)
            settings, identity = config_of(inputs), str(inputs.training_data_sha256)
            market = load_market(places.tensors(identity), identity=identity)

            def make_env(batch: int) -> "OptionsEnv":
                return unbroken_env(market, settings.env, n_envs=batch, seed=settings.seed, steps=config.parity_steps)

            manifest = build_bundle(
                checkpoint,
                folder,
                make_env=make_env,
                provenance=provenance,
                parents=parents,
                made_from=made_from,
                parity_steps=config.parity_steps,
                progress=progress,
            ).manifest
        metrics.store().record(manifest)
        results = _checks(manifest)
        record_gates(metrics, run, inputs.data_sha256, "policy_bundle", results)
    parity = ["runtime", "batch", "steps", "actions_differing", "max_logit_difference", "passed"]
    return dg.MaterializeResult(
        metadata={
            "panel": report_server.panel(run.name, "bundle"),
            "folder": dg.MetadataValue.path(str(folder)),
            "checkpoint": rung_name(comparison.champion["milestone"]),
            "standing": manifest.standing,
            "verdict": comparison.comparison["verdict"],
            "forgets_after_decisions": manifest.memory_sessions,
            "parity": table(manifest.parity, parity),
            "latency": table(manifest.latency, ["runtime", "p50_us", "p99_us"]),
            "files": table([{"file": name, "sha256": sha} for name, sha in manifest.files.items()], ["file", "sha256"]),
        },
        data_version=dg.DataVersion(manifest.made_from[:16]),
        check_results=results,
    )


def _standing(comparison: ComparisonManifest) -> str:
    """How the exported rung was chosen; in capitals where it is no champion."""
    if comparison.qualified:
        return f"champion: {comparison.champion.get('reason', 'the rung that was judged')}"
    return f"{UNQUALIFIED}: {comparison.champion['reason']}"


def _checks(manifest: BundleManifest) -> list[dg.AssetCheckResult]:
    parity = manifest.parity
    passed = bool(parity) and all(row["passed"] for row in parity)
    differing = sum(row["actions_differing"] for row in parity)
    worst = max((row["max_logit_difference"] for row in parity), default=float("inf"))
    onnx = next((row for row in manifest.latency if row["runtime"] == "onnx"), None)
    return [
        check(
            "parity",
            passed,
            f"{max((row['steps'] for row in parity), default=0):,} decisions without a reset from outside, of which "
            f"the policy forgets after every {manifest.memory_sessions}, batches "
            f"{sorted({row['batch'] for row in parity})}: {differing} actions differ, |d logit| <= {worst:.1e}.",
            blocking=True,
        ),
        check(
            "golden_vectors",
            manifest.golden["max_difference"] <= MAX_LOGIT_DIFFERENCE,
            f"Golden outputs reproduced to {manifest.golden['max_difference']:.1e}.",
            blocking=True,
        ),
        check(
            "latency",
            onnx is not None and onnx["p99_us"] <= LATENCY_GOAL_US,
            "not measured"
            if onnx is None
            else f"ONNX, one account, one thread: p50 {onnx['p50_us']:.0f} us, p99 {onnx['p99_us']:.0f} us.",
        ),
        check("champion_exported", manifest.qualified, f"{manifest.standing}."),
    ]
