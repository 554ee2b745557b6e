"""Where accounts stand on generated paths: the path's state, the cells offered there, and what the policy sees of them.

Every tensor has the accounts as its last dimension.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from clstm_core.env.generated_cells import Cells, choose_cells
from clstm_core.env.generated_features import SURFACE_FEATURES, market_features, surface_known
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.market.worlds.paths import GivenPath, PathPoint, index_of, path_of, step_of

STAND_CHUNK, PRICE_CHUNK = 1 << 14, 5000
"""Accounts worked on at once on a CPU, so that memory stays small; packages are priced of so many per thread, since
their numbers should stay in each core's cache."""

ROW_CHUNK = 1 << 16
"""Contracts priced at once on a CPU."""


class Standing(NamedTuple):
    """N accounts' paths at one snapshot.

    Shapes: known [4, N] `SURFACE_FEATURES` as last known there, NaN where never; features [F, N] float32
    """

    point: PathPoint
    cells: Cells
    known: torch.Tensor
    features: torch.Tensor

    def put(self, accounts: torch.Tensor, other: "Standing") -> "Standing":
        """This with some accounts replaced by those of `other`, in order."""
        return over(lambda mine, theirs: mine.index_copy(-1, accounts, theirs), self, other)

    def at(self, accounts: torch.Tensor | slice) -> "Standing":
        """Some accounts alone."""
        return over(lambda mine: mine[..., accounts], self)

    def where(self, flag: torch.Tensor, other: "Standing") -> "Standing":
        """This where the flag [N] holds, else `other`."""
        return over(lambda mine, theirs: torch.where(flag, mine, theirs), self, other)


def over(function: Callable[..., torch.Tensor], *values):
    """Apply a function to the tensors of equally nested tuples."""
    if isinstance(values[0], torch.Tensor):
        return function(*values)
    return type(values[0])(*(over(function, *parts) for parts in zip(*values, strict=True)))


def at_once(device: torch.device) -> bool:
    """Whether all accounts are worked on at once, needed or not: on a device, which is not asked how many are, and in
    a compiled step, whose shapes never change."""
    return device.type != "cpu" or torch.compiler.is_compiling()


def slices(length: int, chunk: int, device: torch.device, *, per_thread: bool = False) -> list[slice]:
    """Even slices of at most `chunk` (per thread) of so many accounts, or all `at_once`."""
    most = length if at_once(device) else chunk * (torch.get_num_threads() if per_thread else 1)
    parts = max(1, -(-length // max(1, most)))
    size = max(1, -(-length // parts))
    return [slice(low, min(low + size, length)) for low in range(0, length, size)]


def begin(world: GeneratedWorld, index_N: torch.Tensor, known_T: torch.Tensor | None, dtype: torch.dtype) -> Standing:
    """Where accounts stand when their episodes begin.

    Args:
        known_T: `known_before` of a given path; None of simulated ones, which begin without a past
    """
    point = world.paths.start(index_N)
    if known_T is None:
        return _stand(world, point, torch.full_like(point.log_close[: len(SURFACE_FEATURES)], torch.nan), dtype)
    return _stand(world, point, known_T[:, step_of(index_N)], dtype)


def follow(world: GeneratedWorld, at: Standing, index_N: torch.Tensor, dtype: torch.dtype) -> Standing:
    """Where accounts that stand at `index_N` will stand next."""
    return _stand(world, world.paths.after(at.point, index_N), at.known, dtype)


def arrive(world: GeneratedWorld, index_N: torch.Tensor, known_T: torch.Tensor | None, dtype: torch.dtype) -> Standing:
    """Where accounts at any index stand: a simulated path is walked from its beginning."""
    if known_T is not None:
        return begin(world, index_N, known_T, dtype)
    path, step = path_of(index_N), step_of(index_N)
    at = begin(world, index_of(path, 0), None, dtype)
    for k in range(int(step.max())):
        moving = (step > k).nonzero().squeeze(1)
        at = at.put(moving, follow(world, at.at(moving), index_of(path[moving], k), dtype))
    return at


def known_before(world: GeneratedWorld, dtype: torch.dtype) -> torch.Tensor | None:
    """`SURFACE_FEATURES` [4, T] of a given path as last known before each step, NaN where never; else None."""
    if not isinstance(world.paths, GivenPath):
        return None
    index = torch.arange(world.paths.last_step + 1, device=world.paths.listing.session_ns_C.device)
    point = world.paths.at(index)
    here = surface_known(
        choose_cells(world, point, dtype), torch.full_like(point.log_close[: len(SURFACE_FEATURES)], torch.nan)
    )
    last = torch.where(here.isnan(), -1, index).cummax(dim=1).values
    known = torch.where(last >= 0, here.gather(1, last.clamp(min=0)), torch.nan)
    return torch.cat([torch.full_like(known[:, :1], torch.nan), known[:, :-1]], dim=1)


def _stand(world: GeneratedWorld, point: PathPoint, before: torch.Tensor, dtype: torch.dtype) -> Standing:
    parts = []
    for part in slices(before.shape[-1], STAND_CHUNK, before.device):
        here, past = over(lambda x, part=part: x[..., part], point), before[..., part]
        cells = choose_cells(world, here, dtype)
        known = surface_known(cells, past)
        parts.append(Standing(here, cells, known, market_features(world.paths.listing, here, cells, known, past)))
    return parts[0] if len(parts) == 1 else over(lambda *x: torch.cat(x, dim=-1), *parts)
