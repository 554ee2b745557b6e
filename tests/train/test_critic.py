"""The trained critic's figures on each window, beside critics that have no skill."""

import dataclasses

import pytest

from clstm_core.config import EnvConfig, MarketConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.build.simulated import simulated_market
from clstm_core.train.critic import WINDOWS, critic_foresight
from clstm_core.train.loop import warm_start

CONFIG = RunConfig(
    recipe="test",
    timesteps=32 * 32,
    seed=1,
    device="cpu",
    env=EnvConfig(horizon=21),
    model=ModelConfig(hidden_dim=16, attention_window=4),
    ppo=PPOConfig(n_envs=32, n_steps=32, batch_size=256, bptt_steps=16),
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    market = simulated_market(MarketConfig(source="simulated", n_snapshots=700, seed=3), embargo=21)
    folder = tmp_path_factory.mktemp("critic")
    env = OptionsEnv(market, CONFIG.env, n_envs=32, seed=1, window=market.split("train"))
    warm_start(CONFIG, env, run_dir=folder)
    return critic_foresight(folder / "checkpoints" / "000", market, CONFIG), market, folder


def test_every_window_has_a_figure_per_span(judged):
    rows, _, _ = judged
    assert {(row.window, row.span) for row in rows} == {(w, k) for w in WINDOWS for k in (1, 5, 21)}
    assert all(row.pairs > 200 for row in rows)


def test_critics_without_skill_score_nothing(judged):
    for row in judged[0]:
        assert abs(row.constant) <= 1e-3
        assert row.per_episode <= 0.02
        assert row.shuffled <= 0.02
        assert abs(row.shuffled_correlation) <= 0.05


def test_figures_come_again_from_the_same_seed(judged):
    rows, market, folder = judged
    again = critic_foresight(folder / "checkpoints" / "000", market, CONFIG, windows=("train",))
    assert [dataclasses.asdict(row) for row in again] == [
        dataclasses.asdict(row) for row in rows if row.window == "train"
    ]
