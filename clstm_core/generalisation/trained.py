"""The episodes that a rung was trained on, as its checkpoint says: there alone a policy is at home."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch

from clstm_core.errors import CheckpointError


class Met(NamedTuple):
    """Episodes of training. Shapes: seed, episode int64 [M]: together they say on which path an episode was."""

    seed: torch.Tensor
    episode: torch.Tensor


def newest_met(state: Mapping[str, torch.Tensor], *, env_steps: int, horizon: int, wanted: int) -> Met:
    """The newest episodes that a rung was trained on from beginning to end, env by env and then back in time.

        account j: env j mod N, episode e - 1 - floor(j / N),   e the episode that the env is in

    Of an env whose present episode is `age` sessions old the (steps - age) / horizon episodes before it are whole,
    since none is longer than the horizon. The very first began older, so that its end was never met; what the critic's
    warmup walked before is not counted. Where fewer are whole than wanted there are fewer accounts, but one of each env
    (up to the number wanted): in a run of seconds that is the episode that was met, if not whole.

    Args:
        state: of the rung's checkpoint, of all processes that trained
        env_steps: of all envs together that the rung was trained on
        wanted: accounts

    Shapes: M <= wanted
    Units:  horizon in sessions
    Raises: CheckpointError where the state tells of no envs
    """
    seed_N, episode_N, age_N = (_of_all(state, name) for name in ("seed_N", "episode_N", "age_N"))
    n = len(seed_N)
    whole_N = torch.minimum(episode_N - 1, (env_steps // n - age_N) // horizon).clamp(min=1)
    back_R = torch.arange(-(-wanted // n))[:, None]
    episode_RN = (episode_N - 1 - back_R).clamp(min=0)
    met_RN = back_R < whole_N
    return Met(seed_N.expand_as(episode_RN)[met_RN][:wanted], episode_RN[met_RN][:wanted])


def _of_all(state: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """A tensor of the envs of all processes [N]: those of others stand under `rank<number>.`."""
    found = {}
    for key, value in state.items():
        if (match := re.fullmatch(rf"(?:rank(\d+)\.)?env\.{name}", key)) is not None:
            found[int(match[1] or 0)] = value
    if not found:
        raise CheckpointError(
            f"a checkpoint whose state tells no {name} of its envs: expected it, to know what paths they walked. Train "
            "again."
        )
    return torch.cat([found[rank] for rank in sorted(found)])
