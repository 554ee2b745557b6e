"""A training run on disk: a learner, its folder, and what is written there."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clstm_core.checkpoint import Checkpoint, git_commit, newest_checkpoint, save_checkpoint, write_json
from clstm_core.config import RunConfig
from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import CheckpointError
from clstm_core.ppo.learner import Learner
from clstm_core.ppo.self_test import require, run_self_test
from clstm_core.specs import ACTIONS, MILESTONES, OBSERVATION

LATEST, WARM = "latest", "000"


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


class TrainingRun:
    """A learner, its folder, and what is written there."""

    def __init__(self, config: RunConfig, env: BatchedEnv, heldout_env: BatchedEnv | None, run_dir: Path):
        self.config, self.env, self.run_dir = config, env, run_dir
        self.learner = Learner(config, env, heldout_env)
        self.result = TrainingResult(run_dir=run_dir, completed=False, iterations=0, env_steps=0, seconds=0.0)
        self.market_info: dict[str, Any] = getattr(getattr(env, "market", None), "info", {})
        self.commit = git_commit()
        self.parents: dict[str, str | None] = {"market": self.market_info.get("quotes_sha256")}
        self._check_config()

    def continue_from(self, checkpoint: Checkpoint) -> None:
        """Restore the learner, and drop the metrics of iterations that will be walked again."""
        self.learner.restore(checkpoint.model, checkpoint.state, checkpoint.meta)
        self.result.warmup, self.result.seconds = checkpoint.meta["warmup"], checkpoint.meta["seconds"]
        self.parents["initial"] = checkpoint.sha256
        self._count()
        self._keep_metrics_until(self.learner.iteration)
        for milestone in (WARM, *map(_label, MILESTONES)):
            if (folder := self.run_dir / "checkpoints" / milestone).is_dir():
                self.result.checkpoints[milestone] = folder

    def prove(self) -> None:
        """The recurrent self-test; its report stays in the run's folder, also when it fails."""
        report = run_self_test(self.learner.model, self.env, self.config.ppo)
        self.result.self_test = report.to_dict() | {"iteration": self.learner.iteration}
        write_json(self.run_dir / "self_test.json", self.result.self_test)
        require(report)

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
        with (self.run_dir / "metrics.jsonl").open("a") as handle:
            handle.write(json.dumps(metrics) + "\n")
        return metrics

    def milestones_reached(self) -> list[str]:
        """Labels of the rungs that the last iteration reached."""
        before, now = self.learner.iteration - 1, self.learner.iteration
        rungs = ((_label(share), share * self.config.n_iterations) for share in MILESTONES)
        return [label for label, at in rungs if before < at - 1e-9 <= now]

    def save(self, name: str) -> Path:
        """Write a checkpoint called `name`."""
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
            "data_sha256": self.market_info.get("quotes_sha256"),
            "data_source": self.market_info.get("source"),
            "data_label": self.market_info.get("label"),
            "git_commit": self.commit,
            "self_test": self.result.self_test,
            "warmup": self.result.warmup,
            "metrics": self.result.last_metrics,
        }
        folder = self.run_dir / "checkpoints" / name
        weights, state = learner.model.state_dict(), learner.state()
        return save_checkpoint(folder, model=weights, state=state, meta=meta, parents=self.parents)

    def _count(self) -> None:
        self.result.iterations, self.result.env_steps = self.learner.iteration, self.learner.env_steps

    def _check_config(self) -> None:
        path, config = self.run_dir / "config.json", self.config.to_dict()
        if path.is_file() and (found := _object(path.read_text())) != config and newest_checkpoint(self.run_dir):
            different = sorted(name for name in config if found.get(name) != config[name])
            raise CheckpointError(
                f"run folder {self.run_dir} was begun with another configuration: {', '.join(different)} differ. "
                "Pass another run folder, or the configuration in its config.json."
            )
        write_json(path, config)

    def _keep_metrics_until(self, iteration: int) -> None:
        path = self.run_dir / "metrics.jsonl"
        if path.is_file():
            lines = [line for line in path.read_text(errors="replace").splitlines(keepends=True) if line.endswith("\n")]
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text("".join(line for line in lines if 0 < _object(line).get("iteration", 0) <= iteration))
            temporary.replace(path)


def _object(text: str) -> dict[str, Any]:
    """A JSON object; empty for text that is torn or something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _label(share: float) -> str:
    return f"{round(100 * share):03d}"


def _gpu_memory_mb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
