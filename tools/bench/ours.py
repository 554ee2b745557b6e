"""clstm_core's own learner: two trunks, or one for both; no encoder and no attention, as the peers have none."""

from collections.abc import Callable

import torch

from clstm_core.config import ModelConfig, PPOConfig, RunConfig
from clstm_core.native.memory import keep_freed_memory
from clstm_core.native.products import faster_products
from clstm_core.ppo.learner import Learner
from tools.bench.task import System, Task
from tools.bench.toy_env import ToyEnv

NEVER = 10**6
"""Iterations: more than are measured."""


def build(task: Task, system: System) -> Callable[[], object]:
    """One iteration of `Learner`: one joint epoch, no extra one of the critic, no look at held-out envs.

    Assumes: of two cores the learner takes the second itself, with one torch thread on each
    """
    torch.set_num_threads(1)
    faster_products()  # both as every training process does
    keep_freed_memory()
    return Learner(config(task, system.trunks), ToyEnv(task.n_envs), threads=task.threads).iterate


def config(task: Task, trunks: int) -> RunConfig:
    """The task in our own words."""
    return RunConfig(
        timesteps=NEVER * task.env_steps,
        precision=task.precision,
        model=ModelConfig(hidden_dim=task.hidden, encoder_layers=0, use_attention=False, dual_trunk=trunks == 2),
        ppo=PPOConfig(
            n_envs=task.n_envs,
            n_steps=task.n_steps,
            batch_size=task.batch_size,
            bptt_steps=task.bptt_steps,
            policy_epochs=1,
            extra_critic_epochs=0,
            evaluate_every=NEVER,
        ),
    )
