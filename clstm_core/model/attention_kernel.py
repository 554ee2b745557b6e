"""Attention over a window of a trunk's last outputs as one compiled kernel on a CPU, without Python's lock."""

import ctypes

import torch

from clstm_core.native import build
from clstm_core.native.arrays import address, shapes

KERNEL = "attention"


def attention_kernel(hidden_dim: int, n_heads: int) -> ctypes.CDLL | None:
    """The kernel for heads of this width, or None: `why_not` says why."""
    return None if why_not(hidden_dim, n_heads) else build.load(KERNEL)


def why_not(hidden_dim: int, n_heads: int) -> str:
    """Why there is no kernel for such heads here, in a sentence; empty when there is."""
    library = build.load(KERNEL)
    if library is None:
        return build.why_not(KERNEL)
    units, width = library.units(), hidden_dim // n_heads
    return f"Heads are {width} wide, no multiple of {units}." if width % units else ""


def attend(
    library: ctypes.CDLL,
    qkv: torch.Tensor,
    past: torch.Tensor,
    age_WH: torch.Tensor,
    valid_NW: torch.Tensor,
    start_TN: torch.Tensor,
    n_heads: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixed values [T N, H] of every step, and the weights that mixed them, outside of autograd.

    A step's window is the W - 1 outputs before it and its own, as far as they are of its episode.

    Args:
        qkv: queries, keys and values [T N, 3 H] of the steps
        past: keys and values [N W, 2 H] of the ring before the first step, whose oldest slot is never seen
        valid_NW: which slots of the ring are filled
    """
    (steps, n), (window, hidden) = start_TN.shape, age_WH.shape
    shapes((steps * n, 3 * hidden), qkv)
    shapes((n * window, 2 * hidden), past)
    shapes((n, window), valid_NW)
    lanes = -(-window // library.units()) * library.units()
    mixed, weights = qkv.new_empty(steps * n, hidden), qkv.new_empty(n, n_heads, steps, lanes)
    given = (*map(address, (qkv, past, age_WH)), address(valid_NW, torch.bool), address(start_TN, torch.bool))
    sizes = (steps, n, hidden, hidden // n_heads, window)
    library.attend(*given, address(mixed), address(weights), *map(ctypes.c_int64, sizes))
    return mixed, weights


def attend_back(
    library: ctypes.CDLL,
    qkv: torch.Tensor,
    past: torch.Tensor,
    age_WH: torch.Tensor,
    valid_NW: torch.Tensor,
    start_TN: torch.Tensor,
    weights: torch.Tensor,
    d_mixed: torch.Tensor,
    n_heads: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of `attend`'s qkv, past and ages."""
    (steps, n), (window, hidden) = start_TN.shape, age_WH.shape
    slopes = (torch.empty_like(qkv), torch.empty_like(past), torch.zeros_like(age_WH))
    given = (*map(address, (qkv, past, age_WH)), address(valid_NW, torch.bool), address(start_TN, torch.bool))
    sizes = (steps, n, hidden, hidden // n_heads, window)
    library.attend_back(*given, *map(address, (weights, d_mixed, *slopes)), *map(ctypes.c_int64, sizes))
    return slopes


def attend_step(
    library: ctypes.CDLL,
    folded_NhH: torch.Tensor,
    age_score_NhW: torch.Tensor,
    memory_NWH: torch.Tensor,
    h_NH: torch.Tensor,
    valid_NW: torch.Tensor,
    start_N: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One step without gradients: mixed outputs [N, heads, H], and the ring with `h` as its newest, memory and valid.

    Args:
        folded_NhH: the scaled query of each head, taken back through the keys' weights
        age_score_NhW: of the scaled query and the age encoding
        start_N: where an episode starts the ring is forgotten first
    """
    n, window, hidden = memory_NWH.shape
    shapes((n, hidden), h_NH)
    shapes((n, window), valid_NW)
    shapes((n,), start_N)
    mixed, moved = folded_NhH.new_empty(folded_NhH.shape), memory_NWH.new_empty(n, window, hidden)
    filled = valid_NW.new_empty(n, window)
    floats = [part.contiguous() for part in (folded_NhH, age_score_NhW, memory_NWH, h_NH)]
    flags = [part.contiguous() for part in (valid_NW, start_N)]
    given = (*map(address, floats), *(address(flag, torch.bool) for flag in flags))
    into = (address(moved), address(filled, torch.bool), address(mixed))
    library.attend_step(*given, *into, *map(ctypes.c_int64, (n, hidden, window, folded_NhH.shape[1])))
    return mixed, moved, filled
