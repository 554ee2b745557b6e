"""A policy's graph in ONNX Runtime, on the CPU."""

from collections.abc import Mapping
from pathlib import Path

import onnxruntime as ort

from clstm_policy.guard import Arrays, Input

_TYPES = {"tensor(float)": "float32", "tensor(bool)": "bool", "tensor(int64)": "int64"}


class Graph:
    """An ONNX file, ready to run.

    inputs: in order, observation and action mask first; metadata: what the file says of itself
    """

    def __init__(self, path: Path, threads: int = 1):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs: tuple[Input, ...] = tuple(
            Input(name=node.name, sizes=tuple(node.shape[1:]), dtype=_TYPES[node.type])
            for node in self._session.get_inputs()
        )
        self.metadata: Mapping[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._names = [item.name for item in self.inputs]

    def __call__(self, given: Arrays) -> Arrays:
        """Logits, and the next state (and the value before it, where the graph has a critic)."""
        return tuple(self._session.run(None, dict(zip(self._names, given, strict=True))))
