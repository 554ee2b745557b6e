"""The bundle: everything a runtime needs to trade one policy, and the proof that it is that policy."""

import dataclasses
import datetime
import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Mapping
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
from clstm_core.artifacts.manifests.deployment import UNQUALIFIED
from clstm_core.checkpoint import load_policy
from clstm_core.config import RunConfig
from clstm_core.deployment import runtimes
from clstm_core.deployment.export import (
    OPSET,
    actor_step,
    export_onnx,
    export_torchscript,
    full_step,
    input_names,
    inputs_of,
    metadata_of,
    output_names,
    stamp_onnx,
)
from clstm_core.deployment.parity import ParityResult, check_parity, measure_latency
from clstm_core.env.budget import PREMIUM_SESSIONS
from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import BundleError
from clstm_core.model.policy_step import PolicyStep
from clstm_core.specs import ACTIONS, OBSERVATION
from clstm_policy.guard import MAX_LOGIT_DIFFERENCE, logit_difference

GOLDEN_BATCH, MARGIN = 2, 11
ONNX = ("policy.onnx", "policy_full.onnx")
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

    make_env(batch): an environment to trade `parity_steps` recurrent steps in, for batches 1 and 7, best in episodes
                     as long as that (`parity.unbroken_env`)
    provenance:      what a person is told of the policy: run, standing, data label, verdict, report
    parents:         identities of what the policy was made from, besides its checkpoint
    made_from:       what the maker finds this bundle again by

    Raises: BundleError when an export disagrees with the trained policy; the folder is then left as it was
    """
    policy, meta = load_policy(checkpoint)
    policy = policy.eval().cpu()
    memory = int(meta["memory_sessions"])
    actor, full = actor_step(policy, memory), full_step(policy, memory)
    tick = progress or (lambda done, total: None)
    with whole_folder(folder) as place:
        schema = _schema()
        schema_sha256 = json_sha256(schema)
        properties = metadata_of(schema, schema_sha256, memory)
        save_file({k: v.contiguous() for k, v in policy.state_dict().items()}, place / "policy.safetensors")
        write_json(place / "config.json", meta["config"])
        export_torchscript(actor, place / "policy.ts", properties)
        tick(1, 5)
        for number, (name, step) in enumerate(zip(ONNX, (actor, full), strict=True)):
            export_onnx(step, place / name, properties)
            tick(2 + number, 5)
        reference = runtimes.eager(actor)
        exported = {
            "torchscript": runtimes.torchscript(place / "policy.ts"),
            "onnx": runtimes.onnx(place / "policy.onnx"),
        }
        parity = [
            result for batch in (1, 7) for result in check_parity(exported, reference, make_env(batch), parity_steps)
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
        latency = measure_latency({"eager": reference, **exported})
        golden = _golden_vectors(reference, make_env(GOLDEN_BATCH), _golden_steps(memory))
        save_arrays(golden, place / "golden.safetensors")
        facts = ("milestone", "env_steps", "git_commit", "training_data_sha256")
        manifest = BundleManifest(
            run=str(provenance.get("run", checkpoint.parent.parent.name)),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            made_from=made_from,
            policy={key: meta[key] for key in facts if key in meta},
            provenance=provenance,
            schema=schema,
            schema_sha256=schema_sha256,
            memory_sessions=memory,
            account={
                **dataclasses.asdict(RunConfig.from_dict(meta["config"]).env),
                "premium_sessions": PREMIUM_SESSIONS,
            },
            graphs={
                name: {"inputs": input_names(step), "outputs": output_names(step)}
                for name, step in (("policy.onnx", actor), ("policy.ts", actor), ("policy_full.onnx", full))
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
                "steps": _golden_steps(memory),
                "batch": GOLDEN_BATCH,
                "max_difference": _replay_golden(place),
            },
            parents={"checkpoint": file_sha256(checkpoint / FILE), **(parents or {})},
            bytes={},
        )
        (place / "MODEL_CARD.md").write_text(_model_card(manifest))
        if not manifest.qualified:
            (place / f"{UNQUALIFIED}.md").write_text(_warning(manifest))
        manifest = dataclasses.replace(manifest, files=files_of(place), bytes=_bytes(place))
        for name in ONNX:
            stamp_onnx(place / name, {"facts_sha256": manifest.facts_sha256, "standing": manifest.standing})
        manifest = dataclasses.replace(manifest, files=files_of(place), bytes=_bytes(place)).write(place / FILE)
    tick(5, 5)
    return BundleResult(
        folder=folder,
        manifest=dataclasses.replace(manifest, place=folder / FILE),
        parity=parity,
        latency=latency,
        golden_max_difference=manifest.golden["max_difference"],
    )


def load_bundle(folder: Path, *, identity: str | None = None) -> Bundle:
    """Verify the manifest and every file, replay the golden vectors in all graphs, hand over the policy.

    Args:
        identity: sha256 of the manifest, where one who uses the bundle says so (a report's parents, the store)

    Raises: BundleError when a file is missing or altered, the manifest is not the one that the graphs were exported
            with, observations or actions are others than this release's, or a golden output is not reproduced
    """
    manifest = BundleManifest.read(folder / FILE, identity=identity)
    if missing := REQUIRED - set(manifest.files):
        raise BundleError(f"bundle {folder} names no {', '.join(sorted(missing))}: expected them. {manifest.remedy}")
    _check_names(manifest)
    expected = {
        **metadata_of(manifest.schema, manifest.schema_sha256, manifest.memory_sessions),
        "facts_sha256": manifest.facts_sha256,
    }
    for name in ONNX:
        _check_metadata(folder / name, runtimes.onnx_metadata(folder / name), expected, manifest)
    if (found := _bytes(folder, manifest.files)) != dict(manifest.bytes):
        raise BundleError(
            f"altered manifest {manifest.place}: sizes of files {dict(manifest.bytes)}, expected {found}. "
            f"{manifest.remedy}"
        )
    _replay_golden(folder)
    return Bundle(folder=folder, manifest=manifest, policy=runtimes.onnx(folder / "policy.onnx"))


def _schema() -> dict[str, list[str]]:
    """Names of features and actions, in this release's order."""
    return {"observation": list(OBSERVATION), "actions": list(ACTIONS)}


def _check_names(manifest: BundleManifest) -> None:
    """Raise BundleError where the bundle's features or actions are not this release's, in its order."""
    for what, ours in _schema().items():
        theirs = list(manifest.schema.get(what, []))
        if theirs == ours:
            continue
        shorter = min(len(theirs), len(ours))
        at = next((place for place in range(shorter) if theirs[place] != ours[place]), shorter)
        found, expected = ((names[at] if at < len(names) else "nothing") for names in (theirs, ours))
        raise BundleError(
            f"bundle {manifest.folder} has other names of {what} than this release: {found} at place {at}, expected "
            f"{expected}. Use it with the release that exported it. {manifest.remedy}"
        )
    if json_sha256(manifest.schema) != manifest.schema_sha256:
        raise BundleError(
            f"bundle {manifest.folder} has other names of observations or actions than its schema's hash "
            f"{manifest.schema_sha256[:12]}. {manifest.remedy}"
        )


def _check_metadata(
    path: Path, found: Mapping[str, str], expected: Mapping[str, str], manifest: BundleManifest
) -> None:
    """Raise BundleError for the first property of a graph that is not what the manifest says."""
    for key, value in expected.items():
        if (inside := found.get(key)) != value:
            what = "the manifest that it was exported with" if key == "facts_sha256" else key
            raise BundleError(
                f"bundle {path.parent} does not fit its graph: {what} is {str(inside)[:60]} in {path.name}, expected "
                f"{value[:60]} as {FILE} says. {manifest.remedy}"
            )


def _bytes(folder: Path, names: Iterable[str] | None = None) -> dict[str, int]:
    """Sizes of the files in a folder, its manifest left out."""
    found = [path.name for path in folder.iterdir() if path.name != FILE] if names is None else names
    return {name: (folder / name).stat().st_size for name in sorted(found)}


def _golden_steps(memory_sessions: int) -> int:
    """More than two memories, so that a graph that forgets otherwise is noticed."""
    return 2 * memory_sessions + MARGIN


def _golden_vectors(run: runtimes.Runtime, env: BatchedEnv, steps: int) -> dict[str, np.ndarray]:
    """Observations and masks of one unbroken walk, and the logits that the trained policy gave them."""
    state = run.blank(env.n_envs)[2:]
    observation, mask = env.reset()
    seen: dict[str, list[np.ndarray]] = {"observation": [], "action_mask": [], "logits": []}
    for _ in range(steps):
        legal = torch.ones(env.n_envs, env.n_actions, dtype=torch.bool) if mask is None else mask
        inputs = (observation.to(torch.float32).numpy(), legal.numpy())
        outputs = run((*inputs, *state))
        for key, array in zip(seen, (*inputs, outputs[0]), strict=True):
            seen[key].append(array.copy())
        state = run.carry(outputs)
        step = env.step(torch.from_numpy(outputs[0].argmax(axis=-1).astype(np.int64)))
        observation, mask = step.observation, step.action_mask
    arrays = {key: np.stack(values) for key, values in seen.items()}
    arrays["action_mask"] = arrays["action_mask"].astype(np.uint8)
    return arrays


def _replay_golden(folder: Path) -> float:
    """Largest difference of a golden logit in any exported graph; raises BundleError beyond MAX_LOGIT_DIFFERENCE."""
    try:
        golden = load_arrays(folder / "golden.safetensors")
    except (SafetensorError, FileNotFoundError) as error:
        raise BundleError(f"unreadable golden vectors in {folder}: {error}. Build the bundle again.") from error
    graphs = {name: runtimes.onnx(folder / name) for name in ONNX}
    graphs["policy.ts"] = runtimes.torchscript(folder / "policy.ts")
    worst = 0.0
    for name, run in graphs.items():
        state = run.blank(golden["observation"].shape[1])[2:]
        for observation, mask, expected in zip(
            golden["observation"], golden["action_mask"].astype(bool), golden["logits"], strict=True
        ):
            outputs = run((observation, mask, *state))
            state = run.carry(outputs)
            difference = logit_difference(outputs[0], expected, mask)
            worst = max(worst, difference)
            if difference > MAX_LOGIT_DIFFERENCE:
                raise BundleError(
                    f"golden vectors of {folder} are not reproduced by {name}: |d logit| = {difference:.2e}, expected "
                    f"at most {MAX_LOGIT_DIFFERENCE:.0e}. Build the bundle again with this runtime's versions."
                )
    return worst


def _shapes(step: PolicyStep) -> dict[str, dict[str, Any]]:
    return {item.name: {"shape": ["batch", *item.sizes], "dtype": item.dtype} for item in inputs_of(step)}


def _budget(account: Mapping[str, Any]) -> list[str]:
    """The caps that the policy was trained and judged under, and what a runtime has to do about them."""
    sessions = account["premium_sessions"]
    return [
        "The policy was trained and judged in an account that keeps these caps; whoever trades it must keep them too "
        "(`account` in `manifest.json`):",
        f"- net exposure, |delta of the whole book| x spot: {account['max_net_exposure']:g} x equity;",
        f"- gross exposure, the sum of all positions' |delta| x spot: {account['max_gross_exposure']:g} x equity;",
        f"- loss of the whole book at spot {account['crash_move']:+.0%} and implied volatilities "
        f"{account['crash_vol_shock']:+.0%}: {account['max_crash_loss']:.0%} of equity;",
        f"- vega, opened: {account['max_vega']:.2%} of equity per volatility point;",
        f"- premium sold to open: {account['max_premium_sold']:.0%} of equity in each stretch of {sessions} sessions "
        f"of the account's age: fills at the ages 0 to {sessions - 1}, then {sessions} to {2 * sessions - 1}, and so "
        f"on, not rolling. Up to twice as much may be sold within {sessions} sessions across a boundary. The policy "
        "observes the amount that counts against its next order, and not how much of the stretch is left.",
        f"Actions are masked and sized to {account['budget_headroom']:.0%} of each; an order beyond one is rejected; a "
        "book that the market moves beyond one of the first three is brought back at once, shares first.",
    ]


def _warning(manifest: BundleManifest) -> str:
    """What whoever opens the bundle of a policy that is no champion reads first."""
    return (
        f"**{manifest.standing}.** This policy is no champion: it is exported so that it can be looked at, and is not "
        "to be traded. Train again, or use the bundle of a run that has a champion.\n"
    )


def _model_card(manifest: BundleManifest) -> str:
    policy, provenance = manifest.policy, manifest.provenance
    lines = [
        "# Model card" if manifest.qualified else f"# Model card: {UNQUALIFIED}",
        "",
        *([] if manifest.qualified else [_warning(manifest)]),
        f"A recurrent PPO policy (dual-trunk CLSTM) for listed options: {len(ACTIONS)} masked actions, "
        f"{len(OBSERVATION)} observed features, one decision a snapshot.",
        "",
        f"- Trained for {policy.get('env_steps', 0):,} environment steps; git commit {policy.get('git_commit')}.",
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in provenance.items()),
        "",
        "## Use",
        "Two lines of Python, with NumPy and ONNX Runtime alone (`pip install ./clstm_policy`, `docs/policy.md`): "
        "`policy = Policy.load(folder)`, then `policy.act(observation, action_mask)` at each snapshot. By hand: "
        "`policy.onnx` decides: give it the observation, the action mask and the state it returned at the snapshot "
        "before (zeros at the start), take the legal action of the largest logit. Every tensor that it returned goes "
        "back in, `memory_age` too, which counts decisions. `policy_full.onnx` adds the critic's "
        "value for telemetry. `policy.ts` is the same graph as TorchScript, which is deprecated upstream. Feature and "
        "action names, shapes and hashes stand in `manifest.json`; `clstm_core.deployment.bundle.load_bundle` verifies "
        "them and replays the golden vectors.",
        "",
        "## Memory",
        f"The policy forgets all it remembers after every {manifest.memory_sessions} decisions, counted from the start "
        f"of its account: its training's episodes were that long, and so were those of the backtests that judged it. "
        "The graph does so itself. Do not set `memory_age` and do not reset the state at other times.",
        "",
        "## Risk budget",
        *_budget(manifest.account),
        "",
        "## Limits",
        "The policy knows one account size, one set of costs and one universe, those of `config.json`. An "
        "observation that is not finite is refused by name (`load_bundle(...).policy`); the bare graph answers it with "
        "NaN logits and hands the state back unchanged: such a row must not be traded on. Its evidence is the report "
        "named above, and no more.",
        "",
        "## Parity with the trained network",
        *(
            f"- {row['runtime']}, batch {row['batch']}, {row['steps']} decisions without a reset from outside: "
            f"{row['actions_differing']} actions differ, largest |d logit| {row['max_logit_difference']:.1e}."
            for row in manifest.parity
        ),
        "",
    ]
    return "\n".join(lines)
