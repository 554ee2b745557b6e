"""A training run on disk: a learner, its folder, and what is written there."""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clstm_core.artifacts.code import git_commit
from clstm_core.artifacts.folder import read_json, read_jsonl, write_json, write_text
from clstm_core.artifacts.manifests import RunInputs
from clstm_core.checkpoint import (
    META,
    Checkpoint,
    is_whole,
    newest_checkpoint,
    save_checkpoint,
    set_aside_damaged,
)
from clstm_core.config import RunConfig
from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import CheckpointError, ConfigError, NonFiniteError
from clstm_core.model.engine import FLOAT32
from clstm_core.native.memory import keep_freed_memory
from clstm_core.native.products import faster_products
from clstm_core.ppo.learner import Learner
from clstm_core.ppo.ranks import ALONE, Ranks
from clstm_core.ppo.self_test import EXACT, ROUNDED, SelfTestReport, Tolerance, require, run_self_test
from clstm_core.specs import ACTIONS, MILESTONES, OBSERVATION, RUNGS
from clstm_core.train.inputs import config_of

LATEST, WARM = "latest", "000"
INPUTS, METRICS = "inputs.json", "metrics.jsonl"


@dataclass(kw_only=True, slots=True)
class TrainingResult:
    """What a call of `train` left behind."""

    run_dir: Path
    completed: bool  # False when `stop` ended it early; the run resumes from `latest`
    iterations: int
    env_steps: int
    seconds: float  # of training, earlier parts of a resumed run included
    checkpoints: dict[str, Path] = field(default_factory=dict)  # milestone -> folder
    self_test: dict[str, Any] = field(default_factory=dict)
    warmup: dict[str, Any] | None = None
    last_metrics: dict[str, Any] = field(default_factory=dict)
    engine: str = ""  # what computes, in words


class TrainingRun:
    """A learner, its folder, and what is written there: by one process, where several train.

    Args:
        own: asked before each writing, raises where the folder is no longer the one that was locked
    """

    def __init__(
        self,
        config: RunConfig,
        env: BatchedEnv,
        heldout_env: BatchedEnv | None,
        run_dir: Path,
        ranks: Ranks = ALONE,
        *,
        own: Callable[[], None] | None = None,
    ):
        self.config, self.env, self.run_dir, self.ranks = config, env, run_dir, ranks
        self._own = own
        self.products, _ = faster_products(), keep_freed_memory()
        self.learner = Learner(config, env, heldout_env, ranks=ranks)
        self.result = TrainingResult(run_dir=run_dir, completed=False, iterations=0, env_steps=0, seconds=0.0)
        self._tell_engine()
        market = getattr(env, "market", None)
        self.market_info: dict[str, Any] = getattr(market, "info", {})
        self.commit = git_commit()
        self.inputs = ranks.first(lambda: self._inputs(getattr(market, "identity", "")))
        self.parents = {**self.inputs.parents, "inputs": self.inputs.identity}

    def continue_from(self, checkpoint: Checkpoint) -> None:
        """Restore the learner, and drop the metrics of iterations that will be walked again.

        Raises: CheckpointError for a checkpoint of another run
        """
        self._require_ours(checkpoint.folder, checkpoint.meta, self.inputs.training_data_sha256)
        self.learner.restore(checkpoint.model, checkpoint.state, checkpoint.meta)
        self._tell_engine()
        self.result.warmup, self.result.seconds = checkpoint.meta["warmup"], checkpoint.meta["seconds"]
        self.parents["initial"] = checkpoint.manifest.identity
        self._count()
        self._keep_metrics_until(self.learner.iteration)
        for milestone, share in zip((WARM, *RUNGS), (0.0, *MILESTONES), strict=True):
            folder = self.run_dir / "checkpoints" / milestone
            if is_whole(folder):
                self.result.checkpoints[milestone] = folder
            elif folder.is_dir() and share <= self.learner.progress:  # a later one is walked, and written, again
                warnings.warn(
                    f"checkpoint {folder} is damaged, and lies behind what run {self.run_dir.name} goes on from. Move "
                    "it and those after it away, and run the same command again: it walks them again.",
                    stacklevel=2,
                )

    def begin_with(self, checkpoint: Checkpoint) -> None:
        """Take over the weights of another run's checkpoint, and nothing else of it.

        Raises: CheckpointError where its model is of another shape
        """
        self.take_over(checkpoint.model, f"checkpoint {checkpoint.folder}")
        self.parents["initial"] = checkpoint.manifest.identity

    def take_over(self, weights: Mapping[str, torch.Tensor], whose: str) -> None:
        """Weights from elsewhere, `whose` in a person's words.

        Raises: CheckpointError where they are of another shape
        """
        try:
            self.learner.model.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise CheckpointError(
                f"{whose} has a model of another shape than this run's: expected the same recipe. "
                f"{str(error).splitlines()[0]} Begin from scratch, or with a policy of this recipe."
            ) from error

    def prove(self) -> None:
        """The recurrent self-test, in float32 and in the training's precision; its report stays, also when it fails."""
        learner = self.learner
        # it walks the env: an env that draws from torch's own stream finds that where it was
        with torch.random.fork_rng([learner.device] if learner.device.type == "cuda" else []):
            tests = {FLOAT32: EXACT} | ({learner.precision: ROUNDED} if learner.precision != FLOAT32 else {})
            reports = {name: self._self_test(name, tolerance) for name, tolerance in tests.items()}
        exact = reports.pop(FLOAT32)
        rounded = {name: report.to_dict() for name, report in reports.items()}
        self.result.self_test = exact.to_dict() | rounded | {"iteration": learner.iteration}
        if self.ranks.writes:
            write_json(self.run_dir / "self_test.json", self.result.self_test)
        require(exact)
        for name, report in reports.items():
            require(report, tests[name])

    def _self_test(self, precision: str, tolerance: Tolerance) -> SelfTestReport:
        learner = self.learner
        with learner.in_precision(precision):
            return run_self_test(
                learner.model, self.env, learner.ppo, advantages=learner.advantages, tolerance=tolerance
            )

    def warm_up(self) -> None:
        """Fit the critic, and keep the result as milestone '000'."""
        self._keep_metrics_until(0)
        self.result.warmup = self.learner.warm_up().to_dict()
        self.result.checkpoints[WARM] = self.save(WARM)

    def iterate(self) -> dict[str, Any]:
        """One iteration, timed and appended to metrics.jsonl."""
        began = time.perf_counter()
        measured = self.learner.iterate(crash_dir=self.run_dir)
        seconds = time.perf_counter() - began
        self.result.seconds += seconds
        self._count()
        rate = self.config.ppo.samples_per_iteration / seconds
        left = self.config.n_iterations - self.learner.iteration
        metrics = {
            "run": self.run_dir.name,
            "iteration": self.learner.iteration,
            "env_steps": self.learner.env_steps,
            "progress": self.learner.progress,
            **measured,
            "gpu_memory_mb": _gpu_memory_mb(self.learner.device),
            "steps_per_second": rate,
            "seconds": self.result.seconds,
            "eta_seconds": left * self.result.seconds / self.learner.iteration,
        }
        self.result.last_metrics = metrics
        if self.ranks.writes:
            self._require_own()
            with (self.run_dir / METRICS).open("a") as handle:
                handle.write(json.dumps(metrics) + "\n")
        return metrics

    def milestones_reached(self) -> list[str]:
        """Labels of the rungs that the last iteration reached."""
        before, now = self.learner.iteration - 1, self.learner.iteration
        rungs = zip(RUNGS, (share * self.config.n_iterations for share in MILESTONES), strict=True)
        return [label for label, at in rungs if before < at - 1e-9 <= now]

    def save(self, name: str) -> Path:
        """Write a checkpoint called `name`; it is there when this returns, whoever writes it."""
        learner = self.learner
        meta = learner.facts() | {
            "milestone": name,
            "progress": learner.progress,
            "seconds": self.result.seconds,
            "config": self.config.to_dict(),
            "observation_size": self.env.observation_size,
            "observation": list(OBSERVATION) if self.env.observation_size == len(OBSERVATION) else None,
            "n_actions": self.env.n_actions,
            "actions": list(ACTIONS) if self.env.n_actions == len(ACTIONS) else None,
            "scaler": {
                "mean": learner.model.encoder.obs_mean.tolist(),
                "std": learner.model.encoder.obs_std.tolist(),
            },
            "training_data_sha256": self.inputs.training_data_sha256,
            "data_source": self.market_info.get("source"),
            "data_label": self.market_info.get("label"),
            "git_commit": self.commit,
            "engine": self.result.engine,
            "self_test": self.result.self_test,
            "warmup": self.result.warmup,
            "metrics": self.result.last_metrics,
        }
        folder = self.run_dir / "checkpoints" / name
        weights, state = learner.model.state_dict(), learner.state()
        if lost := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
            raise NonFiniteError(
                f"iteration {learner.iteration}: {len(lost)} of {len(weights)} weights are not finite after its last "
                f"step (first {lost[0]}), expected none: no checkpoint {name} is written, and the last one is intact. "
                "Begin another run, with lower learning rates or another reward scale."
            )

        def written() -> Path:
            self._require_own()
            return save_checkpoint(folder, model=weights, state=state, meta=meta, parents=self.parents)

        return self.ranks.first(written)

    def _require_own(self) -> None:
        if self._own is not None:
            self._own()

    def _require_ours(self, folder: Path, meta: Mapping[str, Any], market: str | None) -> None:
        """Refuse a checkpoint that another configuration or market made: what came of both would be neither run.

        Raises: CheckpointError
        """
        try:
            different = _different(RunConfig.from_dict(meta["config"]), self.config)
        except (ConfigError, KeyError) as error:
            raise CheckpointError(
                f"checkpoint {folder} has a configuration this release cannot read: {error}"
            ) from error
        if meta.get("training_data_sha256") != market:
            different.append("market")
        if different:
            raise CheckpointError(
                f"checkpoint {folder} was made by another run than this one: {', '.join(different)} differ. Where it "
                f"was copied there, delete it; else pass another run folder, or the configuration in its {META}."
            )

    def _count(self) -> None:
        self.result.iterations, self.result.env_steps = self.learner.iteration, self.learner.env_steps

    def _tell_engine(self) -> None:
        self.result.engine = f"{self.learner.engine}; {self.products}"

    def _inputs(self, market: str) -> RunInputs:
        """What this run is made from: as its folder says, or written there where it begins.

        Raises: CheckpointError when the folder holds checkpoints that were made from something else
        """
        place = self.run_dir / INPUTS
        if (damaged := set_aside_damaged(self.run_dir)) is not None:
            warnings.warn(
                f"no checkpoint of run {self.run_dir.name} is whole, or of this release: the run begins anew, and they "
                f"lie in {damaged.name}.",
                stacklevel=2,
            )
        newest = newest_checkpoint(self.run_dir)
        began = newest is not None
        if place.is_file() and began:
            kept = RunInputs.read(place)
            if different := _different(config_of(kept), self.config):
                raise CheckpointError(
                    f"run folder {self.run_dir} was begun with another configuration: {', '.join(different)} differ. "
                    f"Pass another run folder, or the configuration in its {INPUTS}."
                )
            if kept.training_data_sha256 not in (None, market):
                raise CheckpointError(
                    f"run folder {self.run_dir} was begun on other market tensors: found {market[:12] or 'none'}, "
                    f"expected {kept.training_data_sha256[:12]}. Pass another run folder, or the market it was begun "
                    "on."
                )
            return kept
        if newest is not None:  # its inputs are lost: what it says of itself is all that is known of the run
            self._require_ours(newest, read_json(newest / META), market or None)
        if (written := RunInputs.kept(place)) is not None and not began:
            same = market == (written.training_data_sha256 or "")
            if same and config_of(written) == self.config:
                return written
        names = ("source", "label", "spread", "quotes_sha256")
        return RunInputs(
            run=self.run_dir.name,
            config=self.config.to_dict(),
            config_sha256=self.config.sha256,
            git_commit=self.commit,
            facts={name: self.market_info[name] for name in names if name in self.market_info},
            parents={"training_tensors": market} if market else {},
        ).write(place)

    def _keep_metrics_until(self, iteration: int) -> None:
        path = self.run_dir / METRICS
        if self.ranks.writes and path.is_file():
            rows = [row for row in read_jsonl(path) if row.get("iteration") in range(1, iteration + 1)]
            write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _different(one: RunConfig, other: RunConfig) -> list[str]:
    """Names of the settings that differ, with their room's name."""
    a, b = one.to_dict(), other.to_dict()
    found = []
    for name, value in a.items():
        if isinstance(value, dict):
            found += [f"{name}.{key}" for key in value if value[key] != b[name][key]]
        elif value != b[name]:
            found.append(name)
    return sorted(found)


def _gpu_memory_mb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
