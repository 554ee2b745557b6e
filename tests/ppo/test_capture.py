"""What a GPU would be given, told without one: nothing asks it for a number, and every round is the same operations."""

from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch

from clstm_core.config import EnvConfig, MarketConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.env import generated_view
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.ppo import rollout as rollout_module
from clstm_core.ppo import update as update_module
from clstm_core.ppo.learner import Learner
from tools.bench.operations import META, Recorder, as_on_a_gpu, meta_learner, parted

KINDS = {"dual": {}, "single trunk": {"dual_trunk": False}, "no attention": {"use_attention": False}}
N_STEPS, MINIBATCHES, EXTRA_EPOCHS = 4, 2, 2
BY_THE_HOST = {"fill_", "full"}
"""Operations by which an iteration's own numbers reach the device, outside of what would be captured."""


@pytest.fixture(scope="module")
def market():
    return simulated_market(MarketConfig(source="simulated", n_snapshots=220), embargo=10)


@pytest.fixture(scope="module", params=KINDS)
def told(request, market):
    """Every operation of three iterations; the first walks twice and looks at held-out envs."""
    ppo = {"n_envs": 4, "n_steps": N_STEPS, "bptt_steps": 2, "batch_size": 4 * N_STEPS // MINIBATCHES}
    config = RunConfig(
        timesteps=10**6,
        device="cpu",
        env=EnvConfig(horizon=8),
        model=ModelConfig(hidden_dim=16, attention_window=4, **KINDS[request.param]),
        ppo=PPOConfig(**ppo, extra_critic_epochs=EXTRA_EPOCHS, evaluate_every=10**6),
    )
    windows = {4: (100, 180), 2: (180, 220)}
    envs = (OptionsEnv(market, config.env, n_envs=n, window=window) for n, window in windows.items())
    iterations = []
    with as_on_a_gpu():
        learner, recorder = meta_learner(config, *envs), Recorder()
        with parted(recorder, learner), recorder:
            for _ in range(3):
                before = len(recorder.operations)
                learner.iterate()
                iterations.append(recorder.operations[before:])
    return SimpleNamespace(kind=request.param, iterations=iterations, waits=recorder.waits)


def test_nothing_waits_for_the_device(told):
    assert told.waits == []


def test_every_iteration_is_the_same_operations_of_the_same_shapes(told):
    _, earlier, later = told.iterations
    assert [alike(operation) for operation in earlier] == [alike(operation) for operation in later]


def test_an_iteration_s_own_numbers_lie_on_the_device(told):
    """A captured graph repeats the plain numbers that it was captured with."""
    _, earlier, later = told.iterations
    changed = {a.name for a, b in zip(earlier, later, strict=True) if repr(a.numbers) != repr(b.numbers)}
    assert changed == BY_THE_HOST


def test_every_step_of_the_walk_and_every_minibatch_is_the_same_operations(told):
    last, two = told.iterations[-1], told.kind != "single trunk"
    for part, pieces in {
        ("walk", "env step"): N_STEPS,
        ("walk", "actor"): N_STEPS,
        ("update", "extra_epochs"): MINIBATCHES * EXTRA_EPOCHS,
        ("update", "fit_critic"): MINIBATCHES * two,
    }.items():
        found = [alike(operation) for operation in last if operation.parts[:2] == part]
        assert bool(found) == bool(pieces)
        assert found == found[: len(found) // max(pieces, 1)] * pieces


@pytest.mark.parametrize("fair", [False, True])
def test_generated_paths_are_walked_without_waiting_too(monkeypatch, fair):
    monkeypatch.setattr(generated_view, "arrive", generated_view.begin)  # where accounts stand first: once, not a step
    world = simulated_world(n_steps=60, fair=fair)
    env, recorder = OptionsEnv(world, EnvConfig(horizon=8), n_envs=4, device=META), Recorder()
    action, steps = torch.zeros(4, dtype=torch.int64, device=META), []
    with recorder:
        for _ in range(2):
            before = len(recorder.operations)
            env.step(action)
            steps.append([alike(operation) for operation in recorder.operations[before:]])
    assert recorder.waits == []
    assert steps[0] == steps[1]


def alike(operation):
    """What is the same each time."""
    return operation.name, operation.parts, operation.shapes


WAITS = {
    "item": lambda x: x.sum().item(),
    "branch": lambda x: bool(x.sum() > 0),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "write by mask": lambda x: x.index_put_((x > 0,), x.new_zeros(())),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: x.copy_(torch.zeros(4)),
    "new_tensor": lambda x: x.new_tensor(1.0),
    "tensor": lambda x: torch.tensor([1.0], device=META),
    "index on the host": lambda x: x[torch.arange(2)],
}


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_is_found(name):
    x, recorder = torch.zeros(4, device=META), Recorder()
    with suppress(RuntimeError, NotImplementedError), recorder:  # the meta device has no numbers to tell
        WAITS[name](x)
    assert len(recorder.waits) == 1


def test_looking_ahead_from_every_step_gives_the_values_that_the_walk_s_own_steps_have(toys, tiny, monkeypatch):
    def values():
        learner = Learner(tiny(), toys.NoiseEnv(8, seed=1, length=6), threads=1)
        learner.iterate()
        return learner.rollout.next_value.clone()

    few = values()
    monkeypatch.setattr(rollout_module, "_seams", rollout_module._every_step)
    torch.testing.assert_close(values(), few, rtol=1e-5, atol=1e-6)


def test_numbers_of_an_iteration_as_tensors_teach_the_same(toys, tiny, monkeypatch):
    def rows():
        learner = Learner(tiny(target_kl=0.01), toys.NoiseEnv(8, seed=1), threads=1)
        return learner, [learner.iterate() for _ in range(4)]

    _, plain = rows()
    monkeypatch.setattr(update_module, "of_iteration", lambda number, device: torch.full((), number, device=device))
    learner, found = rows()
    rate = learner.optimizers.actor.param_groups[0]["lr"]
    assert isinstance(rate, torch.Tensor)
    learner.restore(learner.model.state_dict(), learner.state(), learner.facts())
    learner.iterate()
    assert isinstance(learner.optimizers.actor.param_groups[0]["lr"], torch.Tensor)
    for row, wanted in zip(found, plain, strict=True):
        kept = {name: value for name, value in wanted.items() if value is not None}
        assert {name: row[name] for name in kept} == pytest.approx(kept, rel=1e-4, abs=1e-6)
