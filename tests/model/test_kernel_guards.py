"""Arrays that a kernel would read as something else are refused, and autograd knows what a kernel wrote."""

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


@pytest.mark.parametrize("name", ["x", "start", "h", "c"])
def test_a_dtype_that_the_recurrence_does_not_read_is_refused(name):
    data = sequence()
    data[name] = data[name].double()
    with pytest.raises(TypeError, match=r"given .*float64"):
        layer().unroll(*data.values())


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
