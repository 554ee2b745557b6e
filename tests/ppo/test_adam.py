"""Adam in one compiled call is torch's own: the same weights, moments and norms, and the same state in checkpoints."""

import copy

import pytest
import torch

from clstm_core.native import build
from clstm_core.ppo.adam import Adam

needs_compiler = pytest.mark.skipif(bool(build.why_not("adam")), reason=build.why_not("adam"))
SIZES = ((256, 64), (64,), (3, 5), (1,), (70, 70))


def taught(monkeypatch, *, compiled: bool, max_norm: float, steps: int = 20):
    """Weights, moments and norms after some steps; the last array has no gradient at every other step."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in SIZES]
    slow = {"params": weights[3:], "lr": 1e-4}
    optimizer, norms = Adam([{"params": weights[:3]}, slow], lr=1e-2, eps=1e-5, fused=True), []
    with monkeypatch.context() as patch:
        if not compiled:
            patch.setattr(build, "load", lambda _: None)
        for step in range(steps):
            optimizer.forget_gradients()
            for weight in weights[: len(weights) - step % 2]:
                weight.grad = torch.randn(weight.shape, generator=generator) * 10 ** (step % 3 - 1)
            norms.append(optimizer.descend(max_norm))
    state = [optimizer.state[weight] for weight in weights]
    moments = [part[name] for part in state for name in ("exp_avg", "exp_avg_sq", "step")]
    return optimizer, [*(weight.detach() for weight in weights), *moments, torch.stack(norms)]


@needs_compiler
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_the_kernel_steps_as_torch_does(monkeypatch, max_norm):
    (kernel, found), (torch_s, expected) = (
        taught(monkeypatch, compiled=compiled, max_norm=max_norm) for compiled in (True, False)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-7)
    told = [optimizer.state_dict()["state"] for optimizer in (kernel, torch_s)]
    assert [list(moments) for moments in told[0].values()] == [list(moments) for moments in told[1].values()]
    assert [m["step"].item() for m in told[0].values()] == [20, 20, 20, 20, 10]


@needs_compiler
def test_either_goes_on_from_the_state_of_the_other(monkeypatch):
    for compiled in (True, False):
        optimizer, before = taught(monkeypatch, compiled=compiled, max_norm=0.5)
        state = copy.deepcopy(optimizer.state_dict())
        ends = []
        for then in (True, False):
            weights = [torch.nn.Parameter(weight.clone()) for weight in before[: len(SIZES)]]
            fresh = Adam([{"params": weights[:3]}, {"params": weights[3:]}], fused=True)
            fresh.load_state_dict(copy.deepcopy(state))
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            with monkeypatch.context() as patch:
                if not then:
                    patch.setattr(build, "load", lambda _: None)
                fresh.descend(0.5)
            ends.append(weights)
        for one, other in zip(*ends, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("compiled", [pytest.param(True, marks=needs_compiler), False])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_told_by_the_norm(monkeypatch, compiled, bad):
    if not compiled:
        monkeypatch.setattr(build, "load", lambda _: None)
    weight = torch.nn.Parameter(torch.ones(40))
    weight.grad = torch.zeros(40)
    weight.grad[7] = bad
    assert not Adam([weight], fused=True).descend(0.5).isfinite()


def test_nothing_to_learn_from_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(4))
    assert Adam([weight], fused=True).descend(0.5) == 0
    assert torch.equal(weight, torch.ones(4))


@pytest.mark.parametrize("made", [torch.ones(4, 6).double(), torch.ones(6, 4).t()], ids=["float64", "columns"])
def test_arrays_that_the_kernel_cannot_read_are_torchs_work(made):
    weight = torch.nn.Parameter(made)
    weight.grad = torch.arange(24.0, dtype=made.dtype).view(4, 6)
    plain = torch.nn.Parameter(made.clone())
    plain.grad = weight.grad.clone()
    Adam([weight], lr=0.1).descend(1e6)
    torch.optim.Adam([plain], lr=0.1).step()
    torch.testing.assert_close(weight, plain)


@pytest.mark.parametrize(
    "options", [{"weight_decay": 0.1}, {"amsgrad": True}, {"maximize": True}, {"betas": (0.5, 0.9)}, {"eps": 0.1}]
)
@pytest.mark.parametrize("of_all", [True, False])
def test_what_a_group_asks_of_adam_is_done_with_a_kernel_too(monkeypatch, options, of_all):
    ends = []
    for compiled in (True, False):
        weights = [torch.nn.Parameter(torch.linspace(-1.0, 1.0, 40)) for _ in range(2)]
        groups = [{"params": weights[:1]}, {"params": weights[1:], **({} if of_all else options)}]
        optimizer = Adam(groups, lr=0.1, **(options if of_all else {}))
        generator = torch.Generator().manual_seed(0)
        with monkeypatch.context() as patch:
            if not compiled:
                patch.setattr(build, "load", lambda _: None)
            for step in range(4):
                for weight in weights:
                    weight.grad = torch.randn(40, generator=generator) / (1 + step)
                optimizer.descend(1e6)
        ends.append(torch.cat([weight.detach() for weight in weights]))
    torch.testing.assert_close(*ends, rtol=2e-6, atol=2e-7)


def test_autograd_knows_that_weights_moved():
    weight = torch.nn.Parameter(torch.ones(40))
    waiting = (weight * weight).sum()
    weight.grad = torch.ones(40)
    Adam([weight], fused=True).descend(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        waiting.backward()


def stepped_twice(strange):
    """A weight after a step, something done to its moments, and another step."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(6, 4))
    optimizer = Adam([weight], lr=0.1)
    for _ in range(2):
        weight.grad = torch.randn(6, 4)
        optimizer.descend(1e6)
        for name in ("exp_avg", "exp_avg_sq"):
            optimizer.state[weight][name] = strange(optimizer.state[weight][name])
    return weight.detach()


@needs_compiler
def test_moments_of_another_layout_or_dtype_are_not_misread():
    plain = stepped_twice(lambda kept: kept)
    torch.testing.assert_close(stepped_twice(lambda kept: kept.t().contiguous().t()), plain, rtol=2e-6, atol=2e-7)
    with pytest.raises(RuntimeError, match="dtype"):  # torch's own word
        stepped_twice(torch.Tensor.double)
