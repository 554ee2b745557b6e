"""The env's step as one compiled function: the same sessions, the same record, and no failure where it cannot be."""

import functools

import pytest
import torch

from clstm_core.config import EnvConfig, default_cpu, seed_100m, smoke
from clstm_core.env import compiled as compiled_env
from clstm_core.env.compiled import Compiled
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.protocol import EnvStep
from clstm_core.env.step import value_account
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.native import build
from clstm_core.options import price_kernel

N, STEPS = 6, 40


def envs(world: MarketTensors) -> tuple[OptionsEnv, OptionsEnv]:
    compiled, plain = (OptionsEnv(world, EnvConfig(horizon=8), n_envs=N, window=(0, 30)) for _ in range(2))
    compiled.compile()
    return compiled, plain


def envs_on_paths(dtype: torch.dtype) -> tuple[OptionsEnv, OptionsEnv]:
    """Tenors so short that what is held expires before an episode ends."""
    world = simulated_world(n_steps=40, near_days=7.0, far_days=14.0)
    compiled, plain = (OptionsEnv(world, EnvConfig(horizon=15), n_envs=N, dtype=dtype) for _ in range(2))
    compiled.compile()
    return compiled, plain


PRICED = {
    ("tables", torch.float32): set(),
    ("paths", torch.float32): {torch.float32, torch.float64},
    ("paths", torch.float64): {torch.float64},
}
"""What the price kernel is called with in every step: float64 for Greeks, float32 for scenarios."""


@pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize(
    ("kind", "backend", "dtype", "rtol"),
    [
        ("tables", "inductor", torch.float32, 1e-5),
        ("paths", "aot_eager", torch.float32, 1e-5),
        pytest.param("paths", "aot_eager", torch.float64, 1e-9, marks=pytest.mark.slow),
        pytest.param("paths", "inductor", torch.float32, 1e-5, marks=pytest.mark.slow),
    ],
)
def test_a_compiled_step_is_the_plain_one(kind, backend, dtype, rtol, world, monkeypatch):
    """On paths the whole graph as torch traces it, at once; its kernels take minutes to be made."""
    if backend != "inductor":
        monkeypatch.setattr(compiled_env, "_compiled", lambda f: torch.compile(f, fullgraph=True, backend=backend))
    priced: list[torch.dtype] = []
    rows = price_kernel._rows
    monkeypatch.setattr(price_kernel, "_rows", lambda kind, *given: priced.append(kind) or rows(kind, *given))
    compiled, plain = envs(world) if kind == "tables" else envs_on_paths(dtype)
    generator, mask = torch.Generator().manual_seed(0), plain.observe()[1]
    ended = expired = 0
    # a reward is told from two equities, each of which may round to its neighbour
    last_bits = 2 * torch.finfo(dtype).eps * plain.config.reward_scale * 1e4
    for step in range(STEPS):
        action = torch.multinomial(mask.float(), 1, generator=generator).squeeze(1)
        one, two = compiled.step(action), plain.step(action)
        for name, mine, theirs in zip(one._fields, one, two, strict=True):
            atol = 0.1 * rtol + (name == "reward") * last_bits
            torch.testing.assert_close(mine, theirs, rtol=rtol, atol=atol, msg=f"{name} at step {step}")
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(compiled.state_dict()[name], value, rtol=0.1 * rtol, atol=1e3 * rtol, msg=name)
        if step % 5 == 4 or step > STEPS - 3:
            for name, value in plain.last._asdict().items():
                torch.testing.assert_close(getattr(compiled.last, name), value, rtol=rtol, atol=1e3 * rtol, msg=name)
        mask, ended = two.action_mask, ended + int((two.terminated | two.truncated).sum())
        expired += int((plain.last.settlement_N != 0).sum())
    assert ended > N
    assert expired > 0 or kind == "tables"
    assert compiled._turn is not None
    assert compiled._turn.why_not == ""
    assert {kind for kind in priced if priced.count(kind) >= STEPS} == PRICED[kind, dtype]
    for one, two in zip(compiled.observe(), plain.observe(), strict=True):
        torch.testing.assert_close(one, two, rtol=rtol, atol=0.1 * rtol)
    # it goes on from where another stood
    compiled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(
        compiled.step(action).observation, plain.step(action).observation, rtol=rtol, atol=0.1 * rtol
    )


def rounding_otherwise(function):
    """A stand-in for what is compiled: the next VIX, and the sizes offered there, are not quite the plain ones."""

    def called(*given):
        now, standing, told = function(*given)
        if now is not None:
            state = now.point.state
            now = now._replace(point=now.point._replace(state=state._replace(vix=state.vix * (1.0 + 1e-6))))
        return now, standing._replace(size_NA=torch.where(standing.size_NA > 1, standing.size_NA - 1, 1.0)), told

    return called


@pytest.mark.parametrize("kind", ["tables", "paths"])
def test_a_compiled_env_goes_on_to_the_bit_where_it_was_kept(kind, world, monkeypatch):
    """An uncompiled walk there would round otherwise, and the policy would be trained on something else."""
    monkeypatch.setattr(compiled_env, "_compiled", rounding_otherwise)
    made = [envs(world) if kind == "tables" else envs_on_paths(torch.float32) for _ in range(2)]
    (first, plain), (second, _) = made
    generator = torch.Generator().manual_seed(0)

    def actions() -> torch.Tensor:
        return torch.multinomial(first.observe()[1].float(), 1, generator=generator).squeeze(1)

    for _ in range(5):
        first.step(actions())
    kept = first.state_dict()
    second.load_state_dict(kept)
    for _ in range(STEPS):
        action = actions()
        for name, mine, theirs in zip(EnvStep._fields, first.step(action), second.step(action), strict=True):
            assert torch.equal(mine, theirs), name
        for name, value in first.state_dict().items():
            assert torch.equal(value.nan_to_num(), second.state_dict()[name].nan_to_num()), name
    # accounts that somebody moved stand where they were moved to
    second.load_state_dict(kept | {"cash_N": kept["cash_N"] + 1e5, "equity_N": kept["equity_N"] + 1e5})
    assert torch.equal(second._standing.book.equity, value_account(second.view, second.config, second.state).equity)
    # who is not compiled takes the accounts alone
    plain.load_state_dict(kept)
    assert set(plain.state_dict()) < set(kept)


def test_what_cannot_be_compiled_is_called_as_it_is_and_says_so(monkeypatch):
    monkeypatch.setattr("clstm_core.env.compiled._compiled", lambda _: lambda *_: 1 / 0)
    function = Compiled(lambda x: x + 1)
    with pytest.warns(UserWarning, match="could not be compiled and runs slower: division by zero"):
        assert function(torch.tensor(1)) == 2
    assert function(torch.tensor(2)) == 3
    assert function.why_not == "division by zero"


def test_only_runs_that_are_long_enough_are_compiled():
    assert [recipe().compiles_env for recipe in (smoke, default_cpu, seed_100m)] == [False, False, True]


def test_many_envs_of_one_process_are_compiled_each(monkeypatch):
    """A study, a sweep and a walk-forward train one after the other; torch gives up a function at its ninth form."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))

    def compiled(number):
        return Compiled(lambda x: x * number)

    for number in range(20):
        function = compiled(number)
        for _ in range(2):
            assert function(torch.ones(2)).tolist() == [number, number]
        assert not function.why_not
