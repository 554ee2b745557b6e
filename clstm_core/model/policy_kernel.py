"""From a trunk's output to a drawn action in one compiled call on a CPU, without gradients or Python's lock."""

import ctypes

import torch
from torch import nn

from clstm_core.native import build
from clstm_core.native.arrays import address, shapes

KERNEL = "policy"


def policy_kernel(hidden_dim: int) -> ctypes.CDLL | None:
    """The kernel for a head that reads this width, or None where there is none."""
    library = build.load(KERNEL)
    return None if library is None or hidden_dim % library.units() else library


def decide(
    library: ctypes.CDLL,
    x_NH: torch.Tensor,
    norm: nn.LayerNorm,
    head: nn.Linear,
    mask_NA: torch.Tensor,
    log_noise_NA: torch.Tensor,
    illegal_logit: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Actions [N] drawn from the masked policy of normalised outputs, and their log-probabilities [N].

    Args:
        log_noise_NA: logarithms of exponential draws with mean 1
    """
    n, hidden = x_NH.shape
    shapes((n, head.out_features), mask_NA, log_noise_NA)
    action, log_prob = torch.empty(n, dtype=torch.int64), torch.empty(n)
    weights = (norm.weight, norm.bias, head.weight, head.bias)
    floats = [part.contiguous() for part in (x_NH, *weights)]
    mask, log_noise = mask_NA.contiguous(), log_noise_NA.contiguous()
    given = (*map(address, floats), address(mask, torch.bool), address(log_noise))
    sizes = map(ctypes.c_int64, (n, hidden, head.out_features))
    numbers = ctypes.c_float(norm.eps), ctypes.c_float(illegal_logit)
    library.decide(*given, address(action, torch.int64), address(log_prob), *sizes, *numbers)
    return action, log_prob
