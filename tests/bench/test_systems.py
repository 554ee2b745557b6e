"""The toy env, and the systems that need nothing but torch, at tiny sizes."""

import json

import pytest
import torch

from tools.bench import worker
from tools.bench.peers.cleanrl_style import CleanRLStyle
from tools.bench.peers.puffer_style import PufferStyle, segments
from tools.bench.task import SYSTEMS, Task, gflops, multiply_adds
from tools.bench.toy_env import ToyEnv

TINY = {"hidden": 8, "n_envs": 4, "n_steps": 16, "batch_size": 32, "bptt_steps": 8}


def test_episodes_end_at_their_own_times_inside_sequences():
    env, steps = ToyEnv(64, seed=1), 1000
    env.reset()
    walked = [env.step(torch.zeros(64, dtype=torch.int64)) for _ in range(steps)]
    terminated, truncated = (torch.stack([getattr(step, name) for step in walked]) for name in EnvEnds)
    done = terminated | truncated
    assert not (terminated & truncated).any()
    assert 0.3 < terminated.sum() / done.sum() < 0.7
    lengths = torch.cat([done[:, n].nonzero().squeeze(1).diff() for n in range(64)])
    assert (int(lengths.min()), int(lengths.max())) == (96, 160)
    assert len(done[:128].any(dim=1).nonzero()) > 40  # in a rollout, resets fall on many steps
    assert len({int(t) % 16 for t in done.nonzero()[:, 0]}) == 16
    for step, ended in zip(walked, done, strict=True):
        assert torch.equal(step.observation[~ended], step.final_observation[~ended])
        assert not (step.observation[ended] == step.final_observation[ended]).any()


EnvEnds = ("terminated", "truncated")


def test_the_reward_is_the_feature_that_the_action_names_and_a_saved_env_goes_on_as_it_was():
    env, other = ToyEnv(4), ToyEnv(4)
    seen, mask = env.reset()
    assert mask is None
    action = torch.tensor([0, 7, 3, 3])
    assert torch.equal(env.step(action).reward, seen[torch.arange(4), action])
    other.load_state_dict(env.state_dict())
    for _ in range(200):
        assert all(a is b or torch.equal(a, b) for a, b in zip(env.step(action), other.step(action), strict=True))


def test_multiply_adds_of_a_step_by_hand():
    trunk = 4 * 64 * (64 + 64)
    assert multiply_adds(64, trunks=2) == 4 * (2 * trunk + 64 * 8 + 64)
    assert multiply_adds(64, trunks=1) == 4 * (trunk + 64 * 8 + 64)
    assert gflops(1e9, 64, 1) == pytest.approx(2 * multiply_adds(64, 1))


@pytest.mark.parametrize("name", ["ours", "ours_single", "cleanrl_style", "puffer_style"])
def test_a_worker_prints_rates_and_nothing_else(name, capsys):
    flags = [part for key, value in TINY.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    assert worker.main(["--system", name, "--seconds", "0", "--warmup", "1", *flags]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"median", "best", "torch"}
    assert 0 < found["median"] <= found["best"]


@pytest.mark.parametrize("kind", [CleanRLStyle, PufferStyle])
def test_the_loops_of_our_own_move_every_weight(kind):
    loop = kind(Task(**TINY))
    before = [parameter.clone() for parameter in loop.model.parameters()]
    loop.iterate()
    assert all(not torch.equal(old, new) for old, new in zip(before, loop.model.parameters(), strict=True))
    assert all(torch.isfinite(parameter).all() for parameter in loop.model.parameters())


def test_the_cleanrl_style_forgets_where_an_episode_starts_and_nowhere_else():
    loop = CleanRLStyle(Task(**TINY))
    observation, start = torch.randn(6, 3, 64), torch.zeros(6, 3)
    state = (torch.randn(1, 3, 8), torch.randn(1, 3, 8))
    with torch.no_grad():
        assert torch.allclose(loop.unroll(observation, start, state), loop.model.lstm(observation, state)[0], atol=1e-6)
        start[2] = 1
        fresh = loop.model.lstm(observation[2:])[0]
        assert torch.allclose(loop.unroll(observation, start, state)[2:], fresh, atol=1e-6)


def test_segments_keep_their_steps_in_order():
    value = torch.arange(8).unsqueeze(1) + torch.tensor([0, 100])  # [T=8, N=2]
    columns = {tuple(column.tolist()) for column in segments(value, 4).t()}
    assert columns == {(0, 1, 2, 3), (4, 5, 6, 7), (100, 101, 102, 103), (104, 105, 106, 107)}


def test_every_peer_is_compared_with_ours_of_as_many_trunks():
    rivals = {name: system.rival for name, system in SYSTEMS.items()}
    assert rivals["sb3"] == rivals["rl_games"] == "ours"
    assert rivals["cleanrl_style"] == rivals["puffer_style"] == "ours_single"
    assert all(SYSTEMS[name].is_ours == (name in ("ours", "ours_single")) for name in SYSTEMS)


def test_the_roofline_is_a_rate():
    for dtype in (torch.float32, torch.bfloat16):
        assert worker.roofline(dtype, 0.0, shapes=((8, 16, 32),)) > 0
