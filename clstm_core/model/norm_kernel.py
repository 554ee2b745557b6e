"""LayerNorm as one compiled call each way on a CPU, outside of autograd and without Python's lock."""

import ctypes

import torch

from clstm_core.native import build
from clstm_core.native.arrays import address

KERNEL = "norm"


def norm_kernel(hidden_dim: int) -> ctypes.CDLL | None:
    """The kernel for rows of this width, or None where there is none."""
    library = build.load(KERNEL)
    return None if library is None or hidden_dim % library.units() else library


def normalise(
    library: ctypes.CDLL,
    x_MH: torch.Tensor,
    bias_H: torch.Tensor | None,
    weight_H: torch.Tensor,
    shift_H: torch.Tensor,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised rows [M, H] of x + bias, and of each row mean and scale [M, 2]; x is left with the bias added."""
    m, hidden = x_MH.shape
    y_MH, stats_M2 = torch.empty_like(x_MH), x_MH.new_empty(m, 2)
    arrays = (x_MH, bias_H, weight_H, shift_H, y_MH, stats_M2)
    library.normalise(*map(address, arrays), ctypes.c_int64(m), ctypes.c_int64(hidden), ctypes.c_float(eps))
    return y_MH, stats_M2


def normalise_back(
    library: ctypes.CDLL,
    d_y_MH: torch.Tensor,
    x_MH: torch.Tensor,
    stats_M2: torch.Tensor,
    weight_H: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of x [M, H], and [H] of weight, shift and bias, from what `normalise` left and gave."""
    m, hidden = x_MH.shape
    d_x_MH, sums = torch.empty_like(x_MH), x_MH.new_zeros(3, hidden)
    arrays = (d_y_MH, x_MH, stats_M2, weight_H, d_x_MH, *sums)
    library.normalise_back(*map(address, arrays), ctypes.c_int64(m), ctypes.c_int64(hidden))
    return d_x_MH, *sums
