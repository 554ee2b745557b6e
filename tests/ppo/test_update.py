"""Updates: ratio 1 before the first, the right parameters move, and what cannot be finite is noticed."""

import pytest
import torch
from safetensors.torch import load_file

from clstm_core.config import ModelConfig, PPOConfig
from clstm_core.errors import ConfigError, NonFiniteError
from clstm_core.ppo.learner import Learner
from clstm_core.ppo.losses import policy_loss
from clstm_core.ppo.rollout import collect
from clstm_core.ppo.storage import sequences
from clstm_core.ppo.update import minibatches, update


@pytest.fixture
def learner(toys, tiny):
    config = tiny()
    return Learner(config, toys.NoiseEnv(config.ppo.n_envs, length=6))


def walk(learner):
    learner.carry = collect(learner.model, learner.env, learner.carry, learner.rollout, generator=learner.generator)
    return learner.rollout


def test_ratio_is_one_before_the_first_update(learner):
    learner.model.policy_head.weight.data *= 100
    walk(learner)
    data = sequences(walk(learner))
    logits, value, _ = learner.model.unroll(data.observation, data.mask, data.start, data.state)
    found = policy_loss(logits, data.action, data.log_prob, torch.ones_like(data.value), data.free, clip_epsilon=1e-4)
    assert found.clip_fraction == 0
    assert found.approx_kl < 1e-9
    torch.testing.assert_close(value, data.value, atol=1e-5, rtol=0)


def test_minibatches_are_whole_sequences_each_once(learner):
    data = sequences(walk(learner))
    parts = minibatches(data, 4, learner.generator)
    assert [len(part) for part in parts] == [4, 4, 4, 4]
    assert sorted(torch.cat(parts).tolist()) == list(range(16))


def moved_by(learner, **settings):
    ppo = PPOConfig(**{name: getattr(learner.config.ppo, name) for name in PPOConfig.__slots__} | settings)
    data = sequences(walk(learner))
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    advantage = torch.randn(data.value.shape, generator=torch.Generator().manual_seed(3))
    learnt = update(
        learner.model,
        learner.optimizers,
        data,
        advantage,
        data.value + 1,
        ppo,
        entropy_coef=0.0,
        generator=learner.generator,
        helper=learner._helper,
    )
    learnt()
    return {n.split(".")[0] for n, v in learner.model.state_dict().items() if not torch.equal(v, before[n])}


def test_extra_critic_epochs_move_the_critic_alone(learner):
    assert moved_by(learner, policy_epochs=0, extra_critic_epochs=2) == {"critic_trunk", "value_head"}


def test_policy_epochs_move_everything(learner):
    rooms = {"encoder", "actor_trunk", "policy_head", "critic_trunk", "value_head"}
    assert moved_by(learner, policy_epochs=1, extra_critic_epochs=0) == rooms


def test_a_rollout_without_a_choice_leaves_the_actor_alone(toys, tiny):
    config = tiny()
    env = toys.RecallEnv(config.ppo.n_envs, length=10)
    env.mask = lambda: torch.tensor([True, False]).expand(env.n_envs, -1)
    assert moved_by(Learner(config, env)) == {"critic_trunk", "value_head"}


def test_diagnostics_are_all_there_and_sane(learner):
    first = learner.iterate()
    assert first["entropy_pct"] == 100
    assert first["approx_kl"] >= 0
    assert 0 < first["episode_length"] <= 6
    assert first["full_unroll_kl"] is not None
    assert first["actor_lr"] == 1e-4
    second = learner.iterate()
    assert second["full_unroll_kl"] is None
    assert second["actor_lr"] == pytest.approx(1e-4 * 5 / 6)
    assert second["entropy_coef"] == pytest.approx(0.02 - 0.015 / 6)


def test_heldout_envs_are_measured_and_do_not_change_training(toys, tiny):
    config = tiny()
    alone = Learner(config, toys.NoiseEnv(8))
    watched = Learner(config, toys.NoiseEnv(8), toys.NoiseEnv(4, seed=9))
    for _ in range(3):
        plain, seen = alone.iterate(), watched.iterate()
    assert seen["heldout_bootstrapped_explained_variance"] is not None
    assert seen["heldout_explained_variance_1"] is not None
    assert {k: v for k, v in seen.items() if not k.startswith("heldout_")} == {
        k: v for k, v in plain.items() if not k.startswith("heldout_")
    }


def test_adaptive_learning_rate_follows_the_kl(toys, tiny):
    config = tiny(target_kl=1e9, actor_lr_floor=1.0)
    learner = Learner(config, toys.NoiseEnv(8))
    assert [learner.iterate()["actor_lr"] for _ in range(3)] == pytest.approx([1e-4, 1.5e-4, 2.25e-4])


@pytest.mark.parametrize("kind", [{"use_attention": False}, {"dual_trunk": False}])
def test_ablations_train(toys, tiny, kind):
    config = tiny(model=ModelConfig(hidden_dim=16, attention_window=4, **kind))
    learner = Learner(config, toys.NoiseEnv(8))
    learner.warm_up()
    rows = [learner.iterate() for _ in range(2)]
    assert all(row["value_grad_norm"] > 0 and row["policy_grad_norm"] > 0 for row in rows)


def test_a_loss_that_is_not_finite_names_iteration_and_saves_the_batch(learner, tmp_path):
    learner.iterate()
    act = learner.env.act

    def poisoned(action):
        reward, ends = act(action)
        reward[3] = float("nan")
        return reward, ends

    learner.env.act = poisoned
    learner.iterate()  # learns from what was walked before, and walks what is poisoned
    with pytest.raises(NonFiniteError, match=r"iteration 3, minibatch 0.*non_finite_3\.safetensors"):
        learner.iterate(crash_dir=tmp_path)
    saved = load_file(tmp_path / "non_finite_3.safetensors")
    assert saved["observation"].shape == (8, 4, 4)
    assert saved["state.actor_h"].shape == (4, 16)


def test_wrong_number_of_envs_is_a_sentence(toys, tiny):
    with pytest.raises(ConfigError, match="the env has 4 envs, the configuration n_envs=8"):
        Learner(tiny(), toys.NoiseEnv(4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 4000, "bptt_steps": 128}, "cuts sequences: bptt_steps=128 gives 31.25 sequences.*e.g. 3968"),
        ({"batch_size": 4080}, "does not divide the rollout: n_envs=1024 x n_steps=128"),
        ({"bptt_steps": 24}, "bptt_steps=24 cuts the rollout"),
    ],
)
def test_batch_sizes_that_cut_sequences_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        PPOConfig(**settings)
