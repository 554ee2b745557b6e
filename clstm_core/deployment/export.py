"""One decision as a graph: observation and recurrent state in, logits and the next state out.

The state travels explicitly (LSTM cells, the attention's ring and which of its slots are filled), so that any runtime
can carry it between snapshots. Standardisation and the action mask are inside the graph.
"""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from clstm_core.model.clstm import CLSTM, RecurrentState

OPSET = 20


class PolicyStep(nn.Module):
    """One step of a policy with its recurrent state spelt out.

    Parts of the state that an ablation lacks (an empty ring, a shared trunk's critic) are no inputs of its graph.

    Shapes: observation [N, F] float32, action_mask [N, A] bool, then the state tensors of `state_names`
            -> logits [N, A], value [N] with a critic, then the next state in the same order
    """

    def __init__(self, policy: CLSTM, *, critic: bool):
        super().__init__()
        self.policy, self.critic = policy, critic
        blank = policy.initial_state(1)
        wanted = RecurrentState._fields if critic else RecurrentState._fields[: len(blank.actor)]
        self.state_names = tuple(name for name in wanted if getattr(blank, name).numel())

    def forward(
        self, observation: torch.Tensor, action_mask: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Masked logits, the value where there is a critic, the next state."""
        blank = self.policy.initial_state(observation.shape[0], observation.device)
        given = blank._replace(**dict(zip(self.state_names, state, strict=True)))
        if not self.critic:
            logits, after = self.policy.act(observation, action_mask, given)
            return logits, *(getattr(after, name) for name in self.state_names)
        logits, value, after = self.policy.step(observation, action_mask, given)
        return logits, value, *(getattr(after, name) for name in self.state_names)


def actor_step(policy: CLSTM) -> PolicyStep:
    """The trading graph: no critic."""
    return PolicyStep(policy, critic=False).eval()


def full_step(policy: CLSTM) -> PolicyStep:
    """The telemetry graph: the actor's decision and the critic's value."""
    return PolicyStep(policy, critic=True).eval()


def input_names(step: PolicyStep) -> list[str]:
    """Names of the graph's inputs, in order."""
    return ["observation", "action_mask", *step.state_names]


def output_names(step: PolicyStep) -> list[str]:
    """Names of the graph's outputs, in order; `next_` marks the state to carry."""
    value = ["value"] if step.critic else []
    return ["logits", *value, *(f"next_{name}" for name in step.state_names)]


def example_inputs(step: PolicyStep, batch: int = 2) -> tuple[torch.Tensor, ...]:
    """Inputs of an account that has just started: zero observation, every action legal, empty state."""
    policy = step.policy
    state = policy.initial_state(batch, torch.device("cpu"))
    observation = torch.zeros(batch, policy.observation_size)
    mask = torch.ones(batch, policy.n_actions, dtype=torch.bool)
    return observation, mask, *(getattr(state, name) for name in step.state_names)


def export_torchscript(step: PolicyStep, path: Path) -> None:
    """Trace the graph to `path`; deprecated upstream, kept because runtimes in the field load it."""
    with torch.no_grad(), warnings.catch_warnings():
        # the sizes that tracing freezes are the model's own, never the batch: the parity check runs other batches
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(step, example_inputs(step), check_trace=False)
        traced.save(str(path))


def export_onnx(step: PolicyStep, path: Path, metadata: dict[str, str]) -> None:
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
        )
    assert program is not None
    model = program.model_proto
    for key, value in sorted(metadata.items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def schema_metadata(observation: Sequence[str], actions: Sequence[str], schema_sha256: str) -> dict[str, str]:
    """What an ONNX file says of itself: feature names, action names and the schema's hash."""
    return {
        "observation": json.dumps(list(observation)),
        "actions": json.dumps(list(actions)),
        "schema_sha256": schema_sha256,
    }
