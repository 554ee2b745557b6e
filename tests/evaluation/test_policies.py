"""Checkpoints on their own: what they play, what they remember, and what they refuse."""

from types import SimpleNamespace

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.errors import CheckpointError, EvaluationError
from clstm_core.evaluation.policies import CheckpointPolicy, load_checkpoint
from clstm_core.evaluation.words import rung_name
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION


def test_a_checkpoint_plays_legal_actions_in_both_modes(account_of, decide, ladder) -> None:
    env = account_of(*[1e6] * 64)
    mask = torch.zeros(64, len(ACTIONS), dtype=torch.bool)
    mask[:, [0, 7]] = True
    for policy in load_checkpoint(ladder[1]):
        actions = decide(policy, env, mask).share_quantity_N
        assert set(actions.tolist()) <= {0, 7}
        assert torch.equal(policy.last.action_N, actions)
        assert policy.last.value_N.isfinite().all()
    told = load_checkpoint(ladder[1])[0].describe()
    facts = told["checkpoint"]
    assert told["label"] == f"{rung_name(facts['milestone']).capitalize()}, likeliest action"  # as reports call it
    assert (facts["milestone"], facts["env_steps"], facts["run"]) == ("100", 1280, "tiny")
    assert (facts["trained_on"], facts["trained_label"]) == ("simulated", "simulated quotes")


def test_a_checkpoint_remembers_within_an_account_and_forgets_at_a_reset(account_of, ladder) -> None:
    env = account_of(1e6)
    policy = load_checkpoint(ladder[1], modes=("argmax",))[0]
    mask = torch.ones(1, len(ACTIONS), dtype=torch.bool)
    obs = torch.ones(1, len(OBSERVATION))
    policy.reset(1)
    values = []
    for _ in range(2):
        policy.decide(env, obs, mask)
        values.append(float(policy.last.value_N))
    assert values[0] != values[1]
    policy.reset(1)
    policy.decide(env, obs, mask)
    assert float(policy.last.value_N) == values[0]


def test_a_checkpoint_brings_its_own_scaler(ladder) -> None:
    size = len(OBSERVATION)
    torch.manual_seed(0)
    plain = CLSTM(size, len(ACTIONS), ModelConfig(hidden_dim=16))
    scaled = CLSTM(size, len(ACTIONS), ModelConfig(hidden_dim=16), torch.full((size,), 2.0), torch.full((size,), 4.0))
    weights = plain.state_dict() | {k: v for k, v in scaled.state_dict().items() if k.startswith("encoder.obs_")}
    scaled.load_state_dict(weights)
    env = SimpleNamespace(orders_for=lambda action: action)
    mask = torch.ones(1, len(ACTIONS), dtype=torch.bool)
    one = CheckpointPolicy(plain, name="a", memory_sessions=21)
    other = CheckpointPolicy(scaled, name="b", memory_sessions=21)
    one.decide(env, torch.full((1, size), 0.5), mask)
    other.decide(env, torch.full((1, size), 4.0), mask)
    assert float(one.last.value_N) == pytest.approx(float(other.last.value_N), abs=1e-6)


def test_what_cannot_be_played_is_refused(ladder, tmp_path) -> None:
    model = CLSTM(len(OBSERVATION), len(ACTIONS), ModelConfig(hidden_dim=16))
    with pytest.raises(EvaluationError, match="unknown policy mode 'greedy'"):
        CheckpointPolicy(model, name="a", memory_sessions=21, mode="greedy")
    with pytest.raises(EvaluationError, match="reads 3 features and has 2 actions"):
        CheckpointPolicy(CLSTM(3, 2, ModelConfig(hidden_dim=16)), name="a", memory_sessions=21)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "nowhere")
