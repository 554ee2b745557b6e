"""The same decision in three runtimes behind one call, so that parity and latency compare like with like."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from clstm_core.deployment.export import actor_step, example_inputs
from clstm_core.model.clstm import CLSTM

Arrays = tuple[np.ndarray, ...]
Runtime = Callable[[Arrays], Arrays]
"""Inputs in the order of `input_names`, outputs in the order of `output_names`."""


def blank_inputs(policy: CLSTM, batch: int) -> Arrays:
    """Inputs of `batch` accounts that have just started."""
    return tuple(tensor.numpy() for tensor in example_inputs(actor_step(policy), batch))


def _torch_runtime(module: torch.nn.Module | torch.jit.ScriptModule) -> Runtime:
    def run(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            outputs = module(*(torch.from_numpy(array) for array in inputs))
        return tuple(tensor.numpy() for tensor in outputs)

    return run


def eager(policy: CLSTM) -> Runtime:
    """PyTorch as it was trained."""
    return _torch_runtime(actor_step(policy))


def torchscript(path: Path) -> Runtime:
    """A traced file; loading is deprecated upstream and would say so each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(path), map_location="cpu").eval()
    return _torch_runtime(module)


def onnx(path: Path, threads: int = 1) -> Runtime:
    """An ONNX file in ONNX Runtime, on the CPU."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(inputs: Arrays) -> Arrays:
        return tuple(session.run(None, dict(zip(names, inputs, strict=True))))

    return run


def onnx_metadata(path: Path) -> dict[str, str]:
    """What an ONNX file says of itself."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(session.get_modelmeta().custom_metadata_map)


def carry(outputs: Arrays) -> Arrays:
    """The state part of an actor's outputs (all but the logits), to be given back at the next snapshot."""
    return outputs[1:]
