"""Kernels counted without a GPU, and the projection from them."""

import dataclasses
from collections import Counter

import pytest

from clstm_core.config import MarketConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.build.simulated import simulated_market
from clstm_core.specs import ACTIONS, OBSERVATION
from tools.bench import count, project

CONFIG = RunConfig(
    timesteps=10**6,
    device="cpu",
    market=MarketConfig(source="simulated", n_snapshots=220),
    model=ModelConfig(hidden_dim=16, attention_window=4),
    ppo=PPOConfig(n_envs=4, n_steps=4, bptt_steps=2, batch_size=8, extra_critic_epochs=2, evaluate_every=10**6),
)


@pytest.fixture(scope="module")
def counted():
    market = simulated_market(CONFIG.market, embargo=10)
    config = dataclasses.replace(CONFIG, env=dataclasses.replace(CONFIG.env, horizon=8))
    return count.counted(config, OptionsEnv(market, config.env, n_envs=4, window=(100, 180)))


def test_every_part_of_an_iteration_is_counted_as_often_as_it_comes(counted):
    parts, descend = counted
    assert {part.name: part.times for part in parts} == {
        "env step": 4,
        "actor step": 4,
        "rest of a walk's step": 4,
        "value pass of a chunk": 2,
        "joint minibatch, actor": 2,
        "joint minibatch, critic": 2,
        "critic minibatch": 4,
        "rest of an iteration": 1,
    }
    each = {part.name: part.kernels / part.times for part in parts}
    assert each["env step"] == int(each["env step"]) > 100
    assert each["critic minibatch"] == int(each["critic minibatch"]) > each["joint minibatch, critic"]
    assert descend.times == 8
    assert 0 < descend.kernels < sum(part.kernels for part in parts) / 10


def test_products_of_an_actor_s_step_by_hand(counted):
    parts, _ = counted
    actor = next(part for part in parts if part.name == "actor step")
    n, hidden, heads, window = 4, 16, CONFIG.model.n_heads, 4
    layers = [hidden * hidden] * (CONFIG.model.encoder_layers - 1) + [len(OBSERVATION) * hidden]
    lstm, folded = 2 * hidden * 4 * hidden, 4 * hidden * hidden
    looks = 2 * heads * window * hidden + window * hidden
    head = hidden * len(ACTIONS)
    assert actor.flops / actor.times == 2 * n * (sum(layers) + lstm + folded + looks + head)


def test_steps_of_layers_in_an_iteration():
    found = count.lstm_step(CONFIG)
    passes = 2 * 2 + 4  # two trunks in two joint minibatches, one in four of the critic's
    assert (found.forward_steps, found.backward_steps) == (passes * 2 + 4, passes * 2)
    assert 5 < found.forward < 15
    assert 5 < found.backward < 15


def test_a_projection_by_hand():
    parts = [
        project.Part("env step", 2, Counter({0: 10, 10**9: 2}), 0),
        project.Part("rest", 1, Counter({0: 100}), 10**9),
    ]
    lstm = project.LSTMStep(10, 5, 4, 2)
    way = project.Way("", 1e-6, "float32")
    memory = 2 * (1e9 / project.BANDWIDTH - 1e-6)
    found = project.seconds(way, parts, lstm, 3)
    assert (found.kernels, found.launches) == (112, pytest.approx(112e-6))
    assert found.memory == pytest.approx(memory)
    assert found.products == pytest.approx(1e9 / (project.FRACTION * project.PEAK["float32"]))
    found = project.seconds(way._replace(compiled=True), parts, lstm, 3)
    assert (found.kernels, found.launches, found.memory) == (106, pytest.approx(106e-6), 0)
    name = next(iter(project.LSTM_STEP))
    found = project.seconds(way._replace(compiled=True, lstm=name), parts, lstm, 3)
    assert (found.kernels, found.launches) == (106 - 44, pytest.approx(56e-6 + 6 * project.LSTM_STEP[name]))


def test_what_is_printed_says_that_it_is_a_projection(counted):
    parts, descend = counted
    lstm = count.lstm_step(CONFIG)
    told = project.projection(parts, lstm, 68, 16)
    assert "projection, nothing was measured on a GPU" in told[0]
    assert sum(line.startswith("| ") for line in told) == 1 + len(project.WAYS)
    without = project.projection(parts, lstm, None, 16)
    assert sum(line.startswith("| ") for line in without) == 1 + sum(not way.compiled for way in project.WAYS)
    rows = count.table(parts, descend, lstm, 68)
    assert any(row.startswith("| (env step, compiled for this CPU)") for row in rows)
