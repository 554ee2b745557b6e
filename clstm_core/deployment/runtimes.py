"""The same decision in three runtimes behind one call, so that parity and latency compare like with like."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from clstm_core.deployment.export import inputs_of, load_torchscript
from clstm_core.errors import BundleError
from clstm_core.model.policy_step import PolicyStep
from clstm_core.specs import OBSERVATION
from clstm_policy.guard import Arrays, Input, PolicyError, check_inputs

if TYPE_CHECKING:
    from clstm_policy.graph import Graph

Decide = Callable[[Arrays], Arrays]
"""Inputs in the order of `input_names`, outputs in the order of `output_names`."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A policy ready to decide; what it is given is checked first.

    Raises: BundleError, when called, for an input that is not finite, not of the graph's shape, or without legal action
    """

    inputs: tuple[Input, ...]
    decide: Decide

    def __call__(self, given: Arrays) -> Arrays:
        """Logits and the next state."""
        try:
            check_inputs(given, self.inputs, OBSERVATION)
        except PolicyError as error:
            raise BundleError(str(error)) from None
        return self.decide(given)

    def carry(self, outputs: Arrays) -> Arrays:
        """The state part of its outputs, to be given back at the next snapshot."""
        return outputs[len(outputs) - len(self.inputs) + 2 :]

    def blank(self, batch: int) -> Arrays:
        """Inputs of `batch` accounts that have just started."""
        return tuple(item.blank(batch) for item in self.inputs)


def eager(step: PolicyStep) -> Runtime:
    """PyTorch as it was trained."""
    return Runtime(inputs_of(step), _torch_call(step))


def torchscript(path: Path) -> Runtime:
    """A traced file."""
    module, facts = load_torchscript(path)
    inputs = tuple(Input(name=name, sizes=tuple(sizes), dtype=dtype) for name, sizes, dtype in facts["inputs"])
    return Runtime(inputs, _torch_call(module))


def onnx(path: Path, threads: int = 1) -> Runtime:
    """An ONNX file in ONNX Runtime, on the CPU."""
    graph = _graph(path, threads)
    return Runtime(graph.inputs, graph)


def onnx_metadata(path: Path) -> dict[str, str]:
    """What an ONNX file says of itself."""
    return dict(_graph(path).metadata)


def _graph(path: Path, threads: int = 1) -> "Graph":
    from clstm_policy.graph import Graph  # it brings ONNX Runtime

    return Graph(path, threads)


def _torch_call(module: torch.nn.Module | torch.jit.ScriptModule) -> Decide:
    def decide(given: Arrays) -> Arrays:
        with torch.inference_mode():
            outputs = module(*(torch.from_numpy(array) for array in given))
        return tuple(tensor.numpy() for tensor in outputs)

    return decide
