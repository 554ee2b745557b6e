"""What the tests of several ranks run in each of them; as a script, the command line on toy envs, for `torchrun`."""

import dataclasses
import importlib.util
import os
import sys
from pathlib import Path

import torch

from clstm_core.config import EnvConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.errors import NonFiniteError
from clstm_core.ppo.adam import Adam
from clstm_core.ppo.learner import Learner
from clstm_core.ppo.ranks import ALONE, Ranks, joined
from clstm_core.train.command import main
from clstm_core.train.loop import train

spec = importlib.util.spec_from_file_location("toys", Path(__file__).parents[1] / "conftest.py")
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)

SETTINGS = {"n_envs": 8, "n_steps": 16, "batch_size": 32, "bptt_steps": 8, "extra_critic_epochs": 1}


def config(iterations=6, *, dual_trunk=True, **ppo):
    settings = PPOConfig(**(SETTINGS | {"evaluate_every": 2, "checkpoint_every": 2} | ppo))
    return RunConfig(
        recipe="test",
        timesteps=iterations * settings.samples_per_iteration,
        device="cpu",
        env=EnvConfig(),
        model=ModelConfig(hidden_dim=16, attention_window=4, dual_trunk=dual_trunk),
        ppo=settings,
    )


class Share:
    """Some of a toy's envs: it walks all of them, so that their common random stream is what it is for one process."""

    def __init__(self, env, ranks):
        self.n_envs = env.n_envs // ranks.size
        self._env, self._mine = env, slice(self.n_envs * ranks.rank, self.n_envs * (ranks.rank + 1))

    def __getattr__(self, name):
        return getattr(self._env, name)

    def reset(self):
        observation, mask = self._env.reset()
        return observation[self._mine], mask[self._mine]

    def step(self, action):
        of_all = torch.zeros(self._env.n_envs, dtype=action.dtype)
        of_all[self._mine] = action
        return type(step := self._env.step(of_all))(*(part[self._mine] for part in step))


class ChoiceEnv(toys.NoiseEnv):
    """The same with a reward of 1 for one of the three actions: learnt in a few iterations."""

    def act(self, action):
        reward, ends = super().act(action)
        return torch.zeros_like(reward) + (action == 1), ends


def envs(config, _, ranks, kind=toys.NoiseEnv):
    return Share(kind(config.ppo.n_envs, seed=1, length=6), ranks), None


class Reference(Ranks):
    """One process whose minibatches are those of `size` processes together."""

    def __init__(self, size, sequences):
        self._size, self._sequences = size, sequences

    def permutation(self, total, generator, _):
        k, n = self._size, SETTINGS["n_envs"] // self._size
        parts = []
        for rank in range(k):
            drawn = torch.randperm(total // k, generator=generator)
            in_all = drawn // n * n * k + rank * n + drawn % n
            parts.append(in_all.view(-1, self._sequences // k))
        return torch.cat(parts, dim=1).flatten()


def learnt(ranks, *, iterations, warm, settings, kind=toys.NoiseEnv):
    """Gradients in the order of the steps, diagnostics of each iteration, and the weights at the end."""
    learner = Learner(settings, envs(settings, None, ranks, kind)[0], threads=1, ranks=ranks)
    gradients, descend = [], Adam.descend

    def noted(optimizer, norm):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
        return descend(optimizer, norm)

    Adam.descend = noted
    try:
        warmup = learner.warm_up().to_dict() if warm else None
        rows = [learner.iterate() for _ in range(iterations)]
    finally:
        Adam.descend = descend
    return {
        "gradients": gradients[:8],
        "rows": rows,
        "weights": {name: weight.clone() for name, weight in learner.model.state_dict().items()},
        "warmup": warmup,
    }


CASES = {
    "first": {"iterations": 1, "warm": False, "settings": config(1)},
    "first of a shared trunk": {"iterations": 1, "warm": False, "settings": config(1, dual_trunk=False)},
    "curve": {"iterations": 8, "warm": True, "settings": config(8, actor_lr=1e-3, critic_lr=1e-3)},
    "choice": {"iterations": 12, "warm": False, "settings": config(12, actor_lr=3e-3, critic_lr=3e-3)}
    | {"kind": ChoiceEnv},
}


def learn(ranks, folder):
    torch.save({name: learnt(ranks, **case) for name, case in CASES.items()}, folder / f"rank{ranks.rank}.pt")


def after(iterations):
    asked = []
    return lambda: asked.append(1) or len(asked) >= iterations


def resume(ranks, folder):
    """A whole run, and one that the second rank stops after three iterations; that one's folder is never there."""

    def go(name, stop=None):
        env, _ = envs(config(), None, ranks)
        heldout = toys.NoiseEnv(4, seed=2) if ranks.writes else None
        place = folder / (name if ranks.writes else "nobody")
        return train(config(), env, run_dir=place, heldout_env=heldout, stop=stop, ranks=ranks)

    assert go("whole").completed
    assert not go("part", after(3) if ranks.rank == 1 else None).completed
    assert go("part").completed
    torch.save(torch.get_rng_state(), folder / f"rank{ranks.rank}.pt")


def poisoned(ranks, folder):
    """The reward of one env, the second rank's, is infinite in the fourth iteration."""
    settings = dataclasses.replace(config(), timesteps=20 * 128)
    env, _ = envs(settings, None, ranks)
    act = env._env.act

    def infinite(action):
        reward, ends = act(action)
        reward[7] += torch.where(env._env.total[7] == 16 * 6 + 3, float("inf"), 0.0)
        return reward, ends

    env._env.act = infinite
    try:
        train(settings, env, run_dir=folder, ranks=ranks)
    except NonFiniteError as error:
        (folder / f"said{ranks.rank}").write_text(str(error))


JOBS = {"learn": learn, "resume": resume, "poisoned": poisoned}


def rank(number, size, port, job, folder, *arguments):
    """One of `size` processes, as `torchrun` would start it; what it says goes into the folder."""
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(size)}
    with (folder / f"words{number}").open("w", buffering=1) as words:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
    torch.set_num_threads(1)
    if job == "command":
        sys.exit(main(arguments, envs=envs))
    with joined() as ranks:
        JOBS[job](ranks, folder)


def one_process():
    """The same cases in one process with the minibatches of two, and the last with its own and three seeds."""
    found = {
        name: learnt(Reference(2, case["settings"].ppo.sequences_per_minibatch), **case) for name, case in CASES.items()
    }
    choice = CASES["choice"]
    seeds = [dataclasses.replace(choice["settings"], seed=seed) for seed in range(3)]
    return found, [learnt(ALONE, **choice | {"settings": settings}) for settings in seeds]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], envs=envs))
