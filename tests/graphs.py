"""ONNX graphs that were exported before: the exporter takes five seconds a graph, and one network has one graph."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from clstm_core.deployment import bundle, export
from tests.shared import of_all_workers


def known_by(step) -> str:
    """All that a graph follows from: every weight and buffer by name, and what the step makes of them."""
    told = hashlib.sha256(repr((step, step.memory_sessions, step.critic, step.state_names)).encode())
    for name, tensor in sorted(step.state_dict().items()):
        told.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        told.update(tensor.detach().contiguous().numpy().tobytes())
    return told.hexdigest()


def exported_once(patch: pytest.MonkeyPatch, kept: Path) -> None:
    """Bundles take the graph of a network that was exported before; each is checked against the network all the same.

    Exactly this network: an altered weight, another memory or the critic beside it is another graph.
    """
    kept.mkdir(exist_ok=True)

    def known(step, path, metadata):
        graph = kept / f"{known_by(step)}.onnx"
        if not graph.exists():
            made = graph.with_suffix(f".{os.getpid()}")
            export.export_onnx(step, made, {})
            made.replace(graph)  # another worker may have made it meanwhile: the same one
        shutil.copyfile(graph, path)
        export.stamp_onnx(path, metadata)

    patch.setattr(bundle, "export_onnx", known)


@pytest.fixture(scope="session", autouse=True)
def graphs(tmp_path_factory):
    """For a folder of tests that build bundles: import it into its conftest."""
    with pytest.MonkeyPatch.context() as patch:
        exported_once(patch, of_all_workers(tmp_path_factory) / "graphs")
        yield
