"""ONNX graphs that were exported before: the exporter takes five seconds a graph, and one design has one graph.

A network is exported by the real exporter once a design (sizes, memory, critic), with every weight its own number in
place of what was learnt. Where that number stands in the graph, another network of the design has its weight there.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from clstm_core.deployment import bundle, export
from tests.shared import of_all_workers

FIRST = 2**20
"""The first weight's number; exact in float32 up to 2**24, and nothing else in a graph is as large."""


def design(step) -> str:
    """All that a graph follows from but the values of its weights."""
    told = hashlib.sha256(repr((step, step.memory_sessions, step.critic, step.state_names)).encode())
    for name, tensor in sorted(step.state_dict().items()):
        told.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
    return told.hexdigest()


def numbered(state):
    """A state whose every weight is its own number, counted on through its tensors."""
    found, at = {}, FIRST
    for name, tensor in state.items():
        assert tensor.dtype == torch.float32, f"{name} is {tensor.dtype}: expected float32"
        found[name] = torch.arange(at, at + tensor.numel(), dtype=torch.float32).view(tensor.shape)
        at += tensor.numel()
    assert at <= 2**24, "more weights than float32 counts"
    return found


def export_design(step, place: Path) -> None:
    """Export the graph of a design: the step holds its own weights again afterwards."""
    own = {name: tensor.clone() for name, tensor in step.state_dict().items()}
    step.load_state_dict(numbered(own))
    try:
        export.export_onnx(step, place, {})
    finally:
        step.load_state_dict(own)


def fill(model: onnx.ModelProto, step) -> None:
    """Put a network's weights where their numbers stand in the graph of its design."""
    weights = np.concatenate([tensor.detach().numpy().ravel() for tensor in step.state_dict().values()])
    for constant in model.graph.initializer:
        numbers = numpy_helper.to_array(constant)
        is_weight = (numbers >= FIRST) & (numbers < FIRST + weights.size) & (numbers.dtype == np.float32)
        if is_weight.any():
            assert is_weight.all(), f"{constant.name} holds weights and other numbers: expected the one or the other"
            constant.CopyFrom(numpy_helper.from_array(weights[numbers.astype(np.int64) - FIRST], constant.name))


def exported_once(patch: pytest.MonkeyPatch, kept: Path) -> None:
    """Bundles take the graph of a design that was exported before; each is checked against its network all the same."""
    kept.mkdir(exist_ok=True)

    def known(step, path, metadata):
        graph = kept / f"{design(step)}.onnx"
        if not graph.exists():
            made = graph.with_suffix(f".{os.getpid()}")
            export_design(step, made)
            made.replace(graph)  # another worker may have made it meanwhile: the same one
        model = onnx.load(graph)
        fill(model, step)
        onnx.save(model, path)
        export.stamp_onnx(path, metadata)

    patch.setattr(bundle, "export_onnx", known)


@pytest.fixture(scope="session", autouse=True)
def graphs(tmp_path_factory):
    """For a folder of tests that build bundles: import it into its conftest."""
    with pytest.MonkeyPatch.context() as patch:
        exported_once(patch, of_all_workers(tmp_path_factory) / "graphs")
        yield
