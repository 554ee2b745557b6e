"""What the trainer asks of an environment: any batched torch env of this shape can be trained on."""

from typing import Any, NamedTuple, Protocol

import torch


class EnvStep(NamedTuple):
    """What one step of every env gave; ended envs are already reset.

    Shapes: observation_NF, final_observation_NF float32; reward_N float32; terminated_N, truncated_N bool;
            action_mask_NA bool or None. `observation` and `action_mask` belong to the state after any auto-reset;
            `final_observation` is the observation before it (equal to `observation` where nothing ended), from which
            truncated episodes are bootstrapped.
    """

    observation: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_observation: torch.Tensor
    action_mask: torch.Tensor | None


class BatchedEnv(Protocol):
    """N copies of one environment on one device, static shapes, auto-reset, no host sync inside `step`."""

    n_envs: int
    observation_size: int
    n_actions: int
    device: torch.device

    def reset(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Start every env afresh; the observation [N, F] and the action mask [N, A] (True = legal) or None."""
        ...

    def step(self, action: torch.Tensor) -> EnvStep:
        """Advance every env by its action [N] int64."""
        ...

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Every tensor needed to continue bit-identically."""
        ...

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state_dict`."""
        ...


def observation_scaler(env: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [F] that the policy standardises with; 0 and 1 for an env that has none."""
    mean = getattr(env, "observation_mean", None)
    std = getattr(env, "observation_std", None)
    if mean is None or std is None:
        return torch.zeros(env.observation_size), torch.ones(env.observation_size)
    return mean, std
