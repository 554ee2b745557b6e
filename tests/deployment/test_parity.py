import onnx
import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.deployment import export, runtimes
from clstm_core.deployment.parity import check_parity
from clstm_core.model.clstm import CLSTM


def exported(policy, folder):
    export.export_torchscript(export.actor_step(policy), folder / "policy.ts")
    export.export_onnx(export.actor_step(policy), folder / "policy.onnx", {"schema_sha256": "abc"})
    return {
        "eager": runtimes.eager(policy),
        "torchscript": runtimes.torchscript(folder / "policy.ts"),
        "onnx": runtimes.onnx(folder / "policy.onnx"),
    }


def test_the_exports_decide_as_the_trained_policy_over_a_thousand_recurrent_steps(policy, make_env, tmp_path):
    candidates = exported(policy, tmp_path)
    results = [r for batch in (1, 7) for r in check_parity(policy, candidates, "eager", make_env(batch), steps=1000)]
    assert [result.runtime for result in results] == ["torchscript", "onnx"] * 2
    for result in results:
        assert result.actions_differing == 0
        assert result.max_logit_difference <= 1e-5
        assert result.passed


def test_a_runtime_that_forgets_its_state_fails_parity(policy, make_env):
    run = runtimes.eager(policy)
    blank = runtimes.blank_inputs(policy, 3)[2:]
    forgetful = {"eager": run, "forgetful": lambda inputs: run((*inputs[:2], *blank))}
    (result,) = check_parity(policy, forgetful, "eager", make_env(3), steps=50)
    assert not result.passed


def test_a_runtime_that_gives_nan_fails_parity(policy, make_env):
    run = runtimes.eager(policy)

    def broken(inputs):
        logits, *state = run(inputs)
        return (logits * float("nan"), *state)

    (result,) = check_parity(policy, {"eager": run, "broken": broken}, "eager", make_env(2), steps=5)
    assert not result.passed


@pytest.mark.parametrize("config", [{"use_attention": False}, {"dual_trunk": False}])
def test_ablations_export_without_the_state_that_they_lack(config, make_env, tmp_path):
    torch.manual_seed(0)
    policy = CLSTM(28, 31, ModelConfig(hidden_dim=8, attention_window=4, **config)).eval()
    results = check_parity(policy, exported(policy, tmp_path), "eager", make_env(2), steps=20)
    assert all(result.passed for result in results)


def test_the_full_graph_gives_the_critics_value(policy, tmp_path):
    step = export.full_step(policy)
    export.export_onnx(step, tmp_path / "full.onnx", {})
    inputs = export.example_inputs(step, batch=5)
    outputs = runtimes.onnx(tmp_path / "full.onnx")(tuple(tensor.numpy() for tensor in inputs))
    with torch.no_grad():
        expected = step(*inputs)
    assert export.output_names(step)[1] == "value"
    torch.testing.assert_close(torch.from_numpy(outputs[1]), expected[1], atol=1e-5, rtol=0)


def test_the_onnx_file_names_its_schema_and_its_inputs(policy, tmp_path):
    step = export.actor_step(policy)
    export.export_onnx(step, tmp_path / "policy.onnx", {"schema_sha256": "abc"})
    model = onnx.load(tmp_path / "policy.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["schema_sha256"] == "abc"
    assert [node.name for node in model.graph.input] == export.input_names(step)
    assert [node.name for node in model.graph.output] == export.output_names(step)
