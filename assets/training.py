"""The policy: recurrent PPO in this process, its curves live in the UI, a ladder of five verified checkpoints."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from assets.critic_warmup import INPUTS, environments, warm_critic
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths
from assets.support import Progress, check, numbers, read_json, record_gates, record_run, stage, table

RUNGS = ("020", "040", "060", "080", "100")
OBSERVE_EVERY_S = 3.0
KL_TARGET, CLIP_TARGET = 0.02, (0.10, 0.20)
LIVE = (
    "env_steps",
    "mean_reward",
    "approx_kl",
    "clip_fraction",
    "entropy_pct",
    "explained_variance",
    "heldout_explained_variance",
    "value_correlation",
    "policy_grad_norm",
    "value_grad_norm",
    "steps_per_second",
)
"""What is drawn live in the asset's plots."""


training_progress = dg.AssetSpec(
    "training_progress",
    description="Live curves of the run in training: reward, KL, explained variance, steps/s, every few seconds.",
    group_name="training",
    deps=["warm_critic"],
    owners=["team:research"],
    kinds={"torch"},
)
"""Observed, never materialized, and not partitioned: the UI plots a partitioned asset over its partitions, not time."""


@dg.asset(
    group_name="training",
    deps=[warm_critic],
    partitions_def=training_run,
    kinds={"torch"},
    owners=["team:research"],
    pool="gpu",
    check_specs=[
        dg.AssetCheckSpec("recurrent_self_test", asset="trained_policy", blocking=True),
        dg.AssetCheckSpec("finite", asset="trained_policy", blocking=True),
        dg.AssetCheckSpec("ladder_complete", asset="trained_policy", blocking=True),
        dg.AssetCheckSpec("kl_on_target", asset="trained_policy"),
        dg.AssetCheckSpec("clip_fraction_on_target", asset="trained_policy"),
        dg.AssetCheckSpec("explained_variance_positive", asset="trained_policy"),
    ],
)
def trained_policy(context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics) -> dg.MaterializeResult:
    """The policy after PPO, resumable: a run that is complete is not trained again, one that was cut off goes on."""
    run = context.partition_key
    run_dir, store = paths.run(run), metrics.store()
    with stage(context, "train") as progress:
        from clstm_core.checkpoint import is_whole, load_policy
        from clstm_core.config import RunConfig
        from clstm_core.errors import CheckpointError, NonFiniteError, SelfTestError
        from clstm_core.store.rows import read_jsonl
        from clstm_core.train.loop import train

        inputs = read_json(run_dir / INPUTS, "Materialize warm_critic for this run first.")
        config = RunConfig.from_dict(read_json(run_dir / "config.json", "Materialize warm_critic for this run first."))
        rungs = {name: run_dir / "checkpoints" / name for name in RUNGS}
        whole = {name: is_whole(folder) for name, folder in rungs.items()}
        if (aside := _set_aside_after_damage(run_dir, whole)) is not None:
            damaged = ", ".join(name for name, sound in whole.items() if not sound)
            context.log.warning(f"{run}: checkpoint {damaged} is damaged or gone; later ones are kept as {aside.name}.")
        if all(whole.values()):
            progress.reused("this run is trained already; its checkpoints were verified")
        else:
            record_run(store, run_dir, status="running", started_at=datetime.now(UTC))
            env, heldout = environments(config, inputs)
            live = _Live(context, progress, store, config.timesteps)
            try:
                train(config, env, run_dir=run_dir, heldout_env=heldout, report=live)
            except (SelfTestError, NonFiniteError) as error:
                record_run(store, run_dir, status="failed", finished_at=datetime.now(UTC))
                raise dg.Failure(description=str(error), allow_retries=False) from error
            live.flush()
        rows = read_jsonl(run_dir / "metrics.jsonl")
        store.upsert("training_metrics", [{**row, "run": run} for row in rows])
        ladder, finite, missing, self_test = [], True, [], {}
        for name, folder in rungs.items():
            try:
                policy, meta = load_policy(folder)
            except CheckpointError as error:
                missing.append(str(error))
                continue
            finite &= all(bool(tensor.isfinite().all()) for tensor in policy.state_dict().values())
            ladder.append(_rung(run, name, folder, meta))
            self_test = meta["self_test"]
        store.upsert("checkpoints", ladder)
        last = rows[-1] if rows else {}
        record_run(
            store,
            run_dir,
            status="finished",
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            env_steps=last.get("env_steps"),
            iterations=last.get("iteration"),
            seconds=last.get("seconds"),
        )
        self_test = self_test or read_json(run_dir / "self_test.json", "Pass another RUN.")
        results = [
            check("recurrent_self_test", self_test["passed"], _self_test_words(self_test), blocking=True),
            check(
                "finite",
                finite,
                "Every weight of the ladder is finite." if finite else "A weight is not.",
                blocking=True,
            ),
            check(
                "ladder_complete",
                not missing,
                "; ".join(missing) or f"{len(ladder)} checkpoints, every file has the hash its manifest names.",
                blocking=True,
            ),
            *_targets(rows),
        ]
        record_gates(store, run_dir, inputs["data_sha256"], "trained_policy", results)
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(run_dir)),
            "recipe": config.recipe,
            "config_path": dg.MetadataValue.path(str(run_dir / "config.json")),
            "trained_on": inputs["trained_on"],
            "ladder": table(ladder, ["milestone", "env_steps", "iteration", "model_sha256"]),
            "training_curve": dg.MetadataValue.md(training_curve(rows)),
            **{key: value for key, value in numbers(last).items() if key not in ("progress", "eta_seconds")},
        },
        check_results=results,
    )


class _Live:
    """Turns iterations into log lines, live plots and progress; the store gets them in batches."""

    def __init__(self, context: dg.AssetExecutionContext, progress: Progress, store: Any, timesteps: int):
        self._context, self._progress, self._store, self._timesteps = context, progress, store, timesteps
        self._observed = 0.0
        self._waiting: list[dict[str, Any]] = []

    def __call__(self, row: dict[str, Any]) -> None:
        done = min(int(row["env_steps"]), self._timesteps)
        figures = [("reward", "mean_reward", "+.3f"), ("KL", "approx_kl", ".4f"), ("EV", "explained_variance", ".2f")]
        words = [f"{label} {row[key]:{form}}" for label, key, form in figures if row.get(key) is not None]
        self._progress(done, self._timesteps, f"{row['steps_per_second']:,.0f} steps/s  " + "  ".join(words))
        self._waiting.append(row)
        if time.monotonic() - self._observed >= OBSERVE_EVERY_S:
            self._observed = time.monotonic()
            self._context.log_event(
                dg.AssetObservation(
                    asset_key=training_progress.key, metadata=numbers({key: row.get(key) for key in LIVE})
                )
            )
            self.flush()

    def flush(self) -> None:
        self._store.upsert("training_metrics", self._waiting)
        self._waiting = []


def training_curve(rows: list[dict[str, Any]]) -> str:
    """Reward and explained variance over env steps, as a picture that the UI shows."""
    from reports.svg import as_markdown_image, line_chart

    def line(name: str) -> list[tuple[float, float | None]]:
        return [(row["env_steps"] / 1e6, row[name]) for row in rows if row.get(name) is not None]

    names = {
        "explained variance": "explained_variance",
        "held-out explained variance": "heldout_explained_variance",
        "mean reward a step": "mean_reward",
    }
    chart = line_chart({label: line(key) for label, key in names.items()}, "Training, over million env steps")
    return as_markdown_image(chart, "training curve")


def _set_aside_after_damage(run_dir: Path, whole: dict[str, bool]) -> Path | None:
    """Move the rungs from a damaged one on out of the way, where later ones stand, so that training walks them again.

    Training resumes from its newest checkpoint: a gap below that would stay for ever.
    """
    gap = next((name for name, sound in whole.items() if not sound), None)
    if gap is None or not any(sound for name, sound in whole.items() if name > gap):
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    target = run_dir / f"checkpoints.{stamp}"
    target.mkdir()
    for folder in (run_dir / "checkpoints").glob("[!.]*"):
        if not folder.name.isdigit() or folder.name >= gap:
            folder.rename(target / folder.name)
    return target


def _rung(run: str, name: str, folder: Path, meta: dict[str, Any]) -> dict[str, Any]:
    from clstm_core.market.tensors import file_sha256

    manifest = json.loads((folder / "manifest.json").read_text())
    return {
        "run": run,
        "milestone": name,
        "env_steps": meta["env_steps"],
        "iteration": meta["iteration"],
        "folder": str(folder),
        "model_sha256": manifest["files"]["model.safetensors"],
        "manifest_sha256": file_sha256(folder / "manifest.json"),
        "data_sha256": meta.get("data_sha256"),
        "git_commit": meta.get("git_commit"),
    }


def _self_test_words(self_test: dict[str, Any]) -> str:
    return (
        f"Before the first update max |ratio - 1| is {self_test['max_ratio_error']:.1e}; with forgotten states it "
        f"would be {self_test['control_ratio_error']:.1e}. {self_test['reason']}"
    )


def _targets(rows: list[dict[str, Any]]) -> list[dg.AssetCheckResult]:
    """The last tenth of training against its targets."""
    tail = rows[-max(1, len(rows) // 10) :]

    def mean(name: str) -> float | None:
        found = [row[name] for row in tail if row.get(name) is not None]
        return sum(found) / len(found) if found else None

    kl, clip, seen, held = map(mean, ("approx_kl", "clip_fraction", "explained_variance", "heldout_explained_variance"))
    low, high = CLIP_TARGET

    def shown(value: float | None, form: str = ".4f") -> str:
        return "not measured" if value is None else format(value, form)

    return [
        check(
            "kl_on_target",
            kl is not None and kl < KL_TARGET,
            f"KL over the last tenth: {shown(kl)}, target below {KL_TARGET}.",
        ),
        check(
            "clip_fraction_on_target",
            clip is not None and low <= clip <= high,
            f"Clip fraction over the last tenth: {shown(clip, '.1%')}, target {low:.0%} to {high:.0%}.",
        ),
        check(
            "explained_variance_positive",
            held is not None and held > 0,
            f"Explained variance over the last tenth: in sample {shown(seen, '.2f')}, held out {shown(held, '.2f')}; "
            "a held-out value of 0 or less means that the critic foresees nothing beyond its training dates.",
        ),
    ]
