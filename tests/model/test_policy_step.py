"""The step that every user of a policy takes: it remembers as training's rollout did, and a NaN leaves no trace."""

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.env.protocol import EnvStep
from clstm_core.errors import ConfigError
from clstm_core.model.clstm import CLSTM
from clstm_core.model.policy_step import PolicyStep
from clstm_core.ppo.rollout import begin, collect
from clstm_core.ppo.storage import Rollout

FEATURES, ACTIONS, ENVS, STEPS, MEMORY = 6, 5, 3, 24, 7
KINDS = {"dual": {}, "shared": {"dual_trunk": False}, "no_attention": {"use_attention": False}}


class ReplayEnv:
    """The same observations whatever is done; every episode is cut off after `MEMORY` steps."""

    n_envs, observation_size, n_actions, device = ENVS, FEATURES, ACTIONS, torch.device("cpu")

    def __init__(self):
        generator = torch.Generator().manual_seed(5)
        self.observation = torch.randn(STEPS + 1, ENVS, FEATURES, generator=generator)
        self.mask = torch.rand(STEPS + 1, ENVS, ACTIONS, generator=generator) < 0.7
        self.mask[..., 0] = True

    def reset(self):
        self.t = 0
        return self.observation[0], self.mask[0]

    def step(self, action):
        self.t += 1
        never = torch.zeros(ENVS, dtype=torch.bool)
        cut = torch.full((ENVS,), self.t % MEMORY == 0)
        here = self.observation[self.t]
        return EnvStep(here, torch.zeros(ENVS), never, cut, here, self.mask[self.t])


def model_of(kind="dual"):
    torch.manual_seed(0)
    model = CLSTM(FEATURES, ACTIONS, ModelConfig(hidden_dim=8, attention_window=3, **KINDS[kind])).eval()
    with torch.no_grad():
        model.policy_head.weight.mul_(100)
    return model


@torch.no_grad()
def walked(step, env, steps=STEPS):
    """Every output of the step over the env's observations, its own state handed back each time."""
    state, found = step.initial_state(ENVS), []
    for t in range(steps):
        outputs = step(env.observation[t], env.mask[t], *state)
        state = outputs[len(outputs) - len(state) :]
        found.append(outputs)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_decides_and_values_as_trainings_rollout_on_the_same_path(kind):
    model, env = model_of(kind), ReplayEnv()
    rollout = Rollout.allocate(model, env, n_steps=STEPS, bptt_steps=STEPS)
    collect(model, env, begin(model, env), rollout, generator=torch.Generator().manual_seed(1))
    assert rollout.truncated.sum() == ENVS * (STEPS // MEMORY)
    for t, (logits, value, *_) in enumerate(walked(PolicyStep(model, MEMORY, critic=True), env)):
        log_prob = logits.log_softmax(dim=1).gather(1, rollout.action[t].unsqueeze(1)).squeeze(1)
        assert torch.equal(log_prob, rollout.log_prob[t]), t
        torch.testing.assert_close(value, rollout.value[t], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_lay_before_the_last_forgetting_changes_nothing(kind):
    model, one, other = model_of(kind), ReplayEnv(), ReplayEnv()
    other.observation[: 2 * MEMORY] += 1.0
    step = PolicyStep(model, MEMORY, critic=True)
    ours, theirs = walked(step, one), walked(step, other)
    assert not torch.equal(ours[2 * MEMORY - 1][0], theirs[2 * MEMORY - 1][0])
    for a, b in zip(ours[2 * MEMORY :], theirs[2 * MEMORY :], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_longer_memory_decides_otherwise_so_that_carrying_it_is_noticed():
    model, env = model_of(), ReplayEnv()
    ours, carried = (walked(PolicyStep(model, memory, critic=False), env) for memory in (MEMORY, STEPS + 1))
    differs = [not torch.equal(a[0], b[0]) for a, b in zip(ours, carried, strict=True)]
    assert not any(differs[:MEMORY])
    assert all(differs[MEMORY:])


def test_the_age_counts_and_starts_anew():
    ages = [int(outputs[-1][0]) for outputs in walked(PolicyStep(model_of(), MEMORY, critic=False), ReplayEnv())]
    assert ages == [t % MEMORY + 1 for t in range(STEPS)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_bad_observation_decides_nothing_and_leaves_the_memory_of_its_account_alone(value):
    model, env = model_of(), ReplayEnv()
    step = PolicyStep(model, MEMORY, critic=True)
    state = walked(step, env, 5)[-1][2:]
    bad = env.observation[5].clone()
    bad[1, 2] = value
    with torch.no_grad():
        logits, values, *after = step(bad, env.mask[5], *state)
        sound, _, *usual = step(env.observation[5], env.mask[5], *state)
    assert logits[1].isnan().all()
    assert values[1].isnan()
    assert torch.equal(logits[[0, 2]], sound[[0, 2]])
    for before, mine, theirs in zip(state, after, usual, strict=True):
        assert torch.equal(mine[1], before[1])
        assert torch.equal(mine[[0, 2]], theirs[[0, 2]])


def test_a_poisoned_state_is_forgotten_with_the_rest():
    step, env = PolicyStep(model_of(), MEMORY, critic=False), ReplayEnv()
    *state, age = step.initial_state(ENVS)
    poisoned = [part + float("nan") if part.is_floating_point() else part for part in state]
    with torch.no_grad():
        logits, *_ = step(env.observation[0], env.mask[0], *poisoned, age + MEMORY)
    assert logits.isfinite().all()


def test_a_memory_of_no_decision_is_refused():
    with pytest.raises(ConfigError, match="memory_sessions=0: expected at least 1"):
        PolicyStep(model_of(), 0, critic=False)
