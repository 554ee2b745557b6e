"""The policy's loss and what is told of it as one compiled call each way on a CPU; `policy_loss` is the reference."""

import ctypes
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from clstm_core.native import build
from clstm_core.native.arrays import address, shapes
from clstm_core.ppo.losses import PolicyLoss, policy_loss
from clstm_core.specs import HOLD

KERNEL = "policy_loss"
KEPT = 4
"""Numbers of each step that the way back reads."""


def compiled_policy_loss(
    logits: torch.Tensor,
    action: torch.Tensor,
    old_log_prob: torch.Tensor,
    advantage: torch.Tensor,
    free: torch.Tensor,
    *,
    clip_epsilon: float,
) -> PolicyLoss:
    """`policy_loss`, by the kernel where there is one; of loss, entropy and waits there are gradients."""
    given = (logits, action, old_log_prob, advantage, free)
    suits = logits.device.type == "cpu" and all(part.dtype == torch.float32 for part in (logits, *given[2:4]))
    library = build.load(KERNEL) if suits else None
    if library is None:
        return policy_loss(*given, clip_epsilon=clip_epsilon)
    return PolicyLoss(*_PolicyLoss.apply(*given, clip_epsilon, library))


class _PolicyLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[torch.Tensor, ...]:
        *arrays, clip_epsilon, library = given
        logits, action, old_log_prob, advantage, free = (part.contiguous() for part in arrays)
        shapes(logits.shape[:-1], action, old_log_prob, advantage, free)
        kept, share = logits.new_empty(*action.shape, KEPT), logits.new_empty(())
        told = PolicyLoss(*(logits.new_empty(()) for _ in PolicyLoss._fields))
        into = (ctypes.c_void_p * len(told))(*(scalar.data_ptr() for scalar in told))
        integers, floats = address(action, torch.int64), map(address, (old_log_prob, advantage))
        before = (address(logits), integers, *floats, address(free, torch.bool))
        sizes = map(ctypes.c_int64, (action.numel(), logits.shape[-1], HOLD))
        library.policy_loss(*before, into, address(kept), address(share), *sizes, ctypes.c_float(clip_epsilon))
        ctx.save_for_backward(logits, action, free, kept, share)
        ctx.library = library
        ctx.mark_non_differentiable(told.approx_kl, told.clip_fraction)
        return tuple(told)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, action, free, kept, share = ctx.saved_tensors
        d_logits, of_told = torch.empty_like(logits), [slope.contiguous() for slope in slopes[:3]]
        given = (address(logits), address(action, torch.int64), address(free, torch.bool))
        sizes = map(ctypes.c_int64, (action.numel(), logits.shape[-1], HOLD))
        ctx.library.policy_loss_back(*given, *map(address, (kept, share, *of_told, d_logits)), *sizes)
        return d_logits, *(None for _ in range(6))
