"""The bundle: everything a runtime needs to trade one policy, and the proof that it is that policy."""

import dataclasses
import datetime
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from clstm_core.artifacts.folder import file_sha256, json_sha256, whole_folder, write_json
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import BundleManifest
from clstm_core.checkpoint import load_policy
from clstm_core.deployment import runtimes
from clstm_core.deployment.export import (
    OPSET,
    PolicyStep,
    actor_step,
    example_inputs,
    export_onnx,
    export_torchscript,
    full_step,
    input_names,
    output_names,
    schema_metadata,
)
from clstm_core.deployment.parity import MAX_LOGIT_DIFFERENCE, ParityResult, check_parity, measure_latency
from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import BundleError
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION

GOLDEN_STEPS, GOLDEN_BATCH = 32, 2
REQUIRED = {"policy.safetensors", "policy.onnx", "policy_full.onnx", "policy.ts", "config.json", "golden.safetensors"}


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleResult:
    """A finished bundle and what its checks gave."""

    folder: Path
    manifest: BundleManifest
    parity: list[ParityResult]
    latency: list[dict[str, Any]]
    golden_max_difference: float

    @property
    def parity_passed(self) -> bool:
        """Every runtime agrees with eager PyTorch at every batch size."""
        return all(result.passed for result in self.parity)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A verified bundle: its manifest, and the ONNX policy ready to decide."""

    folder: Path
    manifest: BundleManifest
    policy: runtimes.Runtime


def build_bundle(
    checkpoint: Path,
    folder: Path,
    *,
    make_env: Callable[[int], BatchedEnv],
    provenance: dict[str, Any],
    parents: Mapping[str, str] | None = None,
    made_from: str = "",
    parity_steps: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> BundleResult:
    """Export a checkpoint to `folder` (whole or not at all), and check every export against eager PyTorch.

    make_env(batch): an environment to trade `parity_steps` recurrent steps in, for batches 1 and 7
    provenance:      what a person is told of the policy: run, data label, verdict, report
    parents:         identities of what the policy was made from, besides its checkpoint
    made_from:       what the maker finds this bundle again by

    Raises: BundleError when an export disagrees with the trained policy; the folder is then left as it was
    """
    policy, meta = load_policy(checkpoint)
    policy = policy.eval().cpu()
    actor, full = actor_step(policy), full_step(policy)
    tick = progress or (lambda done, total: None)
    with whole_folder(folder) as place:
        schema = {"observation": list(OBSERVATION), "actions": list(ACTIONS)}
        schema_sha256 = json_sha256(schema)
        properties = schema_metadata(OBSERVATION, ACTIONS, schema_sha256)
        save_file({k: v.contiguous() for k, v in policy.state_dict().items()}, place / "policy.safetensors")
        write_json(place / "config.json", meta["config"])
        export_torchscript(actor, place / "policy.ts")
        tick(1, 5)
        export_onnx(actor, place / "policy.onnx", properties)
        tick(2, 5)
        export_onnx(full, place / "policy_full.onnx", properties)
        tick(3, 5)
        candidates = {
            "eager": runtimes.eager(policy),
            "torchscript": runtimes.torchscript(place / "policy.ts"),
            "onnx": runtimes.onnx(place / "policy.onnx"),
        }
        parity = [
            result
            for batch in (1, 7)
            for result in check_parity(policy, candidates, "eager", make_env(batch), parity_steps)
        ]
        failed = [result for result in parity if not result.passed]
        if failed:
            first = failed[0]
            raise BundleError(
                f"{first.runtime} disagrees with the trained policy over {first.steps} steps: "
                f"{first.actions_differing} actions differ, "
                f"|d logit| = {first.max_logit_difference:.2e}, expected 0 and at most "
                f"{MAX_LOGIT_DIFFERENCE:.0e}. No bundle was written; report this with the checkpoint."
            )
        tick(4, 5)
        latency = measure_latency(policy, candidates)
        save_arrays(_golden_vectors(policy, candidates["eager"], make_env(GOLDEN_BATCH)), place / "golden.safetensors")
        difference = _replay_golden(place, runtimes.onnx(place / "policy.onnx"))
        facts = ("milestone", "env_steps", "git_commit", "training_data_sha256")
        manifest = BundleManifest(
            run=str(provenance.get("run", checkpoint.parent.parent.name)),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            made_from=made_from,
            policy={key: meta[key] for key in facts if key in meta},
            provenance=provenance,
            schema=schema,
            schema_sha256=schema_sha256,
            graphs={
                "policy.onnx": {"inputs": input_names(actor), "outputs": output_names(actor)},
                "policy.ts": {"inputs": input_names(actor), "outputs": output_names(actor)},
                "policy_full.onnx": {"inputs": input_names(full), "outputs": output_names(full)},
            },
            shapes=_shapes(full),
            opset=OPSET,
            versions={
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")},
            },
            parity=[dataclasses.asdict(result) | {"passed": result.passed} for result in parity],
            latency=latency,
            golden={
                "file": "golden.safetensors",
                "steps": GOLDEN_STEPS,
                "batch": GOLDEN_BATCH,
                "max_difference": difference,
            },
            parents={"checkpoint": file_sha256(checkpoint / FILE), **(parents or {})},
            bytes={},
        )
        (place / "MODEL_CARD.md").write_text(_model_card(manifest))
        sizes = {path.name: path.stat().st_size for path in sorted(place.iterdir())}
        manifest = dataclasses.replace(manifest, files=files_of(place), bytes=sizes).write(place / FILE)
    tick(5, 5)
    return BundleResult(
        folder=folder,
        manifest=dataclasses.replace(manifest, place=folder / FILE),
        parity=parity,
        latency=latency,
        golden_max_difference=difference,
    )


def load_bundle(folder: Path) -> Bundle:
    """Verify the manifest and every file's hash, replay the golden vectors in ONNX Runtime, hand over the policy.

    Raises: BundleError when a file is missing or altered, the manifest's names are not those inside the graph, or a
            golden output is not reproduced
    """
    manifest = BundleManifest.read(folder / FILE)
    if missing := REQUIRED - set(manifest.files):
        raise BundleError(f"bundle {folder} names no {', '.join(sorted(missing))}: expected them. {manifest.remedy}")
    if json_sha256(manifest.schema) != manifest.schema_sha256:
        raise BundleError(
            f"bundle {folder} has other names of observations or actions than its schema's hash. {manifest.remedy}"
        )
    for name in ("policy.onnx", "policy_full.onnx"):
        if (inside := runtimes.onnx_metadata(folder / name).get("schema_sha256")) != manifest.schema_sha256:
            raise BundleError(
                f"bundle {folder} has other names of observations or actions than {name} was exported with (schema "
                f"{manifest.schema_sha256[:12]}, expected {str(inside)[:12]}). {manifest.remedy}"
            )
    policy = runtimes.onnx(folder / "policy.onnx")
    _replay_golden(folder, policy)
    return Bundle(folder=folder, manifest=manifest, policy=policy)


def _golden_vectors(policy: CLSTM, run: runtimes.Runtime, env: BatchedEnv) -> dict[str, np.ndarray]:
    """Observations and masks of a short session, and the logits that the trained policy gave them."""
    state = runtimes.blank_inputs(policy, env.n_envs)[2:]
    observation, mask = env.reset()
    seen: dict[str, list[np.ndarray]] = {"observation": [], "action_mask": [], "logits": []}
    for _ in range(GOLDEN_STEPS):
        legal = torch.ones(env.n_envs, env.n_actions, dtype=torch.bool) if mask is None else mask
        inputs = (observation.to(torch.float32).numpy(), legal.numpy())
        outputs = run((*inputs, *state))
        for key, array in zip(seen, (*inputs, outputs[0]), strict=True):
            seen[key].append(array.copy())
        state = runtimes.carry(outputs)
        step = env.step(torch.from_numpy(outputs[0].argmax(axis=-1).astype(np.int64)))
        observation, mask = step.observation, step.action_mask
    blank = runtimes.blank_inputs(policy, env.n_envs)[2:]
    arrays = {key: np.stack(values) for key, values in seen.items()}
    arrays["action_mask"] = arrays["action_mask"].astype(np.uint8)
    return arrays | {f"state_{index}": np.ascontiguousarray(array) for index, array in enumerate(blank)}


def _replay_golden(folder: Path, run: runtimes.Runtime) -> float:
    """Largest difference of a golden logit; raises BundleError beyond MAX_LOGIT_DIFFERENCE."""
    try:
        golden = load_arrays(folder / "golden.safetensors")
    except (SafetensorError, FileNotFoundError) as error:
        raise BundleError(f"unreadable golden vectors in {folder}: {error}. Build the bundle again.") from error
    n_state = sum(key.startswith("state_") for key in golden)
    state = tuple(golden[f"state_{index}"] for index in range(n_state))
    worst = 0.0
    for observation, mask, expected in zip(golden["observation"], golden["action_mask"], golden["logits"], strict=True):
        legal = mask.astype(bool)
        outputs = run((observation, legal, *state))
        state = runtimes.carry(outputs)
        worst = max(worst, float(np.abs(outputs[0] - expected)[legal].max()))
    if not worst <= MAX_LOGIT_DIFFERENCE:
        raise BundleError(
            f"golden vectors of {folder} are not reproduced: |d logit| = {worst:.2e}, expected at most "
            f"{MAX_LOGIT_DIFFERENCE:.0e}. Build the bundle again with this runtime's versions."
        )
    return worst


def _shapes(step: PolicyStep) -> dict[str, dict[str, Any]]:
    return {
        name: {"shape": ["batch", *tensor.shape[1:]], "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in zip(input_names(step), example_inputs(step, 1), strict=True)
    }


def _model_card(manifest: BundleManifest) -> str:
    policy, provenance = manifest.policy, manifest.provenance
    lines = [
        "# Model card",
        "",
        f"A recurrent PPO policy (dual-trunk CLSTM) for listed options: {len(ACTIONS)} masked actions, "
        f"{len(OBSERVATION)} observed features, one decision a snapshot.",
        "",
        f"- Trained for {policy.get('env_steps', 0):,} environment steps; git commit {policy.get('git_commit')}.",
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in provenance.items()),
        "",
        "## Use",
        "`policy.onnx` decides: give it the observation, the action mask and the state it returned at the snapshot "
        "before (zeros at the start), take the legal action of the largest logit. `policy_full.onnx` adds the critic's "
        "value for telemetry. `policy.ts` is the same graph as TorchScript, which is deprecated upstream. Feature and "
        "action names, shapes and hashes stand in `manifest.json`; `clstm_core.deployment.bundle.load_bundle` verifies "
        "them and replays the golden vectors.",
        "",
        "## Limits",
        "The policy knows one account size, one set of costs and one universe, those of `config.json`. Never feed it a "
        "non-finite observation: it would poison the recurrent state. Its evidence is the report named above, and no "
        "more.",
        "",
        "## Parity with the trained network",
        *(
            f"- {row['runtime']}, batch {row['batch']}, {row['steps']} recurrent steps: "
            f"{row['actions_differing']} actions differ, largest |d logit| {row['max_logit_difference']:.1e}."
            for row in manifest.parity
        ),
        "",
    ]
    return "\n".join(lines)
