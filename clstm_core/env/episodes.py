"""Where episodes start: integer hashing of (seed, env, episode), so that no other env can change it."""

import torch

from clstm_core.errors import ConfigError
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.counter import mix, shift

_STAGGER = 0x5A66


def env_seeds(seed: int, n_envs: int, device: torch.device, first: int = 0) -> torch.Tensor:
    """One int64 seed per env [N], each from (seed, env index) alone; `first` is the index of the first one."""
    index = torch.arange(first, first + n_envs, dtype=torch.int64, device=device)
    return mix(torch.full_like(index, seed), index)


def episode_starts(seed_N: torch.Tensor, episode_N: torch.Tensor, legal_starts: torch.Tensor) -> torch.Tensor:
    """Snapshot index [N] at which each env's episode begins, one of `legal_starts`."""
    return legal_starts[shift(mix(seed_N, episode_N), 1) % legal_starts.shape[0]]


def initial_ages(seed_N: torch.Tensor, horizon: int) -> torch.Tensor:
    """Age [N] in 0 .. horizon - 1 at which a staggered first episode begins."""
    return shift(mix(seed_N, torch.full_like(seed_N, _STAGGER)), 1) % horizon


def check_window(market: MarketTensors, window: tuple[int, int]) -> tuple[int, int]:
    """The window as ints; ConfigError when it lies outside the market or is too short to step in."""
    start, stop = int(window[0]), int(window[1])
    if not 0 <= start < stop <= market.n_snapshots:
        raise ConfigError(
            f"window [{start}, {stop}) does not lie in the market's {market.n_snapshots} snapshots: "
            f"expected 0 <= start < stop <= {market.n_snapshots}. Use one of market.info['splits']."
        )
    if stop - start < 2:
        raise ConfigError(
            f"window [{start}, {stop}) has {stop - start} snapshot: expected at least 2, one to decide and one to "
            "arrive at. Use a longer window."
        )
    return start, stop


def last_snapshots(segment_end_T: torch.Tensor, stop: int) -> torch.Tensor:
    """For each snapshot [T] the last one an episode standing there can reach: its segment's end or `stop - 1`."""
    n_snapshots = segment_end_T.shape[0]
    index = torch.arange(n_snapshots, device=segment_end_T.device)
    ends = torch.where(segment_end_T, index, n_snapshots - 1)
    return ends.flip(0).cummin(0).values.flip(0).clamp(max=stop - 1)


def find_legal_starts(
    last_snapshot_T: torch.Tensor, window: tuple[int, int], horizon: int, *, fixed_start: bool
) -> torch.Tensor:
    """Snapshots [M] at which an episode may begin: those whose whole horizon fits in the window and the segment.

    Raises: ConfigError when there is none, or when a fixed start stands on a segment's last snapshot
    """
    start, stop = window
    device = last_snapshot_T.device
    if fixed_start:
        if int(last_snapshot_T[start]) <= start:
            raise ConfigError(
                f"fixed start {start} is the last snapshot of its history: expected one with a next snapshot. "
                "Move the window's start."
            )
        return torch.tensor([start], device=device)
    index = torch.arange(start, stop, device=device)
    legal = index[last_snapshot_T[start:stop] - index >= horizon]
    if legal.numel() == 0:
        longest = int((last_snapshot_T[start:stop] - index).max())
        raise ConfigError(
            f"horizon={horizon} does not fit: the longest history in window [{start}, {stop}) takes {longest} steps. "
            f"Use horizon <= {longest}, a longer window, or fixed_start=True for one account over the whole window."
        )
    return legal
