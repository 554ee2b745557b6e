"""The compiled kernels compute what torch operations compute, in any company, and are left out where they cannot be."""

import copy

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.errors import ConfigError
from clstm_core.model import attention_kernel, engine, lstm_kernel
from clstm_core.model.clstm import CLSTM
from clstm_core.model.lstm import LSTM
from clstm_core.model.trunk import Trunk, TrunkState
from clstm_core.native import build

needs_compiler = pytest.mark.skipif(bool(build.why_not("lstm")), reason=build.why_not("lstm"))
SHAPES = [
    (64, 64, 10, 16),
    (5, 32, 7, 9),
    (33, 48, 13, 4),
    (16, 16, 1, 3),
    (8, 80, 5, 1),
]  # features, width, rows, steps
HALF = [False, True]
TOLERANCE = {False: 2e-6, True: 2e-2}
"""Of the kernels against torch operations: relative error of a whole tensor, with products of float32 and bfloat16."""


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / (other.norm() + 1e-12)).item()


def layer(features: int, hidden: int, half: bool | None) -> LSTM:
    torch.manual_seed(0)
    built = LSTM(features, hidden, 128)
    if half is not None:
        if half and (why := lstm_kernel.why_not(hidden, half=True)):
            pytest.skip(why)
        built.kernel = lstm_kernel.lstm_kernel(hidden, half=half)
        assert built.kernel is not None
    return built


def sequence(features: int, hidden: int, n: int, steps: int):
    generator = torch.Generator().manual_seed(1)
    x, h, c = (torch.randn(*size, generator=generator) for size in ((steps, n, features), (n, hidden), (n, hidden)))
    return x, torch.rand(steps, n, generator=generator) < 0.2, h, c


def learnt(lstm: LSTM, x, start, h, c) -> list[torch.Tensor]:
    """Outputs, cells, and the gradients of everything that has one."""
    given = [part.clone().requires_grad_() for part in (x, h, c)]
    outputs, cells = lstm.unroll(given[0], start, *given[1:])
    generator = torch.Generator().manual_seed(2)
    loss = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in (outputs, cells))
    return [outputs, cells, *torch.autograd.grad(loss, [*given, *lstm.parameters()])]


@needs_compiler
@pytest.mark.parametrize("half", HALF)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_recurrence_and_its_gradients_are_those_of_torch_operations(shape, half):
    data = sequence(*shape)
    found, expected = learnt(layer(*shape[:2], half), *data), learnt(layer(*shape[:2], None), *data)
    assert max(apart(a, b) for a, b in zip(found, expected, strict=True)) < TOLERANCE[half]


@needs_compiler
@pytest.mark.parametrize("half", HALF)
def test_a_row_has_the_same_bits_alone_in_company_step_by_step_and_while_learning(half):
    lstm, (x, start, h, c) = layer(9, 32, half), sequence(9, 32, 13, 6)
    learning, _ = lstm.unroll(x, start, h, c)
    with torch.no_grad():
        outputs, cells = lstm.unroll(x, start, h, c)
        assert torch.equal(outputs, learning)
        for n in range(13):
            alone, _ = lstm.unroll(x[:, n : n + 1], start[:, n : n + 1], h[n : n + 1], c[n : n + 1])
            assert torch.equal(alone, outputs[:, n : n + 1])
        with lstm.standing():
            for t in range(6):
                h, c = lstm.compiled_step(x[t], start[t], h, c)
                assert torch.equal(h, outputs[t])
                assert torch.equal(c, cells[t])


@needs_compiler
@pytest.mark.parametrize("half", HALF)
def test_a_reset_forgets_even_what_is_not_a_number_and_nothing_else_does(half):
    lstm, (x, start, h, c) = layer(5, 32, half), sequence(5, 32, 3, 4)
    start[:] = torch.tensor([[True, False, False], [False, False, True], [False] * 3, [False] * 3])
    h[:] = torch.nan
    outputs, _ = lstm.unroll(x, start, h, c)
    assert outputs[:, 0].isfinite().all()
    assert outputs[:, 1].isnan().all()
    assert outputs[0, 2].isnan().all()
    assert outputs[1:, 2].isfinite().all()


@needs_compiler
def test_an_optimizers_step_is_seen_by_the_next_call():
    lstm, data = layer(5, 32, half=False), sequence(5, 32, 3, 4)
    optimizer = torch.optim.Adam(lstm.parameters(), lr=0.1, fused=True)
    before, _ = lstm.unroll(*data)
    before.sum().backward()
    optimizer.step()
    with torch.no_grad():
        after, _ = lstm.unroll(*data)
        lstm.kernel = None
        assert apart(after, lstm.unroll(*data)[0]) < TOLERANCE[False]
    assert not torch.equal(after, before)


TRUNKS = [(4, 64, 16, 9, 16), (2, 32, 6, 5, 9), (1, 32, 30, 5, 9), (1, 16, 1, 3, 4), (1, 32, 0, 5, 7)]
"""Heads, width, window (0: no attention), rows, steps."""


def trunk_and_data(heads: int, hidden: int, window: int, n: int, steps: int, features: int = 7):
    """A trunk that is not as it began, and a chunk for it; slots that are not filled hold zeros, as in a rollout."""
    torch.manual_seed(0)
    trunk = Trunk(features, hidden, heads, window, 128)
    for weight in trunk.parameters():
        torch.nn.init.normal_(weight, std=weight.std().item() if weight.dim() > 1 else 0.5)
    x, start = torch.randn(steps, n, features, requires_grad=True), torch.rand(steps, n) < 0.15
    valid = torch.rand(n, window) < 0.7
    memory = torch.where(valid.unsqueeze(-1), torch.randn(n, window, hidden), 0.0)
    return trunk, x, start, TrunkState(*torch.randn(2, n, hidden), memory, valid)


def with_kernel(trunk: Trunk, *, half: bool) -> Trunk:
    if half and (why := lstm_kernel.why_not(trunk.hidden_dim, half=True)):
        pytest.skip(why)
    trunk.lstm.kernel = lstm_kernel.lstm_kernel(trunk.hidden_dim, half=half)
    if trunk.attention is not None:
        trunk.attention.kernel = attention_kernel.attention_kernel(trunk.hidden_dim, trunk.attention.n_heads)
    trunk.kernel = engine.trunk_kernel(trunk)
    assert trunk.kernel is not None
    return trunk


@needs_compiler
@pytest.mark.parametrize("half", HALF)
@pytest.mark.parametrize("sizes", TRUNKS)
def test_a_trunk_and_its_gradients_are_those_of_torch_operations(sizes, half):
    trunk, x, start, state = trunk_and_data(*sizes)
    weight = torch.randn(*start.shape, trunk.hidden_dim)

    def learnt():
        y, steps = trunk.unroll(x, start, state)
        with torch.no_grad():
            after = [part.float() for part in steps.last()]
        return [y, *after], torch.autograd.grad((y * weight).sum(), [x, *trunk.parameters()])

    outputs, gradients = learnt()
    with_kernel(trunk, half=half)
    found_outputs, found_gradients = learnt()
    for one, other in zip(found_outputs, outputs, strict=True):
        assert apart(one, other) < TOLERANCE[half]
    scale = max(part.norm() for part in gradients)
    for one, other in zip(found_gradients, gradients, strict=True):
        assert (one - other).norm() < TOLERANCE[half] * max(other.norm(), 1e-2 * scale)


@needs_compiler
def test_gradients_of_many_rows_are_as_near():
    """Weights that every row adds to: added up one by one, the last of 65,536 rows would lose some of its digits."""
    trunk, x, start, state = trunk_and_data(1, 16, 6, 4096, 16)
    weight = torch.randn(*start.shape, trunk.hidden_dim)

    def gradients(of: Trunk, dtype: torch.dtype) -> list[torch.Tensor]:
        given = TrunkState(*(part.to(dtype) for part in state[:3]), state.valid)
        y, _ = of.unroll(x.detach().to(dtype), start, given)
        return list(torch.autograd.grad((y * weight.to(dtype)).sum(), [*of.parameters()]))

    exact = gradients(copy.deepcopy(trunk).double(), torch.float64)
    names, found = dict(trunk.named_parameters()), gradients(with_kernel(trunk, half=False), torch.float32)
    for name, one, other in zip(names, found, exact, strict=True):
        assert apart(one, other.float()) < TOLERANCE[False], name


@needs_compiler
def test_a_trunk_gives_the_same_bits_with_gradients_and_without():
    trunk, x, start, state = trunk_and_data(*TRUNKS[0])
    with_kernel(trunk, half=False)
    learning, _ = trunk.unroll(x, start, state)
    with torch.no_grad():
        assert torch.equal(trunk.unroll(x, start, state)[0], learning)


@needs_compiler
@pytest.mark.parametrize("heads", [1, 4, 16])
@pytest.mark.parametrize("window", [1, 6, 16, 20])
@torch.no_grad()
def test_a_step_of_a_trunk_is_that_of_torch_operations(heads, window):
    torch.manual_seed(0)
    model = CLSTM(5, 4, ModelConfig(hidden_dim=64, n_heads=heads, attention_window=window))
    trunk, n = model.actor_trunk, 9
    torch.nn.init.normal_(trunk.attention.age_WH)
    x, start = torch.randn(n, 64), torch.rand(n) < 0.3
    state = TrunkState(*torch.randn(2, n, 64), torch.randn(n, window, 64), torch.rand(n, window) < 0.7)
    expected = trunk.step(x, state, start)
    engine.use_kernels(model, engine.FLOAT32)
    found = trunk.step(x, state, start)
    assert apart(found[0], expected[0]) < 2e-6
    for name, one, other in zip(TrunkState._fields, found[1], expected[1], strict=True):
        assert apart(one.float(), other.float()) < 2e-6, name
    poisoned = state._replace(h=torch.where(start.unsqueeze(1), torch.nan, state.h), memory=state.memory.clone())
    poisoned.memory[start] = torch.nan
    assert torch.equal(trunk.step(x, poisoned, start)[0], found[0])


@needs_compiler
@pytest.mark.parametrize(("hidden", "actions"), [(64, 24), (32, 1), (16, 16), (256, 5)])
@torch.no_grad()
def test_a_drawn_action_is_that_of_torch_operations(hidden, actions):
    torch.manual_seed(0)
    model, n = CLSTM(5, actions, ModelConfig(hidden_dim=hidden, n_heads=1)), 50
    model.policy_head.weight.mul_(300)
    torch.nn.init.normal_(model.policy_head.bias)
    torch.nn.init.normal_(model.actor_trunk.norm.bias)
    mask = torch.rand(n, actions) < 0.6
    mask[:, 0] = True
    given = (torch.randn(n, 5), mask, model.initial_state(n), torch.rand(n) < 0.5)
    log_noise = torch.empty(n, actions).exponential_().log()
    expected = model.decide(*given, log_noise)
    engine.use_kernels(model, engine.FLOAT32)
    assert model.kernel is not None
    found = model.decide(*given, log_noise)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-5)
    assert mask[torch.arange(n), found[0]].all()


@needs_compiler
def test_attention_does_not_look_at_slots_that_are_not_filled():
    trunk, x, start, state = trunk_and_data(2, 32, 5, 2, 3)
    with_kernel(trunk, half=False)
    state.valid[:] = torch.tensor([[True, False, False, True, True], [False] * 5])
    seen = state.valid.unsqueeze(-1) & (torch.arange(5) > 0).view(1, 5, 1)  # the oldest slot moves out before a step
    memories = (torch.where(seen, state.memory, other) for other in (0.0, 1e30))
    with torch.no_grad():
        assert torch.equal(*(trunk.unroll(x, start, state._replace(memory=memory))[0] for memory in memories))


def test_without_a_compiler_torch_operations_do_it_and_say_so(monkeypatch):
    monkeypatch.setattr(build, "load", lambda _: None)
    monkeypatch.setattr(build, "why_not", lambda _: "There is no C++ compiler.")
    model = CLSTM(5, 4, ModelConfig(hidden_dim=32))
    said = engine.use_kernels(model, engine.FLOAT32)
    assert "torch operations" in said
    assert "no C++ compiler" in said
    assert model.actor_trunk.lstm.kernel is None
    with pytest.raises(ConfigError, match=r"no C.. compiler.*--precision float32"):
        engine.use_kernels(model, engine.BFLOAT16)
    assert engine.chosen(engine.AUTO, 64, torch.device("cpu"), 8) == engine.FLOAT32


@needs_compiler
def test_a_width_that_the_processor_does_not_take_is_left_to_torch_operations():
    model = CLSTM(5, 4, ModelConfig(hidden_dim=12))
    assert "hidden_dim=12 is no multiple of" in engine.use_kernels(model, engine.FLOAT32)
    assert model.actor_trunk.lstm.kernel is None


@needs_compiler
def test_what_cannot_be_compiled_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "broken.cpp").write_text("int main( {")
    (tmp_path / "vectors.h").write_text("")
    assert "failed on broken.cpp" in build.why_not("broken")
    assert build.load("broken") is None


@needs_compiler
def test_a_cache_that_others_may_write_to_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "clstm-options").mkdir(mode=0o777)
    (tmp_path / "clstm-options").chmod(0o777)
    assert build.cache_folder.__wrapped__() != tmp_path / "clstm-options"
