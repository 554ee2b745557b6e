"""sb3-contrib's RecurrentPPO with an LSTM each for actor and critic and no other layer (`net_arch=[]`).

What differs: its sequences are whole episodes, cut only at a rollout's and a minibatch's end, up to 128 steps long and
padded to the longest; BPTT goes through all of them. It has no setting for 16 steps.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.vec_env import VecEnv

from tools.bench.task import ACTIONS, FEATURES, System, Task
from tools.bench.toy_env import ToyEnv


class ToyVecEnv(VecEnv):
    """The toy env as stable-baselines3 wants it: numpy views of its tensors, and a dict per env that ended."""

    def __init__(self, env: ToyEnv):
        self.env, self.render_mode = env, None
        box = spaces.Box(-np.inf, np.inf, (FEATURES,), np.float32)
        super().__init__(env.n_envs, box, spaces.Discrete(ACTIONS))
        self._quiet: list[dict[str, Any]] = [{} for _ in range(env.n_envs)]

    def reset(self) -> np.ndarray:
        return self.env.reset()[0].numpy()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = torch.from_numpy(actions)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        step = self.env.step(self._actions)
        truncated = step.truncated.numpy()
        done, infos = step.terminated.numpy() | truncated, self._quiet
        if done.any():
            infos, final = list(infos), step.final_observation.numpy()
            for n in np.flatnonzero(done):
                infos[n] = {"terminal_observation": final[n], "TimeLimit.truncated": bool(truncated[n])}
        return step.observation.numpy(), step.reward.numpy(), done, infos

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        return [getattr(self, method_name)(*args, **kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def build(task: Task, system: System) -> Callable[[], object]:
    """One iteration as `learn` does it, without its callbacks and logs."""
    model = RecurrentPPO(
        "MlpLstmPolicy",
        ToyVecEnv(ToyEnv(task.n_envs)),
        learning_rate=1e-4,
        n_steps=task.n_steps,
        batch_size=task.batch_size,
        n_epochs=1,
        clip_range=0.1,
        ent_coef=0.02,
        verbose=0,
        seed=0,
        device="cpu",
        policy_kwargs={
            "net_arch": [],
            "lstm_hidden_size": task.hidden,
            "shared_lstm": False,
            "enable_critic_lstm": True,
        },
    )
    _, callback = model._setup_learn(total_timesteps=10**12)

    def iterate() -> None:
        model.collect_rollouts(model.env, callback, model.rollout_buffer, n_rollout_steps=task.n_steps)
        model.train()

    return iterate
