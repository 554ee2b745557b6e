"""Several batches of envs side by side as one: who trains on it sees no seam."""

from collections.abc import Sequence
from typing import Any

import torch

from clstm_core.env.protocol import BatchedEnv, EnvStep


class JoinedEnv:
    """Envs of several windows or worlds in one batch, in the order given; each lives as it would alone.

    What is asked of it beyond the protocol (market, scaler) is the first one's: join envs of one market alone.
    """

    def __init__(self, parts: Sequence[BatchedEnv]):
        first = parts[0]
        self.parts = list(parts)
        self.n_envs = sum(part.n_envs for part in parts)
        self.observation_size, self.n_actions, self.device = first.observation_size, first.n_actions, first.device

    def __getattr__(self, name: str) -> Any:
        if name == "parts":  # not there yet: nothing to ask
            raise AttributeError(name)
        return getattr(self.parts[0], name)

    def reset(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `BatchedEnv`."""
        observations, masks = zip(*(part.reset() for part in self.parts), strict=True)
        return torch.cat(observations), _joined(masks)

    def step(self, action: torch.Tensor) -> EnvStep:
        """As `BatchedEnv`."""
        sizes = [part.n_envs for part in self.parts]
        steps = [part.step(mine) for part, mine in zip(self.parts, action.split(sizes), strict=True)]
        *fields, masks = zip(*steps, strict=True)
        return EnvStep._make([*(torch.cat(field) for field in fields), _joined(masks)])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Of each part under its number."""
        return {f"{n}.{name}": value for n, part in enumerate(self.parts) for name, value in part.state_dict().items()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from `state_dict`."""
        for number, part in enumerate(self.parts):
            mine = f"{number}."
            part.load_state_dict({k.removeprefix(mine): v for k, v in state.items() if k.startswith(mine)})


def _joined(masks: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """All masks in a row; None where the envs have none."""
    found = [mask for mask in masks if mask is not None]
    return torch.cat(found) if found else None
