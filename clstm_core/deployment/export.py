"""One decision as a graph: observation and recurrent state in, logits and the next state out.

The state travels explicitly (LSTM cells, the attention's ring, which of its slots are filled, and the memory's age), so
that any runtime can carry it between snapshots. Standardisation, the action mask and forgetting are inside the graph.
"""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clstm_core.errors import BundleError
from clstm_core.model.clstm import CLSTM
from clstm_core.model.policy_step import PolicyStep
from clstm_policy.guard import Input

OPSET = 20
_FACTS = "facts.json"


def actor_step(policy: CLSTM, memory_sessions: int) -> PolicyStep:
    """The trading graph: no critic."""
    return PolicyStep(policy, memory_sessions, critic=False).eval()


def full_step(policy: CLSTM, memory_sessions: int) -> PolicyStep:
    """The telemetry graph: the actor's decision and the critic's value."""
    return PolicyStep(policy, memory_sessions, critic=True).eval()


def input_names(step: PolicyStep) -> list[str]:
    """Names of the graph's inputs, in order."""
    return ["observation", "action_mask", *step.state_names]


def output_names(step: PolicyStep) -> list[str]:
    """Names of the graph's outputs, in order; `next_` marks the state to carry."""
    value = ["value"] if step.critic else []
    return ["logits", *value, *(f"next_{name}" for name in step.state_names)]


def inputs_of(step: PolicyStep) -> tuple[Input, ...]:
    """The graph's inputs, in order."""
    return tuple(
        Input(name=name, sizes=tuple(tensor.shape[1:]), dtype=str(tensor.dtype).removeprefix("torch."))
        for name, tensor in zip(input_names(step), example_inputs(step, batch=1), strict=True)
    )


def example_inputs(step: PolicyStep, batch: int = 2) -> tuple[torch.Tensor, ...]:
    """Inputs of accounts that have just started: zero observation, every action legal, empty state."""
    observation = torch.zeros(batch, step.policy.observation_size)
    mask = torch.ones(batch, step.policy.n_actions, dtype=torch.bool)
    return observation, mask, *step.initial_state(batch)


def export_torchscript(step: PolicyStep, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Trace the graph to `path`, its inputs and `metadata` inside; deprecated upstream, kept for those who load it."""
    inputs = [[item.name, item.sizes, item.dtype] for item in inputs_of(step)]
    facts = json.dumps({"inputs": inputs, "metadata": dict(metadata or {})}, sort_keys=True)
    with torch.no_grad(), warnings.catch_warnings():
        # the sizes that tracing freezes are the model's own, never the batch: the parity check runs other batches
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(step, example_inputs(step), check_trace=False)
        traced.save(str(path), _extra_files={_FACTS: facts})


def load_torchscript(path: Path) -> tuple[torch.jit.ScriptModule, dict[str, Any]]:
    """A traced graph, and what it says of itself: `inputs` as (name, sizes, dtype) and `metadata`.

    Raises: BundleError when the file is no graph that `export_torchscript` wrote
    """
    extra = {_FACTS: ""}
    with warnings.catch_warnings():
        # loading is deprecated upstream and would say so each time
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra).eval()
    try:
        return module, json.loads(extra[_FACTS])
    except ValueError as error:
        raise BundleError(f"{path} says nothing of its inputs: expected {_FACTS} in it. Export it again.") from error


def export_onnx(step: PolicyStep, path: Path, metadata: Mapping[str, str]) -> None:
    """Export the graph to `path` with a dynamic batch, weights inside, `metadata` in its properties."""
    import onnx

    # the exporter warns of every torchvision operator that it will not need
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    batch = torch.export.Dim("batch", min=1)
    example = example_inputs(step, batch=3)
    shapes = (*({0: batch} for _ in example[:2]), tuple({0: batch} for _ in example[2:]))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            step,
            example,
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            input_names=input_names(step),
            output_names=output_names(step),
            dynamic_shapes=shapes,
            verbose=False,
            custom_translation_table={torch.ops.aten.einsum.default: _per_head},
        )
    assert program is not None
    model = program.model_proto
    _set_metadata(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _per_head(equation: str, operands: Sequence[Any], path: Any = None) -> Any:
    """The attention's products by head, `nhd,hdk->nhk` or `nhk,hdk->nhd`, as products of matrices in ONNX.

    ONNX Runtime's Einsum turns the weights round at each decision: a third of the time of one account at hidden 256.
    """
    from onnxscript import opset20 as op

    assert op.version == OPSET
    rows, weight = operands
    given, left = equation.replace(" ", "").split("->")
    if given[-1] != left[-1]:  # its last size is summed over
        weight = op.Transpose(weight, perm=[0, 2, 1])  # done once, at the export: weights are constants
    return op.Transpose(op.MatMul(op.Transpose(rows, perm=[1, 0, 2]), weight), perm=[1, 0, 2])


def stamp_onnx(path: Path, metadata: Mapping[str, str]) -> None:
    """Write further properties into an ONNX file; the graph and its weights stay as they are."""
    import onnx

    model = onnx.load(str(path))
    _set_metadata(model, metadata)
    onnx.save(model, str(path))


def _set_metadata(model: Any, metadata: Mapping[str, str]) -> None:
    for key, value in sorted(metadata.items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def metadata_of(schema: Mapping[str, Sequence[str]], schema_sha256: str, memory_sessions: int) -> dict[str, str]:
    """What an exported file says of itself: names of features and actions, their hash, and when it forgets."""
    return {
        **{name: json.dumps(list(names)) for name, names in schema.items()},
        "schema_sha256": schema_sha256,
        "memory_sessions": str(memory_sessions),
    }
