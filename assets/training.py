"""The policy: recurrent PPO in a process of its own, its curves live in the UI, a ladder of verified checkpoints."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import GENERALISATION, code_version
from assets.critic_warmup import warm_critic
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import Progress, check, numbers, record_gates, run_stage, table
from clstm_core.artifacts.manifests import CheckpointManifest, GeneralisationManifest, RunInputs
from clstm_core.artifacts.places import RunFolder
from clstm_core.errors import CheckpointError
from clstm_core.specs import RUNGS
from clstm_core.train.inputs import config_of

OBSERVE_EVERY_S = 3.0
POINTS, EARLY = 200, 15
"""Of the live curves: at most so many evenly over a run; before that, each further on by this part of its steps."""

KL_TARGET, CLIP_TARGET = 0.02, (0.10, 0.20)
EARNED = [
    "milestone",
    "kind",
    "episodes",
    "growth_bps",
    "error_bps",
    "per_risk",
    "gap_bps",
    "gap_low_bps",
    "gap_high_bps",
]
LIVE = (
    "env_steps",
    "mean_reward",
    "approx_kl",
    "clip_fraction",
    "entropy_pct",
    "explained_variance_5",
    "heldout_explained_variance_5",
    "value_correlation",
    "policy_grad_norm",
    "value_grad_norm",
    "steps_per_second",
)
"""What is drawn live in the asset's plots."""


training_progress = dg.AssetSpec(
    "training_progress",
    description="Live curves of the run in training: reward, KL, explained variance, steps/s; every few seconds at "
    "first, some 300 points in all.",
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
    code_version=code_version(__file__, rooms=GENERALISATION),
    owners=["team:research"],
    pool="gpu",
    check_specs=check_specs(
        "trained_policy",
        blocking={
            "recurrent_self_test": "The learner gives every decision the probability that it had in the rollout.",
            "finite": "No weight of the ladder is NaN or infinite.",
            "ladder_complete": "The checkpoints at 20, 40, 60, 80 and 100% of the steps are whole.",
        },
        warning={
            "kl_on_target": f"The policy's mean step in KL at the end of training is below {KL_TARGET}.",
            "clip_fraction_on_target": "The share of clipped updates at the end of training is within its target.",
            "explained_variance_positive": "The critic foresees something of rewards on later dates.",
            "generalises": "What is earned where it was trained is not told from what is earned in fresh worlds.",
        },
    ),
)
def trained_policy(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """The policy after PPO, resumable: a run that is complete is not trained again, one that was cut off goes on."""
    with run_stage(context, "train", paths) as (progress, run):
        import torch

        from clstm_core.checkpoint import load_policy
        from clstm_core.generalisation.ensure import ensure_generalisation
        from clstm_core.store.rows import metrics_rows
        from clstm_core.train.apart import train_apart
        from clstm_core.train.status import finished, followed

        inputs, store = RunInputs.read(run.inputs), metrics.store()
        config = config_of(inputs)
        whole = {name: _is_of(run, name, inputs) for name in RUNGS}
        if (aside := _set_aside_after_damage(run, whole)) is not None:
            damaged = ", ".join(name for name, sound in whole.items() if not sound)
            context.log.warning(f"{run.name}: checkpoint {damaged} is damaged or gone; later ones lie in {aside.name}.")
        if all(whole.values()):
            progress.reused("this run is trained already; its checkpoints were verified")
        else:
            live = _Live(context, progress, store, config.timesteps)
            with followed(run, store.record):
                train_apart(run, threads=torch.get_num_threads(), report=live, warn=context.log.warning)
        rows = metrics_rows(run.path)
        store.upsert("training_metrics", rows)
        ladder, finite, missing, self_test = [], True, [], {}
        for name in RUNGS:
            try:
                policy, meta = load_policy(run.checkpoint(name))
            except CheckpointError as error:
                missing.append(str(error))
                continue
            finite &= all(bool(tensor.isfinite().all()) for tensor in policy.state_dict().values())
            ladder.append(CheckpointManifest.read(run.checkpoint(name) / "manifest.json", files=False))
            self_test = meta["self_test"]
        store.record(finished(run, rows), *ladder)
        walked = None
        if ladder and finite and not missing:
            walked = ensure_generalisation(run, inputs, ladder, paths.places, progress)
            store.record(walked)
        results = [
            check("recurrent_self_test", self_test.get("passed", False), _self_test_words(self_test), blocking=True),
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
            _generalises(walked.figures if walked else []),
        ]
        record_gates(metrics, run, inputs.data_sha256, "trained_policy", results)
    shown = [row for manifest in ladder for row in manifest.rows()["checkpoints"]]
    last = rows[-1] if rows else {}
    return dg.MaterializeResult(
        metadata={
            "panel": report_server.panel(run.name, "training"),
            "folder": dg.MetadataValue.path(str(run.path)),
            "recipe": config.recipe,
            "trained_on": inputs.facts["trained_on"],
            "ladder": table(shown, ["milestone", "env_steps", "iteration", "model_sha256"]),
            "generalisation": table(_last_rung(walked), EARNED),
            "training_curve": report_server.picture(run.name, "training_curve", training_curve(rows)),
            **{key: value for key, value in numbers(last).items() if key not in ("progress", "eta_seconds")},
        },
        data_version=dg.DataVersion(ladder[-1].identity[:16] if ladder else "none"),
        check_results=results,
    )


def _is_of(run: RunFolder, rung: str, inputs: RunInputs) -> bool:
    """Whether a rung is whole and was trained from these inputs."""
    from clstm_core.checkpoint import verify_checkpoint

    try:
        return verify_checkpoint(run.checkpoint(rung)).parents.get("inputs") == inputs.identity
    except CheckpointError:
        return False


class _Live:
    """Turns iterations into log lines, live plots and progress; the store gets them in batches."""

    def __init__(self, context: dg.AssetExecutionContext, progress: Progress, store: Any, timesteps: int):
        self._context, self._progress, self._store, self._timesteps = context, progress, store, timesteps
        self._kept, self._observed_at, self._observed_step = 0.0, 0.0, 0
        self._waiting: list[dict[str, Any]] = []

    def __call__(self, row: dict[str, Any]) -> None:
        done = min(int(row["env_steps"]), self._timesteps)
        figures = [("reward", "mean_reward", "+.3f"), ("KL", "approx_kl", ".4f"), ("EV", "explained_variance_5", ".2f")]
        words = [f"{label} {row[key]:{form}}" for label, key, form in figures if row.get(key) is not None]
        self._progress(done, self._timesteps, f"{row['steps_per_second']:,.0f} steps/s  " + "  ".join(words))
        self._waiting.append(row)
        now = time.monotonic()
        if is_due(now - self._observed_at, done, self._observed_step, self._timesteps):
            self._observed_at, self._observed_step = now, done
            live = numbers({key: row.get(key) for key in LIVE})
            seen = {"run": self._context.partition_key, **live}
            self._context.log_event(dg.AssetObservation(asset_key=training_progress.key, metadata=seen))
        if now - self._kept >= OBSERVE_EVERY_S:
            self._kept = now
            self._store.upsert("training_metrics", self._waiting)
            self._waiting = []


def is_due(seconds: float, done: int, observed: int, total: int) -> bool:
    """Whether the live curves get another point: some 300 in a run, however long it is and however often it is resumed.

    Args:
        seconds: since the last point
        done, observed: env steps now, and at the last point (0 where this process has drawn none)
        total: env steps of the run
    """
    return seconds >= OBSERVE_EVERY_S and done - observed >= min(total / POINTS, observed / EARLY)


def training_curve(rows: list[dict[str, Any]]) -> str:
    """Reward over env steps, and below it the explained variance, as an SVG."""
    from reports.svg import stacked_chart

    def line(name: str) -> list[tuple[float, float | None]]:
        return [(row["env_steps"] / 1e6, row[name]) for row in rows if row.get(name) is not None]

    panels = {
        "reward per step, scaled": {"mean reward": "mean_reward"},
        "explained variance of the rewards of 5 sessions": {
            "on training dates": "explained_variance_5",
            "held out": "heldout_explained_variance_5",
        },
    }
    lines = {label: {name: line(key) for name, key in names.items()} for label, names in panels.items()}
    return stacked_chart(lines, "Training", x_label="million env steps", height=440)


def _set_aside_after_damage(run: RunFolder, whole: dict[str, bool]) -> Path | None:
    """Move the rungs from a damaged one on out of the way, where later ones stand, so that training walks them again.

    Training resumes from its newest checkpoint: a gap below that would stay for ever.

    Raises: CheckpointError where a trainer is still at work there
    """
    from clstm_core.checkpoint import aside, lock_run

    gap = next((name for name, sound in whole.items() if not sound), None)
    if gap is None or not any(sound for name, sound in whole.items() if name > gap):
        return None
    target = aside(run.path / "checkpoints")
    with lock_run(run.path):
        target.mkdir()
        for folder in (run.path / "checkpoints").glob("[!.]*"):
            if not folder.name.isdigit() or folder.name >= gap:
                folder.rename(target / folder.name)
    return target


def _self_test_words(self_test: dict[str, Any]) -> str:
    if not self_test:
        return "No checkpoint tells of a self-test."
    return (
        f"Before the first update max |ratio - 1| is {self_test['max_ratio_error']:.1e}; with forgotten states it "
        f"would be {self_test['control_ratio_error']:.1e}. {self_test['reason']}"
    )


def _last_rung(walked: GeneralisationManifest | None) -> list[Mapping[str, Any]]:
    """What the last rung earned, one row per kind of market."""
    from clstm_core.evaluation.generalisation import last_rung

    return list(last_rung(walked.figures).values()) if walked else []


def _generalises(figures: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    """Whether the last rung's growth is told from its growth in worlds that it was not trained in."""
    from clstm_core.evaluation.generalisation import generalises

    found = generalises(figures)
    gap = found.gap._asdict() if found.gap else {}
    return check("generalises", found.passed, found.words, **{f"gap_{name}_bps": value for name, value in gap.items()})


def _targets(rows: list[dict[str, Any]]) -> list[dg.AssetCheckResult]:
    """The last tenth of training against its targets."""
    tail = rows[-max(1, len(rows) // 10) :]

    def mean(name: str) -> float | None:
        found = [row[name] for row in tail if row.get(name) is not None]
        return sum(found) / len(found) if found else None

    names = ("approx_kl", "clip_fraction", "explained_variance_5", "heldout_explained_variance_5")
    kl, clip, seen, held = map(mean, names)
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
            f"Explained variance of the rewards of five sessions over the last tenth: in sample {shown(seen, '.2f')}, "
            f"held out {shown(held, '.2f')}; a held-out value of 0 or less means that the critic foresees nothing "
            "beyond its training dates.",
        ),
    ]
