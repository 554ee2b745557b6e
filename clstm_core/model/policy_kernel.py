"""From a trunk's output to a drawn action in one compiled call on a CPU, without gradients or Python's lock."""

import ctypes

import torch
from torch import nn

from clstm_core.model.lstm_kernel import address, flags, shapes
from clstm_core.native import build

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
    flags(mask_NA)
    shapes((n, head.out_features), mask_NA, log_noise_NA)
    action, log_prob = torch.empty(n, dtype=torch.int64), torch.empty(n)
    given = (x_NH, norm.weight, norm.bias, head.weight, head.bias, mask_NA, log_noise_NA)
    arrays = (*(part.contiguous() for part in given), action, log_prob)
    sizes = map(ctypes.c_int64, (n, hidden, head.out_features))
    library.decide(*map(address, arrays), *sizes, ctypes.c_float(norm.eps), ctypes.c_float(illegal_logit))
    return action, log_prob
