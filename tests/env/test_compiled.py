"""The env's step as one compiled function: the same sessions, the same record, and no failure where it cannot be."""

import pytest
import torch

from clstm_core.config import EnvConfig, default_cpu, seed_100m, smoke
from clstm_core.env.compiled import Compiled
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.tensors import MarketTensors
from clstm_core.native import build

N, STEPS = 6, 40


def envs(world: MarketTensors) -> tuple[OptionsEnv, OptionsEnv]:
    compiled, plain = (OptionsEnv(world, EnvConfig(horizon=8), n_envs=N, window=(0, 30)) for _ in range(2))
    compiled.compile()
    return compiled, plain


@pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")
def test_a_compiled_step_is_the_plain_one(world):
    compiled, plain = envs(world)
    generator, mask = torch.Generator().manual_seed(0), plain.observe()[1]
    ended = 0
    for step in range(STEPS):
        action = torch.multinomial(mask.float(), 1, generator=generator).squeeze(1)
        one, two = compiled.step(action), plain.step(action)
        for name, mine, theirs in zip(one._fields, one, two, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6, msg=f"{name} at step {step}")
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(compiled.state_dict()[name], value, rtol=1e-6, atol=1e-2, msg=name)
        mask, ended = two.action_mask, ended + int((two.terminated | two.truncated).sum())
    assert ended > N
    assert compiled._turn is not None
    assert compiled._turn.why_not == ""
    for name, value in plain.last._asdict().items():
        torch.testing.assert_close(getattr(compiled.last, name), value, rtol=1e-5, atol=1e-2, msg=name)
    # it goes on from where another stood
    compiled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(compiled.step(action).observation, plain.step(action).observation, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_compiled_is_called_as_it_is_and_says_so(monkeypatch):
    monkeypatch.setattr("clstm_core.env.compiled._compiled", lambda _: lambda *_: 1 / 0)
    function = Compiled(lambda x: x + 1)
    with pytest.warns(UserWarning, match="could not be compiled and runs slower: division by zero"):
        assert function(torch.tensor(1)) == 2
    assert function(torch.tensor(2)) == 3
    assert function.why_not == "division by zero"


def test_only_runs_that_are_long_enough_are_compiled():
    assert [recipe().compiles_env for recipe in (smoke, default_cpu, seed_100m)] == [False, False, True]
