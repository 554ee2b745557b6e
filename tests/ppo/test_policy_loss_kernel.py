"""The policy's loss in one compiled call is that of torch operations, and so are its gradients."""

import pytest
import torch

from clstm_core.model.clstm import ILLEGAL_LOGIT
from clstm_core.native import build
from clstm_core.ppo.losses import PolicyLoss, policy_loss
from clstm_core.ppo.policy_loss_kernel import compiled_policy_loss

needs_compiler = pytest.mark.skipif(bool(build.why_not("policy_loss")), reason=build.why_not("policy_loss"))


def steps(actions: int, spread: float):
    """Masked logits of steps, some without a choice, and what was done there; ratios lie inside and outside."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(7, 33, actions, generator=generator) < 0.5
    mask[..., 0] = True
    mask[0, :5, 1:] = False
    logits = (spread * torch.randn(mask.shape, generator=generator)).masked_fill(~mask, ILLEGAL_LOGIT)
    action = logits.softmax(-1).flatten(0, 1).multinomial(1, generator=generator).view(mask.shape[:2])
    taken = logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
    old = taken + 0.2 * torch.randn(taken.shape, generator=generator)
    return logits, action, old, torch.randn(taken.shape, generator=generator), mask.sum(-1) > 1


def found(loss, logits, rest, slopes):
    logits = logits.clone().requires_grad_()
    told = loss(logits, *rest, clip_epsilon=0.1)
    differentiable = sum(slope * part for slope, part in zip(slopes, told[:3], strict=True))
    return told, torch.autograd.grad(differentiable, logits)[0]


@needs_compiler
@pytest.mark.parametrize("slopes", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, -0.03, -0.06)])
@pytest.mark.parametrize(("actions", "spread"), [(31, 0.1), (3, 2.0), (16, 30.0), (1, 1.0), (40, 1.0)])
def test_values_and_gradients_are_those_of_torch_operations(actions, spread, slopes):
    logits, *rest = steps(actions, spread)
    told, gradient = found(compiled_policy_loss, logits, rest, slopes)
    exact = [rest[0], *(part.double() for part in rest[1:3]), rest[3]]
    expected, reference = found(policy_loss, logits.double(), exact, slopes)
    rounding = (found(policy_loss, logits, rest, slopes)[1] - reference).norm()  # of torch's own operations
    for name in PolicyLoss._fields:
        one, other = (getattr(all_told, name).item() for all_told in (told, expected))
        assert abs(one - other) < 2e-6 * max(1.0, abs(other)), name
    assert (gradient - reference).norm() < max(2e-6 * max(reference.norm(), 1e-3), 2 * rounding)
    assert gradient[logits == ILLEGAL_LOGIT].abs().sum() == 0


@needs_compiler
def test_without_a_choice_there_is_nothing_to_learn():
    logits, action, old, advantage, free = steps(5, 1.0)
    told, gradient = found(compiled_policy_loss, logits, (action, old, advantage, torch.zeros_like(free)), (1, 1, 1))
    assert torch.equal(torch.stack(told), torch.zeros(5))
    assert torch.equal(gradient, torch.zeros_like(gradient))


@needs_compiler
@pytest.mark.parametrize("place", ["logits", "old", "advantage"])
def test_what_is_not_a_number_is_told(place):
    parts = dict(zip(("logits", "action", "old", "advantage", "free"), steps(5, 1.0), strict=True))
    parts[place][3, 4] = torch.nan
    told = compiled_policy_loss(*parts.values(), clip_epsilon=0.1)
    assert not told.loss.isfinite()


def test_without_a_compiler_it_is_the_reference(monkeypatch):
    monkeypatch.setattr(build, "load", lambda _: None)
    given = steps(5, 1.0)
    told = zip(compiled_policy_loss(*given, clip_epsilon=0.1), policy_loss(*given, clip_epsilon=0.1), strict=True)
    assert all(torch.equal(one, other) for one, other in told)
