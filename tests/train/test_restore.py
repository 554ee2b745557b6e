"""A restore that loses anything of a run is noticed: each group of what a checkpoint holds, left out in turn."""

import shutil

import pytest
import torch

from clstm_core.ppo.learner import Learner
from clstm_core.train.loop import train

AT = 3  # the iteration after which the run is cut off; checkpoints are written after every second one


def run_to(tmp, tiny, toys, *, stop=None):
    """A run on an env that draws from every stream there is, torch's own among them, and needs all that it keeps."""

    class Noisy(toys.NoiseEnv):
        def act(self, action):
            before = self.noise[:, 0]
            reward, ends = super().act(action)
            return reward + 0.1 * before + 0.1 * torch.randn(self.n_envs), ends

    return train(tiny(target_kl=0.01), Noisy(8, seed=1), run_dir=tmp, heldout_env=toys.NoiseEnv(4, seed=2), stop=stop)


def after(iterations):
    asked = iter(range(1, iterations + 1))
    return lambda: next(asked) == iterations


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """A folder of its own for the runs of this module, which are made once."""
    return tmp_path_factory.mktemp("restore")


@pytest.fixture
def runs(cut_off, tiny, toys, tmp_path):
    """The uninterrupted run, and a copy of the one that was cut off."""
    whole, part = cut_off / "whole", cut_off / "part"
    if not whole.exists():
        run_to(whole, tiny, toys)
        run_to(part, tiny, toys, stop=after(AT))
    return whole, shutil.copytree(part, tmp_path / "part")


def groups(learner_state):
    """Tensors by what they belong to: an optimizer, a field of the carry, a stream, a part of an env."""
    return {key.split(".")[0] if "_optimizer" in key else key for key in learner_state}


def lost_in(state, fresh, group):
    """The state without a group: a new learner's in its place where it has one."""
    kept = {key: fresh.get(key) if groups([key]) == {group} else value for key, value in state.items()}
    return {key: value for key, value in kept.items() if value is not None}


GROUPS = (
    "actor_optimizer",
    "critic_optimizer",
    *(f"carry.{name}" for name in ("episode_length", "episode_reward", "mask", "observation", "start")),
    *(f"env.{name}" for name in ("clock", "level", "noise", "rng", "total")),
    *(f"heldout.{name}" for name in ("clock", "level", "noise", "rng", "total")),
    *(f"recurrent.{trunk}_{name}" for trunk in ("actor", "critic") for name in ("c", "h", "memory", "valid")),
    "rng.cpu",
    "rng.generator",
)

WALKED_FROM_A_RESET = {f"heldout.{name}" for name in ("clock", "level", "noise", "total")}
"""What held-out envs keep but for their stream is made anew by each of their walks: a loss changes no run."""


def test_these_are_all_groups_of_a_learners_state(tiny, toys):
    learner = Learner(tiny(), toys.NoiseEnv(8, seed=1), toys.NoiseEnv(4, seed=2))
    learner.iterate()
    assert groups(learner.state()) == set(GROUPS)


def test_nothing_lost_is_the_same_run(runs, same_run, tiny, toys):
    whole, part = runs
    run_to(part, tiny, toys)
    assert same_run(part, whole)


@pytest.mark.parametrize("group", [*GROUPS, "weights", "facts.lr_scale", "facts.entropy_at_start"])
def test_a_lost_group_is_noticed(runs, same_run, tiny, toys, monkeypatch, group):
    whole, part = runs
    restore, held, lost = Learner.restore, {}, {}

    def forgetting(self, weights, state, facts):
        if group == "weights":
            weights = {key: value.clone() for key, value in self.model.state_dict().items()}
        if group.startswith("facts."):
            facts = {**facts, group.removeprefix("facts."): 1.0}
        held.update(state)
        restore(self, weights, lost_in(state, self.state(), group), facts)
        lost.update({key: value.clone() for key, value in self.state().items()})  # as it stands now

    monkeypatch.setattr(Learner, "restore", forgetting)
    run_to(part, tiny, toys)
    if group in GROUPS:
        found = {groups([key]).pop() for key in held if key not in lost or not torch.equal(held[key], lost[key])}
        assert found == {group}, "this is gone, and nothing else"
    assert same_run(part, whole) == (group in WALKED_FROM_A_RESET)
