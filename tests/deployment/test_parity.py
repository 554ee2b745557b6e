import dataclasses

import numpy as np
import onnx
import pytest
import torch

from clstm_core.config import EnvConfig, ModelConfig
from clstm_core.deployment import export, runtimes
from clstm_core.deployment.parity import check_parity, unbroken_env
from clstm_core.errors import BundleError
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION

MEMORY = 9


def eager(policy):
    return runtimes.eager(export.actor_step(policy, MEMORY))


def exported(policy, folder):
    step = export.actor_step(policy, MEMORY)
    export.export_torchscript(step, folder / "policy.ts")
    export.export_onnx(step, folder / "policy.onnx", {"schema_sha256": "abc"})
    return runtimes.eager(step), {
        "torchscript": runtimes.torchscript(folder / "policy.ts"),
        "onnx": runtimes.onnx(folder / "policy.onnx"),
    }


def test_the_exports_decide_as_the_trained_policy_over_a_thousand_recurrent_steps(policy, make_env, tmp_path):
    reference, candidates = exported(policy, tmp_path)
    results = [r for batch in (1, 7) for r in check_parity(candidates, reference, make_env(batch), steps=1000)]
    assert [result.runtime for result in results] == ["torchscript", "onnx"] * 2
    for result in results:
        assert result.actions_differing == 0
        assert result.max_logit_difference <= 1e-5
        assert result.passed


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [64, 256])
def test_at_full_size_no_decision_differs_in_a_thousand_unbroken_steps(hidden, make_env, tmp_path):
    """With the env's answer to each action, for one account and for seven; each runtime carries its own state."""
    torch.manual_seed(0)
    policy = CLSTM(len(OBSERVATION), len(ACTIONS), ModelConfig(hidden_dim=hidden)).eval()
    with torch.no_grad():
        policy.policy_head.weight.mul_(100)
    reference, candidates = exported(policy, tmp_path)
    for batch in (1, 7):
        for result in check_parity(candidates, reference, make_env(batch), steps=1000):
            assert (result.batch, result.steps, result.actions_differing) == (batch, 1000, 0), result
            assert result.passed, result


def test_the_products_by_head_are_products_of_matrices(policy, tmp_path):
    """Einsum would turn the weights round at each decision: a third of its time at hidden 256."""
    export.export_onnx(export.full_step(policy, MEMORY), tmp_path / "full.onnx", {})
    operators = [node.op_type for node in onnx.load(tmp_path / "full.onnx").graph.node]
    assert "Einsum" not in operators
    assert operators.count("MatMul") >= 6


def test_a_runtime_that_forgets_its_state_fails_parity(policy, make_env):
    run = eager(policy)
    blank = run.blank(3)[2:]
    forgetful = {"forgetful": lambda inputs: run((*inputs[:2], *blank))}
    (result,) = check_parity(forgetful, run, make_env(3), steps=50)
    assert not result.passed


def test_a_runtime_that_carries_its_memory_on_fails_parity(policy, make_env):
    carrying = runtimes.eager(export.actor_step(policy, 10 * MEMORY))
    walked = [check_parity({"it": carrying}, eager(policy), make_env(3), steps)[0] for steps in (MEMORY, 3 * MEMORY)]
    assert [result.passed for result in walked] == [True, False]


class EndingEnv:
    """An env whose every step ends an episode: parity may not let that reset a state."""

    def __init__(self, env):
        self._env, self.n_envs, self.n_actions = env, env.n_envs, env.n_actions
        self.reset = env.reset

    def step(self, action):
        step = self._env.step(action)
        return step._replace(terminated=torch.ones_like(step.terminated))


def test_the_walk_is_one_unbroken_episode_whatever_the_env_does(policy, make_env):
    run, ages = eager(policy), []

    def watched(inputs):
        ages.append(inputs[-1].tolist())
        return run(inputs)

    (result,) = check_parity({"watched": watched}, run, EndingEnv(make_env(2)), steps=3 * MEMORY)
    assert result.passed
    assert ages == [[t % MEMORY if t % MEMORY else (MEMORY if t else 0)] * 2 for t in range(3 * MEMORY)]


def test_a_runtime_that_gives_nan_fails_parity(policy, make_env):
    run = eager(policy)

    def broken(inputs):
        logits, *state = run(inputs)
        return (logits * float("nan"), *state)

    (result,) = check_parity({"broken": broken}, run, make_env(2), steps=5)
    assert not result.passed


@pytest.mark.parametrize("config", [{"use_attention": False}, {"dual_trunk": False}])
def test_ablations_export_without_the_state_that_they_lack(config, make_env, tmp_path):
    torch.manual_seed(0)
    policy = CLSTM(len(OBSERVATION), len(ACTIONS), ModelConfig(hidden_dim=8, attention_window=4, **config)).eval()
    reference, candidates = exported(policy, tmp_path)
    results = check_parity(candidates, reference, make_env(2), steps=20)
    assert all(result.passed for result in results)


def test_the_full_graph_gives_the_critics_value(policy, tmp_path):
    step = export.full_step(policy, MEMORY)
    export.export_onnx(step, tmp_path / "full.onnx", {})
    inputs = export.example_inputs(step, batch=5)
    outputs = runtimes.onnx(tmp_path / "full.onnx")(tuple(tensor.numpy() for tensor in inputs))
    with torch.no_grad():
        expected = step(*inputs)
    assert export.output_names(step)[1] == "value"
    torch.testing.assert_close(torch.from_numpy(outputs[1]), expected[1], atol=1e-5, rtol=0)


def test_the_onnx_file_names_its_schema_and_its_inputs(policy, tmp_path):
    step = export.actor_step(policy, MEMORY)
    export.export_onnx(step, tmp_path / "policy.onnx", {"schema_sha256": "abc"})
    model = onnx.load(tmp_path / "policy.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["schema_sha256"] == "abc"
    assert [node.name for node in model.graph.input] == export.input_names(step)
    assert [node.name for node in model.graph.output] == export.output_names(step)


BAD = {
    "nan": lambda given: given[0].__setitem__((1, OBSERVATION.index("near_atm_vol")), np.nan),
    "inf": lambda given: given[0].__setitem__((1, OBSERVATION.index("near_atm_vol")), np.inf),
    "minus_inf": lambda given: given[0].__setitem__((1, OBSERVATION.index("near_atm_vol")), -np.inf),
    "state": lambda given: given[2].__setitem__((1, 0), np.nan),
    "age": lambda given: given[-1].__setitem__(1, -5),
    "no_legal_action": lambda given: given[1].__setitem__(1, False),
}
SENTENCES = {
    "nan": "near_atm_vol of account 1 is nan, expected finite",
    "inf": "near_atm_vol of account 1 is inf, expected finite",
    "minus_inf": "near_atm_vol of account 1 is -inf, expected finite",
    "state": "state actor_h of account 1 holds nan",
    "age": "state memory_age of account 1 holds -5",
    "no_legal_action": "leaves account 1 no legal action",
}


@pytest.fixture(scope="module")
def everywhere(policy, tmp_path_factory):
    """The policy in every runtime that a bundle offers."""
    reference, others = exported(policy, tmp_path_factory.mktemp("everywhere"))
    return {"eager": reference, **others}


@pytest.mark.parametrize("runtime", ["eager", "torchscript", "onnx"])
@pytest.mark.parametrize("what", BAD)
def test_what_must_not_be_decided_on_is_refused_before_inference_by_every_runtime(everywhere, runtime, what):
    run = everywhere[runtime]
    given = run.blank(3)
    expected = run(given)
    BAD[what](given)
    decided = []
    with pytest.raises(BundleError, match=SENTENCES[what]):
        dataclasses.replace(run, decide=decided.append)(given)
    assert decided == []
    with pytest.raises(BundleError, match=SENTENCES[what]):
        run(given)
    for ours, before in zip(run(run.blank(3)), expected, strict=True):
        np.testing.assert_array_equal(ours, before)


@pytest.mark.parametrize("runtime", ["eager", "torchscript", "onnx"])
def test_inputs_of_another_number_shape_or_type_are_refused(everywhere, runtime):
    run = everywhere[runtime]
    observation, mask, *state = run.blank(2)
    for given, sentence in (
        ((observation, mask), r"found 2 inputs, expected \d+: observation, action_mask, actor_h"),
        ((observation.astype(np.float64), mask, *state), r"input observation is float64 \[2, 31\]: expected float32"),
        ((observation[:, 1:], mask, *state), r"input observation is float32 \[2, 30\]: expected .* \[2, 31\]"),
        ((observation, mask[:1], *state), r"input action_mask is bool \[1, 31\]: expected bool \[2, 31\]"),
        ((observation, mask.astype(np.int64), *state), "input action_mask is int64"),
        ((observation.tolist(), mask, *state), "input observation is list"),
        ((observation[0], mask, *state), "input observation is float32"),
    ):
        with pytest.raises(BundleError, match=sentence):
            run(given)


@pytest.mark.parametrize("runtime", ["eager", "torchscript", "onnx"])
def test_the_bare_graph_answers_a_nan_with_nan_and_keeps_the_memory(everywhere, runtime):
    run = everywhere[runtime]
    given = run.blank(2)
    given[0][:] = 0.5
    state = run.carry(run(given))
    bad = given[0].copy()
    bad[0, 3] = np.nan
    outputs = run.decide((bad, given[1], *state))
    assert np.isnan(outputs[0][0]).all()
    assert np.isfinite(outputs[0][1]).all()
    for after, before in zip(run.carry(outputs), state, strict=True):
        np.testing.assert_array_equal(after[0], before[0])
    sound = run((given[0], given[1], *run.carry(outputs)))
    assert np.isfinite(sound[0]).all()


@pytest.mark.parametrize("runtime", ["eager", "torchscript", "onnx"])
def test_every_runtime_forgets_by_itself(everywhere, runtime):
    run = everywhere[runtime]
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(2 * MEMORY + 3, 2, len(OBSERVATION))).astype(np.float32)
    blank = run.blank(2)

    def walked(observations):
        state, logits = blank[2:], []
        for observation in observations:
            outputs = run((observation, blank[1], *state))
            state = run.carry(outputs)
            logits.append(outputs[0])
        return logits

    whole, fresh = walked(seen), walked(seen[2 * MEMORY :])
    for ours, theirs in zip(whole[2 * MEMORY :], fresh, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_parity_is_walked_in_episodes_as_long_as_the_history_allows(market):
    env = unbroken_env(market, EnvConfig(horizon=21), n_envs=3, seed=0, steps=1000)
    start, stop = market.split("train")
    steps = stop - 1 - start
    assert 100 < steps < 1000
    assert env.config.horizon == steps
    for step in range(steps):
        ended = env.step(torch.zeros(3, dtype=torch.int64))
        assert bool((ended.truncated | ended.terminated).any()) == (step == steps - 1)
    assert unbroken_env(market, EnvConfig(horizon=21), n_envs=1, seed=0, steps=50).config.horizon == 50
