"""Arrays that a kernel would read as something else are refused, and autograd knows what a kernel wrote."""

from typing import Any

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.model import engine, lstm_kernel
from clstm_core.model.clstm import CLSTM
from clstm_core.model.lstm import LSTM
from clstm_core.native import build
from clstm_core.ppo.losses import policy_loss
from clstm_core.ppo.policy_loss_kernel import compiled_policy_loss

pytestmark = pytest.mark.skipif(bool(build.why_not("lstm")), reason=build.why_not("lstm"))


def layer() -> LSTM:
    built = LSTM(5, 32, 128)
    built.kernel = lstm_kernel.lstm_kernel(32, half=False)
    return built


def sequence(steps: int = 4, n: int = 3, features: int = 5) -> dict[str, torch.Tensor]:
    start = torch.zeros(steps, n, dtype=torch.bool)
    return {"x": torch.randn(steps, n, features), "start": start, "h": torch.randn(n, 32), "c": torch.randn(n, 32)}


DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float32]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["x", "start", "h", "c"])
def test_a_dtype_that_the_recurrence_does_not_read_is_refused(name, dtype):
    data = sequence()
    if data[name].dtype == dtype:
        return
    data[name] = data[name].to(dtype)
    with pytest.raises(TypeError, match=rf"given {dtype} .* reads contiguous"):
        layer().unroll(*data.values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias"])
def test_weights_of_a_dtype_that_the_recurrence_does_not_read_are_refused(name, dtype):
    lstm = layer()
    setattr(lstm, name, torch.nn.Parameter(getattr(lstm, name).to(dtype)))
    with pytest.raises(TypeError, match=rf"given {dtype}"):
        lstm.unroll(*sequence().values())


def model_with_kernels(hidden: int = 32, actions: int = 4) -> CLSTM:
    torch.manual_seed(0)
    model = CLSTM(5, actions, ModelConfig(hidden_dim=hidden, n_heads=1, attention_window=4))
    engine.use_kernels(model, engine.FLOAT32)
    return model


def asked(model: CLSTM, n: int = 3) -> dict[str, Any]:
    """What `decide` is given."""
    mask = torch.ones(n, model.n_actions, dtype=torch.bool)
    start, noise = torch.ones(n, dtype=torch.bool), torch.zeros(n, model.n_actions)
    return {"obs": torch.randn(n, 5), "mask": mask, "state": model.initial_state(n), "start": start, "noise": noise}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["mask", "start", "noise"])
@torch.no_grad()
def test_a_dtype_that_the_draw_does_not_read_is_refused(name, dtype):
    model = model_with_kernels()
    given = asked(model)
    if given[name].dtype == dtype:
        return
    given[name] = given[name].to(dtype)
    with pytest.raises(TypeError, match=rf"given {dtype}"):
        model.decide(*given.values())


@torch.no_grad()
def test_autocast_is_refused_rather_than_misread():
    model = model_with_kernels()
    given = asked(model)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(TypeError, match=r"leave torch\.autocast"):
        model.decide(*given.values())


def test_autocast_is_refused_while_learning():
    model = model_with_kernels()
    obs, start = torch.randn(6, 3, 5), torch.zeros(6, 3, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(TypeError, match=r"leave torch\.autocast"):
        model.unroll(obs, None, start, model.initial_state(3))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["one bias", "every weight"])
@torch.no_grad()
def test_a_draw_is_legal_whatever_the_policy_has_become_and_says_where_it_is_none(where, value):
    model, n = model_with_kernels(actions=24), 2000
    (model.policy_head.bias[7:8] if where == "one bias" else model.policy_head.weight).fill_(value)
    given = asked(model, n)
    given["mask"] = torch.rand(n, 24) < 0.4
    given["mask"][torch.arange(n), torch.randint(24, (n,))] = True
    given["noise"].exponential_().log_()
    action, log_prob, _ = model.decide(*given.values())
    assert given["mask"][torch.arange(n), action].all()
    broken = given["mask"][:, 7] if where == "one bias" else torch.ones(n, dtype=torch.bool)
    if value != -torch.inf or where == "every weight":  # an action of no probability is none that breaks the others'
        assert log_prob[broken].isnan().all()
    alone = given["mask"].sum(1) == 1
    assert log_prob[~broken].isfinite().all()
    assert (log_prob[~broken] <= 1e-6).all()
    assert not (alone & ~broken & (log_prob != 0)).any()


@torch.no_grad()
def test_where_nothing_is_legal_the_draw_is_the_first_and_as_probable_as_any():
    model = model_with_kernels()
    given = asked(model)
    given["mask"][:] = False
    action, log_prob, _ = model.decide(*given.values())
    assert action.tolist() == [0, 0, 0]
    torch.testing.assert_close(log_prob, torch.full((3,), 0.25).log())


@pytest.mark.parametrize("name", ["x", "start", "h", "c"])
def test_an_array_that_ends_too_early_is_refused(name):
    data = sequence()
    data[name] = data[name][..., :-1]
    with pytest.raises(ValueError, match="expected"):
        layer().unroll(*data.values())


def test_a_model_made_double_after_it_was_given_kernels_is_refused():
    model = CLSTM(5, 4, ModelConfig(hidden_dim=32, n_heads=1))
    engine.use_kernels(model, engine.FLOAT32)
    model.double()
    given = torch.randn(3, 5).double(), torch.ones(3, 4, dtype=torch.bool), model.initial_state(3), torch.ones(3) > 0
    with torch.no_grad(), pytest.raises(TypeError, match="use_kernels"):
        model.decide(*given, torch.zeros(3, 4).double())


@pytest.mark.parametrize("shape", [(4, 0), (0, 3)], ids=["no rows", "no steps"])
def test_nothing_to_walk_gives_nothing(shape):
    lstm, data = layer(), sequence(*shape)
    outputs, cells = lstm.unroll(*data.values())
    assert outputs.shape == cells.shape == (*shape, 32)
    outputs.sum().backward()
    assert all(torch.equal(weight.grad, torch.zeros_like(weight)) for weight in lstm.parameters())


def test_a_second_way_back_is_refused_as_what_it_reads_is_overwritten():
    lstm = layer()
    outputs, _ = lstm.unroll(*sequence().values())
    torch.autograd.grad(outputs.sum(), [lstm.weight_hh], retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(outputs.sum(), [lstm.weight_hh])


@pytest.mark.parametrize("name", ["old_log_prob", "advantage"])
def test_a_policy_loss_of_mixed_dtypes_is_that_of_torch_operations(name):
    generator = torch.Generator().manual_seed(0)
    given = {
        "logits": torch.randn(6, 5, generator=generator),
        "action": torch.arange(6) % 5,
        "old_log_prob": torch.full((6,), -1.6),
        "advantage": torch.randn(6, generator=generator),
        "free": torch.ones(6, dtype=torch.bool),
    }
    given[name] = given[name].double()
    found, expected = (loss(*given.values(), clip_epsilon=0.1) for loss in (compiled_policy_loss, policy_loss))
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))
