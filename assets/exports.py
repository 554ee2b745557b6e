"""The bundle: the champion as safetensors, TorchScript and ONNX, and the proof that each decides alike."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from assets.checkpoint_comparison import COMPARISON, checkpoint_comparison
from assets.critic_warmup import INPUTS
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths
from assets.support import check, identity, read_json, read_kept, record_gates, stage, table, write_json

if TYPE_CHECKING:
    from clstm_core.env.options_env import OptionsEnv

LATENCY_GOAL_US = 1000.0
_FORMATS = {".safetensors": "safetensors", ".ts": "torchscript", ".onnx": "onnx", ".json": "json", ".md": "markdown"}


class ExportConfig(dg.Config):
    """How hard to compare."""

    parity_steps: int = Field(1000, description="recurrent steps over which every runtime must decide alike")


@dg.asset(
    group_name="deployment",
    deps=[checkpoint_comparison],
    partitions_def=training_run,
    kinds={"onnx", "torch"},
    owners=["team:deployment"],
    check_specs=[
        dg.AssetCheckSpec("parity", asset="policy_bundle", blocking=True, description="eager = TorchScript = ONNX"),
        dg.AssetCheckSpec("golden_vectors", asset="policy_bundle", blocking=True),
        dg.AssetCheckSpec("latency", asset="policy_bundle", description=f"p99 below {LATENCY_GOAL_US:.0f} us"),
    ],
)
def policy_bundle(
    context: dg.AssetExecutionContext, config: ExportConfig, paths: ProjectPaths, metrics: Metrics
) -> dg.MaterializeResult:
    """A folder to deploy: the policy in three formats, its configuration, hashes, golden vectors and a model card."""
    run = context.partition_key
    run_dir, folder, store = paths.run(run), paths.bundle(run), metrics.store()
    with stage(context, "export") as progress:
        from clstm_core.config import RunConfig
        from clstm_core.deployment.bundle import build_bundle, load_bundle
        from clstm_core.errors import BundleError
        from clstm_core.market.tensors import load_market

        inputs = read_json(run_dir / INPUTS, "Materialize warm_critic for this run first.")
        comparison = read_json(run_dir / COMPARISON, "Materialize checkpoint_comparison for this run first.")
        settings = RunConfig.from_dict(read_json(run_dir / "config.json", "Materialize warm_critic first."))
        champion = comparison["champion"]
        checkpoint = run_dir / "checkpoints" / champion["milestone"]
        provenance = {
            "run": run,
            "data_label": comparison["data_label"],
            "data_sha256": inputs["data_sha256"],
            "trained_on": inputs["trained_on"],
            "training_data_sha256": inputs["training_data_sha256"],
            "report": str(Path("reports") / "generated" / run / "index.html"),
            "verdict": comparison["verdict"],
        }
        weights = (checkpoint / "manifest.json").read_text()
        made_from = identity([provenance, weights, config.parity_steps], "deployment", "model", "specs.py")
        kept = run_dir / "bundle.json"
        facts = read_kept(kept) or {}
        if facts.get("made_from") == made_from and _loads(folder, load_bundle):
            progress.reused("the bundle of this checkpoint stands; its hashes and golden vectors were verified")
        else:
            market = load_market(Path(inputs["training_folder"]))

            def make_env(batch: int) -> "OptionsEnv":
                from clstm_core.env.options_env import OptionsEnv

                return OptionsEnv(market, settings.env, n_envs=batch, seed=settings.seed)

            try:
                result = build_bundle(
                    checkpoint,
                    folder,
                    make_env=make_env,
                    provenance=provenance,
                    parity_steps=config.parity_steps,
                    progress=progress,
                )
            except BundleError as error:
                raise dg.Failure(description=str(error), allow_retries=False) from error
            facts = {"made_from": made_from, "golden_max_difference": result.golden_max_difference}
            write_json(kept, facts)
        manifest = json.loads((folder / "manifest.json").read_text())
        store.upsert("exports", _rows(run, folder, manifest, champion["milestone"]))
        results = _checks(manifest, facts)
        record_gates(store, run_dir, inputs["data_sha256"], "policy_bundle", results)
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(folder)),
            "checkpoint": champion["milestone"],
            "verdict": comparison["verdict"],
            "parity": table(
                manifest["parity"], ["runtime", "batch", "steps", "actions_differing", "max_logit_difference", "passed"]
            ),
            "latency": table(manifest["latency"], ["runtime", "p50_us", "p99_us"]),
            "files": table(
                [{"file": name, "sha256": digest} for name, digest in manifest["files"].items()], ["file", "sha256"]
            ),
        },
        check_results=results,
    )


def _loads(folder: Path, load_bundle: Any) -> bool:
    from clstm_core.errors import BundleError

    try:
        load_bundle(folder)
    except BundleError:
        return False
    return True


def _checks(manifest: dict[str, Any], facts: dict[str, Any]) -> list[dg.AssetCheckResult]:
    parity = manifest["parity"]
    passed = bool(parity) and all(row["passed"] for row in parity)
    differing = sum(row["actions_differing"] for row in parity)
    worst = max((row["max_logit_difference"] for row in parity), default=float("inf"))
    onnx = next((row for row in manifest["latency"] if row["runtime"] == "onnx"), None)
    return [
        check(
            "parity",
            passed,
            f"{max((row['steps'] for row in parity), default=0):,} recurrent steps, batches "
            f"{sorted({row['batch'] for row in parity})}: {differing} actions differ, |d logit| <= {worst:.1e}.",
            blocking=True,
        ),
        check(
            "golden_vectors",
            facts["golden_max_difference"] <= 1e-5,
            f"Golden outputs reproduced to {facts['golden_max_difference']:.1e}.",
            blocking=True,
        ),
        check(
            "latency",
            onnx is not None and onnx["p99_us"] <= LATENCY_GOAL_US,
            "not measured"
            if onnx is None
            else f"ONNX, one account, one thread: p50 {onnx['p50_us']:.0f} us, p99 {onnx['p99_us']:.0f} us.",
        ),
    ]


def _rows(run: str, folder: Path, manifest: dict[str, Any], milestone: str) -> list[dict[str, Any]]:
    parity = {row["runtime"]: row for row in manifest["parity"]}
    latency = {row["runtime"]: row for row in manifest["latency"]}
    rows = []
    for name, digest in manifest["files"].items():
        kind = _FORMATS.get(Path(name).suffix, "")
        runtime = {"policy.onnx": "onnx", "policy.ts": "torchscript"}.get(name, "")
        row = {
            "run": run,
            "file": name,
            "format": kind,
            "milestone": milestone,
            "folder": str(folder),
            "sha256": digest,
            "bytes": (folder / name).stat().st_size,
            "created_at": manifest["created"],
        }
        if runtime in parity:
            same = [item for item in manifest["parity"] if item["runtime"] == runtime]
            row |= {
                "parity_passed": all(item["passed"] for item in same),
                "parity_steps": max(item["steps"] for item in same),
                "parity_action_differences": sum(item["actions_differing"] for item in same),
                "parity_max_logit_difference": max(item["max_logit_difference"] for item in same),
                "latency_p50_us": latency.get(runtime, {}).get("p50_us"),
                "latency_p99_us": latency.get(runtime, {}).get("p99_us"),
            }
        rows.append(row)
    return rows
