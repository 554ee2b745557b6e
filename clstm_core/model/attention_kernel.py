"""Attention over a window of a trunk's last outputs as one compiled kernel on a CPU, without Python's lock."""

import ctypes
from typing import Any

import torch

from clstm_core.model.lstm_kernel import address
from clstm_core.native import build

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
    q_TNH: torch.Tensor,
    k_TNH: torch.Tensor,
    v_TNH: torch.Tensor,
    past_k_NVH: torch.Tensor,
    past_v_NVH: torch.Tensor,
    age_WH: torch.Tensor,
    valid_NV: torch.Tensor,
    start_TN: torch.Tensor,
    n_heads: int,
) -> torch.Tensor:
    """Mixed values [T, N, H] of every step: its window is the V = W - 1 outputs before it and its own, in its episode.

    Args:
        past_k_NVH, past_v_NVH: of the slots stored before the first step; which of them are filled is `valid`
    """
    given = (q_TNH, k_TNH, v_TNH, past_k_NVH, past_v_NVH, age_WH)
    return _Attention.apply(*given, valid_NV.contiguous(), start_TN.contiguous(), n_heads, library)


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
    mixed, moved = folded_NhH.new_empty(folded_NhH.shape), memory_NWH.new_empty(n, window, hidden)
    filled = valid_NW.new_empty(n, window)
    given = (folded_NhH, age_score_NhW, memory_NWH, h_NH, valid_NW, start_N)
    arrays = (*(part.contiguous() for part in given), moved, filled, mixed)
    library.attend_step(*map(address, arrays), *map(ctypes.c_int64, (n, hidden, window, folded_NhH.shape[1])))
    return mixed, moved, filled


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> torch.Tensor:
        *arrays, n_heads, library = given
        arrays = [part.contiguous() for part in arrays]
        query, age = arrays[0], arrays[5]
        steps, n, hidden = query.shape
        sizes = (steps, n, hidden, hidden // n_heads, len(age))
        lanes = -(-len(age) // library.units()) * library.units()
        out, weights = torch.empty_like(query), query.new_empty(n, n_heads, steps, lanes)
        library.attend(*map(address, (*arrays, out, weights)), *map(ctypes.c_int64, sizes))
        ctx.save_for_backward(*arrays, weights)
        ctx.library, ctx.sizes = library, sizes
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = ctx.saved_tensors
        slopes = (*(torch.empty_like(part) for part in saved[:5]), torch.zeros_like(saved[5]))
        arrays = (*saved, grads[0].contiguous(), *slopes)
        ctx.library.attend_back(*map(address, arrays), *map(ctypes.c_int64, ctx.sizes))
        return (*slopes, None, None, None, None)
