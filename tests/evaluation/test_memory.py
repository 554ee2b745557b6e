"""A backtest remembers as training did: it forgets when training's episodes ended, and its manifest says when."""

import dataclasses
import json
import shutil

import pytest
import torch

from clstm_core.artifacts.folder import canonical_json
from clstm_core.artifacts.manifest import SEAL, _seal
from clstm_core.checkpoint import load_policy, verify_checkpoint
from clstm_core.config import smoke
from clstm_core.env.options_env import OptionsEnv
from clstm_core.errors import CheckpointError, EvaluationError
from clstm_core.evaluation.backtest import run_backtest
from clstm_core.evaluation.policies import CheckpointPolicy, load_checkpoint
from clstm_core.model.policy_step import PolicyStep
from clstm_core.ppo.rollout import begin, collect
from clstm_core.ppo.storage import Rollout
from clstm_core.specs import ACTIONS, OBSERVATION

MEMORY = smoke().memory_sessions


class Watched(CheckpointPolicy):
    """A checkpoint that keeps what it was shown and what it chose."""

    def decide(self, env, obs, mask):
        orders = super().decide(env, obs, mask)
        self.seen.append((obs.float().clone(), mask.clone(), self.last.action_N.clone()))
        return orders

    def reset(self, n_envs):
        self.seen = []
        super().reset(n_envs)


@pytest.fixture(scope="module")
def watched(ladder, market, tmp_path_factory):
    """A backtest of more than three memories: model, observations, masks, actions [T, 1, ...], and its result."""
    model, meta = load_policy(ladder[1])
    policy = Watched(model, name="tiny", memory_sessions=meta["memory_sessions"])
    result = run_backtest(policy, market, smoke().env, "in_sample", out_dir=tmp_path_factory.mktemp("backtests"))
    obs, mask, action = (torch.stack(part) for part in zip(*policy.seen, strict=True))
    assert len(obs) > 3 * MEMORY
    return model, obs, mask, action, result


@torch.no_grad()
def unrolled(model, obs, mask, start):
    """The likeliest actions by the forward pass of training's updates, which forgets where `start` says."""
    logits, _, _ = model.unroll(obs, mask, start, model.initial_state(obs.shape[1]))
    return logits.argmax(dim=-1)


def test_every_decision_is_that_of_the_training_regime_on_the_same_path(watched):
    model, obs, mask, action, _ = watched
    episodes = (torch.arange(len(obs)) % MEMORY == 0).unsqueeze(1)
    assert torch.equal(unrolled(model, obs, mask, episodes), action)
    once = torch.zeros_like(episodes)
    assert not torch.equal(unrolled(model, obs, mask, once), action)  # carried memory would have shown


def test_the_step_repeats_a_rollout_of_trainings_own_env_to_the_bit(market, ladder):
    """Fed with what the rollout saw it gives the same log-probabilities, through several episodes."""
    model, meta = load_policy(ladder[1])
    env = OptionsEnv(market, smoke().env, n_envs=4, seed=3, stagger=False)
    steps = 2 * MEMORY + 6
    rollout = Rollout.allocate(model, env, n_steps=steps, bptt_steps=steps)
    collect(model, env, begin(model, env), rollout, generator=torch.Generator().manual_seed(0))
    assert (rollout.truncated.sum(dim=0) == 2).all()
    step = PolicyStep(model, meta["memory_sessions"], critic=True)
    state = step.initial_state(4)
    for t in range(steps):
        with torch.no_grad():
            logits, _, *state = step(rollout.observation[t], rollout.mask[t], *state)
        chosen = logits.log_softmax(dim=1).gather(1, rollout.action[t].unsqueeze(1)).squeeze(1)
        assert torch.equal(chosen, rollout.log_prob[t]), t


def test_manifests_say_how_long_a_policy_remembers(watched, ladder):
    assert watched[-1].manifest["trader"]["memory_sessions"] == MEMORY
    manifest = verify_checkpoint(ladder[1])
    assert manifest.memory_sessions == MEMORY
    assert manifest.rows()["checkpoints"][0]["memory_sessions"] == MEMORY
    assert load_checkpoint(ladder[1])[0].memory_sessions == MEMORY
    longer = dataclasses.replace(smoke(), env=dataclasses.replace(smoke().env, horizon=63))
    assert longer.memory_sessions == 63


def test_another_memory_in_a_checkpoints_manifest_is_refused(ladder, tmp_path):
    folder = shutil.copytree(ladder[1], tmp_path / "100")
    content = json.loads((folder / "manifest.json").read_text())
    del content[SEAL]
    content["memory_sessions"] = 126
    (folder / "manifest.json").write_text(canonical_json(content | {SEAL: _seal(content)}))
    with pytest.raises(CheckpointError, match=r"memory_sessions 126, expected 21, the horizon in meta\.json"):
        load_policy(folder)


def test_an_observation_that_is_not_finite_is_refused_by_name(ladder, account_of):
    policy = load_checkpoint(ladder[1], modes=("argmax",))[0]
    obs = torch.zeros(1, len(OBSERVATION))
    obs[0, OBSERVATION.index("near_atm_vol")] = float("nan")
    policy.reset(1)
    with pytest.raises(EvaluationError, match="near_atm_vol of account 0 is nan, expected finite"):
        policy.decide(account_of(1e6), obs, torch.ones(1, len(ACTIONS), dtype=torch.bool))
