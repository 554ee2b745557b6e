"""The named recipes: what a run is made with unless somebody says otherwise."""

from clstm_core.config.env import EnvConfig
from clstm_core.config.model import ModelConfig
from clstm_core.config.ppo import PPOConfig
from clstm_core.config.run import RunConfig
from clstm_core.config.worlds import WorldsConfig


def seed_100m() -> RunConfig:
    """The published command to the letter; its flags mean BPTT over 16 steps with stored states here."""
    return RunConfig(recipe="seed_100m", precision="auto")


WORLDS = WorldsConfig(historical=1.0)
"""Training days drawn one by one. What is rewarded raw (blocks, the days as they came) would drown the rest in its
noise even at a twentieth of all episodes, and a square-root variance rises from calm markets as no history did: these
families are left to judge in, since training never meets them."""

CAUTIOUS = EnvConfig(horizon=126, reward="log_growth", risk_aversion=60.0, expected_reward=True)
"""Half a year per episode, so that crashes happen inside; the reward is growth, less what nobody could expect of it. At
this aversion risk costs a third of what the policy earns: at a lower one it takes the premium and hedges less, for less
per unit of risk."""


def steady_100m() -> RunConfig:
    """A hundred million steps in worlds that never repeat; sizes are the published run's."""
    return RunConfig(
        recipe="steady_100m",
        precision="auto",
        env=CAUTIOUS,
        worlds=WORLDS,
        model=ModelConfig(hold_bias=2.0),
        ppo=PPOConfig(
            gamma=0.95,
            actor_lr_floor=1.0,  # target_kl alone sets it: what anneals besides stops moving the policy half way
            critic_lr_floor=0.2,
            entropy_start=0.03,
            entropy_end=0.001,
            target_kl=0.012,
        ),
    )


def default_cpu() -> RunConfig:
    """What `make demo` trains: minutes on two cores."""
    return RunConfig(
        recipe="default_cpu",
        timesteps=1_000_000,
        env=CAUTIOUS,
        worlds=WORLDS,
        model=ModelConfig(hidden_dim=64, hold_bias=2.0),
        ppo=PPOConfig(
            n_envs=128,
            n_steps=64,
            batch_size=1024,
            policy_epochs=3,  # the reward has little noise left: a rollout tells more than one pass takes from it
            extra_critic_epochs=2,
            actor_lr=1e-3,  # few updates: the published 1e-4 moves the policy by a KL of 1e-6 an iteration here
            critic_lr=1e-3,
            actor_lr_floor=1.0,  # target_kl alone sets it
            critic_lr_floor=0.2,
            entropy_start=0.03,  # who waits at first must try enough to find what pays in one regime alone
            entropy_end=0.001,
            gamma=0.95,  # what is held is a month's; further ahead there is noise alone
            target_kl=0.012,
            evaluate_every=5,
        ),
    )


def smoke() -> RunConfig:
    """Seconds: five iterations of a tiny model, so that tests walk the whole chain."""
    return RunConfig(
        recipe="smoke",
        timesteps=5 * 16 * 16,
        env=EnvConfig(horizon=21),
        model=ModelConfig(hidden_dim=16, attention_window=4),
        ppo=PPOConfig(n_envs=16, n_steps=16, batch_size=64, bptt_steps=8, extra_critic_epochs=1),
    )


RECIPES = {"seed_100m": seed_100m, "steady_100m": steady_100m, "default_cpu": default_cpu, "smoke": smoke}
