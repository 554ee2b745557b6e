"""What a training run leaves behind: its inputs, how far it came, its checkpoints, the results of checks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
from clstm_core.errors import ArtifactError, CheckpointError
from clstm_core.specs import RUNGS


@dataclass(frozen=True, kw_only=True)
class RunInputs(Manifest):
    """What a training run is made from: its configuration, its market and the verdict that let it begin."""

    kind: ClassVar[str] = "run_inputs"
    words: ClassVar[str] = "run inputs"
    remedy: ClassVar[str] = "Materialize warm_critic for this run first."
    error: ClassVar[type[ArtifactError]] = ArtifactError

    run: str
    config: JsonObject  # RunConfig
    config_sha256: str
    git_commit: str
    facts: JsonObject = field(default_factory=dict)  # source, label, spread, trained_on, quotes_sha256, ...

    @property
    def data_sha256(self) -> str | None:
        """Identity of the tensors that backtests trade."""
        return self.parents.get("tensors")

    @property
    def training_data_sha256(self) -> str | None:
        """Identity of the tensors trained on."""
        return self.parents.get("training_tensors")

    def rows(self) -> Rows:
        config = self.config
        row = {
            "run": self.run,
            "folder": f"runs/{self.run}",
            **{name: config.get(name) for name in ("recipe", "seed", "device", "timesteps")},
            **self.facts,
            "data_sha256": self.data_sha256,
            "training_data_sha256": self.training_data_sha256,
            "config": config,
            "config_sha256": self.config_sha256,
            "git_commit": self.git_commit,
        }
        return {"runs": [row]}


@dataclass(frozen=True, kw_only=True)
class RunStatus(Manifest):
    """How far a training run came: running, stopped, failed or finished."""

    kind: ClassVar[str] = "run_status"
    words: ClassVar[str] = "run status"
    remedy: ClassVar[str] = "Materialize trained_policy for this run again."

    run: str
    status: str
    started_at: str | None = None
    finished_at: str | None = None
    env_steps: int | None = None
    iterations: int | None = None
    seconds: float | None = None
    reason: str = ""

    def rows(self) -> Rows:
        names = ("run", "status", "started_at", "finished_at", "env_steps", "iterations", "seconds")
        return {"runs": [{name: getattr(self, name) for name in names}]}


@dataclass(frozen=True, kw_only=True)
class CheckpointManifest(Manifest):
    """One rung of a run's ladder, or the place that a killed run goes on from."""

    kind: ClassVar[str] = "checkpoint"
    words: ClassVar[str] = "checkpoint"
    remedy: ClassVar[str] = "Delete it and resume the run from another checkpoint."
    error: ClassVar[type[ArtifactError]] = CheckpointError
    version: ClassVar[int] = 2

    run: str
    milestone: str
    env_steps: int
    iteration: int
    git_commit: str
    memory_sessions: int | None = None  # decisions after which the policy forgets; None: as its configuration says

    def rows(self) -> Rows:
        if self.milestone not in RUNGS:
            return {}
        row = {
            **{name: getattr(self, name) for name in ("run", "milestone", "env_steps", "iteration", "git_commit")},
            "memory_sessions": self.memory_sessions,
            "folder": f"runs/{self.run}/checkpoints/{self.milestone}",
            "model_sha256": self.files.get("model.safetensors"),
            "manifest_sha256": self.identity,
            "data_sha256": self.parents.get("training_tensors"),
        }
        return {"checkpoints": [row]}


@dataclass(frozen=True, kw_only=True)
class GeneralisationManifest(Manifest):
    """What a run's ladder earns in each kind of market; its parents are the rungs, by milestone, and the tensors.

    figures: one row per rung, kind of market and mode (`generalisation.measure`)
    habits:  one row per rung and tercile of volatility, on fresh worlds: what was done there
    rules:   the best fixed rules on fresh worlds, the best per unit of risk first
    """

    kind: ClassVar[str] = "generalisation"
    words: ClassVar[str] = "figures of where a policy earns"
    remedy: ClassVar[str] = "Materialize trained_policy for this run again."

    run: str
    made_from: str
    figures: Sequence[JsonObject]
    habits: Sequence[JsonObject]
    rules: Sequence[JsonObject]

    def rows(self) -> Rows:
        return {"generalisation": [{**row, "run": self.run} for row in self.figures]}


@dataclass(frozen=True, kw_only=True)
class ControlsManifest(Manifest):
    """What a recipe finds in worlds whose edge is known; of no run, kept by the hash of the recipe.

    found: one row per world (`controls.found.found_in`)
    steps: env steps that it learned from in each
    """

    kind: ClassVar[str] = "controls"
    words: ClassVar[str] = "controls of a recipe"
    remedy: ClassVar[str] = "Run `clstm controls` for this recipe again."

    recipe: str
    recipe_sha256: str
    seed: int
    steps: int
    episodes: int
    found: Sequence[JsonObject]
    git_commit: str
    made_at: str

    def rows(self) -> Rows:
        own = ("recipe", "recipe_sha256", "seed", "steps", "episodes", "git_commit", "made_at")
        shared = {name: getattr(self, name) for name in own}
        return {"controls": [{**shared, **_control(row)} for row in self.found]}


def _control(row: JsonObject) -> dict[str, Any]:
    """A world's figures, those of its best fixed rule laid flat."""
    names = ("world", "idle", "growth_bps", "error_bps", "per_risk", "windows", "window_sessions", "called_better")
    best = row.get("rule_growth") or {}
    return {name: row[name] for name in names} | {
        "rule": best.get("rule"),
        "rule_growth_bps": best.get("growth_bps"),
    }


@dataclass(frozen=True, kw_only=True)
class GateResults(Manifest):
    """The results of one asset's checks for one run."""

    kind: ClassVar[str] = "gate_results"
    words: ClassVar[str] = "check results"
    remedy: ClassVar[str] = "Materialize the asset again."

    run: str
    gate: str
    data_sha256: str
    results: Sequence[JsonObject]
    recorded_at: str

    def rows(self) -> Rows:
        shared = {name: getattr(self, name) for name in ("run", "gate", "data_sha256", "recorded_at")}
        return {"gate_results": [{**result, **shared} for result in self.results]}
