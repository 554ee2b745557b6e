"""rl_games' a2c_discrete with an LSTM each for actor and critic (`separate`) and no other layer (`units: []`).

The toy env hands it tensors, its fastest way; nothing is written. What differs: minibatches are not shuffled, and the
truncated steps are bootstrapped with the value before the step. `rl_games_no_resets` leaves `zero_rnn_on_done` off: an
episode's memory then runs on into the next, which spares it cutting a minibatch wherever any of its sequences ends.
"""

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from rl_games.common.algo_observer import AlgoObserver
from rl_games.common.ivecenv import IVecEnv
from rl_games.torch_runner import Runner

from tools.bench.task import ACTIONS, FEATURES, System, Task
from tools.bench.toy_env import ToyEnv


class ToyVecEnv(IVecEnv):
    """The toy env as rl_games wants it."""

    def __init__(self, env: ToyEnv):
        self.env = env

    def reset(self) -> torch.Tensor:
        return self.env.reset()[0]

    def step(self, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        step = self.env.step(actions)
        done = step.terminated | step.truncated
        return step.observation, step.reward, done, {"time_outs": step.truncated}


def build(task: Task, system: System) -> Callable[[], object]:
    """One iteration as `train` does it, without its prints, summaries and checkpoints."""
    folder = tempfile.TemporaryDirectory()
    runner = Runner(AlgoObserver())
    runner.load({"params": params(task, folder.name, resets=system.name == "rl_games")})
    runner.params["config"] |= {"vec_env": ToyVecEnv(ToyEnv(task.n_envs))}
    agent = runner.algo_factory.create(runner.algo_name, base_name="run", params=runner.params)
    agent.init_tensors()
    agent.obs = agent.env_reset()

    def iterate(_folder: Any = folder) -> None:
        agent.update_epoch()
        agent.train_epoch()
        agent.dataset.update_values_dict(None)

    return iterate


def params(task: Task, folder: str, *, resets: bool) -> dict[str, Any]:
    """The task as rl_games' configuration."""
    box = spaces.Box(-np.inf, np.inf, (FEATURES,), np.float32)
    return {
        "seed": 0,
        "torch_threads": task.threads,
        "algo": {"name": "a2c_discrete"},
        "model": {"name": "discrete_a2c"},
        "network": {
            "name": "actor_critic",
            "separate": True,
            "space": {"discrete": None},
            "mlp": {"units": [], "activation": "None", "initializer": {"name": "default"}},
            "rnn": {"name": "lstm", "units": task.hidden, "layers": 1, "before_mlp": False},
        },
        "config": {
            "name": "toy",
            "env_name": "toy",
            "env_info": {"observation_space": box, "action_space": spaces.Discrete(ACTIONS), "agents": 1},
            "device": "cpu",
            "train_dir": folder,
            "print_stats": False,
            "reward_shaper": {"scale_value": 1.0},
            "num_actors": task.n_envs,
            "horizon_length": task.n_steps,
            "minibatch_size": task.batch_size,
            "mini_epochs": 1,
            "seq_length": task.bptt_steps,
            "zero_rnn_on_done": resets,
            "gamma": 0.99,
            "tau": 0.95,
            "learning_rate": 1e-4,
            "lr_schedule": None,
            "e_clip": 0.1,
            "clip_value": False,
            "critic_coef": 1.0,
            "entropy_coef": 0.02,
            "truncate_grads": True,
            "grad_norm": 0.5,
            "normalize_advantage": True,
            "normalize_input": False,
            "normalize_value": False,
            "value_bootstrap": True,
        },
    }
