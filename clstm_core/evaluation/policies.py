"""Who may trade in a backtest, and the network that does; the rules beside it stand in `baselines`. All give `Orders`.

A policy decides on what the account holds and what is listed at the decision's snapshot, and pays the same fills, fees
and margin as any other.
"""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.checkpoint import load_policy
from clstm_core.config import EnvConfig, RunConfig
from clstm_core.env.state import AccountState, Orders
from clstm_core.env.view import MarketView
from clstm_core.errors import EvaluationError
from clstm_core.evaluation.words import rung_name
from clstm_core.model.clstm import CLSTM
from clstm_core.model.policy_step import PolicyStep
from clstm_core.specs import ACTIONS, OBSERVATION
from clstm_policy.guard import first_non_finite


class Lanes(Protocol):
    """The accounts that one policy trades: an OptionsEnv, or some consecutive envs of one."""

    n_envs: int
    config: EnvConfig
    view: MarketView

    @property
    def state(self) -> AccountState:
        """The accounts as they stand at the decision."""
        ...

    def orders_for(self, action_N: torch.Tensor) -> Orders:
        """The orders that discrete actions stand for."""
        ...


class Decided(NamedTuple):
    """What a policy last chose: action_N int64 (-1: a rule wrote the orders), value_N float64 (NaN: no critic)."""

    action_N: torch.Tensor
    value_N: torch.Tensor

    @classmethod
    def rule(cls, n_envs: int) -> "Decided":
        """What is recorded of a rule."""
        return cls(torch.full((n_envs,), -1), torch.full((n_envs,), torch.nan, dtype=torch.float64))


class Policy(Protocol):
    """Anything that can trade an account.

    `name` is unique in a comparison; `n_episodes` is how many accounts it trades side by side (more than one only
    where it draws at random); `reads` is False where it looks at neither observation nor mask; `last` is what the
    latest `decide` chose.
    """

    name: str
    label: str
    kind: str  # "checkpoint" or "baseline"
    n_episodes: int
    reads: bool
    last: Decided

    def reset(self, n_envs: int) -> None:
        """Forget everything: `n_envs` accounts begin."""
        ...

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        """Orders of every account from its observation [N, F] and its legal actions [N, A]."""
        ...

    def notes(self) -> list[str]:
        """What a reader of the results must know, e.g. that it was too small to trade."""
        ...

    def describe(self) -> dict[str, Any]:
        """Facts for the manifest, as plain JSON types."""
        ...


class CheckpointPolicy:
    """A trained network, playing its likeliest action (`argmax`) or drawing from its distribution (`stochastic`).

    Args:
        label: how a person calls it, without its mode; made of its name where it is empty
        memory_sessions: decisions after which it forgets, as its training's episodes made it

    Raises:  EvaluationError for an unknown mode, a network of another observation or action list, or an observation
             that is not finite
    Assumes: the scaler it was trained with is in its buffers, whatever market it trades now
    """

    kind = "checkpoint"
    reads = True

    def __init__(
        self,
        model: CLSTM,
        *,
        name: str,
        label: str = "",
        memory_sessions: int,
        mode: str = "argmax",
        seed: int = 0,
        n_episodes: int = 1,
        checkpoint: dict[str, Any] | None = None,
    ):
        if mode not in ("argmax", "stochastic"):
            raise EvaluationError(f"unknown policy mode {mode!r}: expected argmax or stochastic. Use one of these.")
        if (model.observation_size, model.n_actions) != (len(OBSERVATION), len(ACTIONS)):
            raise EvaluationError(
                f"policy {name} reads {model.observation_size} features and has {model.n_actions} actions: expected "
                f"{len(OBSERVATION)} and {len(ACTIONS)}. Train it again with this version."
            )
        self.model = model.eval()
        self.memory_sessions = memory_sessions
        self._step = PolicyStep(self.model, memory_sessions, critic=True)
        self.name, self.mode, self.seed = f"{name}_{mode}", mode, seed
        self.label = f"{label or f'Checkpoint {name}'}, {'likeliest action' if mode == 'argmax' else 'drawn actions'}"
        self.n_episodes = n_episodes if mode == "stochastic" else 1
        self.checkpoint = checkpoint
        self.reset(self.n_episodes)

    def reset(self, n_envs: int) -> None:
        self._generator = torch.Generator().manual_seed(self.seed)
        self._memory = self._step.initial_state(n_envs)
        self.last = Decided.rule(n_envs)

    @torch.inference_mode()
    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        if bad := first_non_finite(obs.numpy(), OBSERVATION):
            raise EvaluationError(
                f"policy {self.name} is shown an observation that is not finite: {bad}, expected finite numbers. Build "
                "the market's tensors again."
            )
        logits, value, *memory = self._step(obs.float(), mask, *self._memory)
        self._memory = tuple(memory)
        if self.mode == "argmax":
            action = logits.argmax(dim=1)
        else:
            probabilities = torch.softmax(logits.double(), dim=1) * mask
            action = torch.multinomial(probabilities, 1, generator=self._generator).squeeze(1)
        self.last = Decided(action, value.double())
        return env.orders_for(action)

    def notes(self) -> list[str]:
        return []

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": self.label,
            "kind": self.kind,
            "mode": self.mode,
            "memory_sessions": self.memory_sessions,
            "checkpoint": self.checkpoint,
        }


def load_checkpoint(
    folder: Path, *, modes: tuple[str, ...] = ("argmax", "stochastic"), seed: int = 0, stochastic_episodes: int = 4
) -> list[CheckpointPolicy]:
    """One checkpoint folder as policies, one per mode; its hashes are verified.

    Raises: what `checkpoint.load_policy` raises for a missing or altered folder
    """
    model, meta = load_policy(folder)
    run = folder.parent.parent.name
    facts = {
        "folder": f"runs/{run}/checkpoints/{folder.name}",
        "sha256": file_sha256(folder / FILE),
        "run": run,
        "milestone": str(meta["milestone"]),
        "env_steps": int(meta["env_steps"]),
        "seed": meta["config"]["seed"],
        "config_sha256": RunConfig.from_dict(meta["config"]).sha256,
        "git_commit": meta.get("git_commit"),
        "trained_on": meta.get("data_source"),
        "trained_label": meta.get("data_label"),
        "training_data_sha256": meta.get("training_data_sha256"),
    }
    return [
        CheckpointPolicy(
            model,
            name=f"clstm_{facts['milestone']}",
            label=rung_name(facts["milestone"]).capitalize(),
            memory_sessions=meta["memory_sessions"],
            mode=mode,
            seed=seed,
            n_episodes=stochastic_episodes,
            checkpoint=facts,
        )
        for mode in modes
    ]
