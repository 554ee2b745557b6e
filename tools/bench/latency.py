"""How long one decision takes, by runtime, hidden size and number of accounts: `python -m tools.bench.latency`.

Policies have random weights: latency depends on sizes alone. What is quantised is held against eager PyTorch over a
walk with its own state carried: how many of its decisions differ is said beside its time. One thread, guarded by
nothing but the runtime itself, but for the row of `clstm_policy`; p50 and p99 are of the quickest of several rounds,
since others may be at work here.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from clstm_core.config import ModelConfig
from clstm_core.deployment.export import actor_step, export_onnx, export_torchscript, input_names, metadata_of
from clstm_core.deployment.runtimes import Runtime, eager, torchscript
from clstm_core.deployment.runtimes import onnx as one_thread
from clstm_core.model.clstm import CLSTM
from clstm_core.model.policy_step import PolicyStep
from clstm_core.specs import ACTIONS, OBSERVATION
from clstm_policy import Policy
from clstm_policy.graph import Graph
from clstm_policy.guard import Arrays

MEMORY = 126
BOUND = "ONNX Runtime, buffers bound"
WHOLE = "clstm_policy, checked and named"
NUMPY = "NumPy (the ONNX reference evaluator)"


class Row(NamedTuple):
    """One runtime's time. Units: microseconds; differing: of `walked` decisions, those that are not eager PyTorch's."""

    hidden: int
    accounts: int
    runtime: str
    p50: float
    p99: float
    differing: int
    walked: int


class Bound:
    """An ONNX graph between two sets of buffers: what one decision leaves is what the next one reads, uncopied."""

    def __init__(self, path: Path, like: Runtime, accounts: int):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        blank = like.blank(accounts)
        self.observation, self.mask = blank[0], blank[1]
        sets = [tuple(array.copy() for array in blank[2:]) for _ in range(2)]
        self._logits = np.zeros((accounts, len(ACTIONS)), dtype=np.float32)
        self._sets, self._turn = sets, 0
        self._bindings = [self._bind(sets[0], sets[1]), self._bind(sets[1], sets[0])]

    def _bind(self, read: Arrays, written: Arrays):
        binding = self._session.io_binding()
        names = [node.name for node in self._session.get_inputs()]
        for name, array in zip(names, (self.observation, self.mask, *read), strict=True):
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        outputs = [node.name for node in self._session.get_outputs()]
        for name, array in zip(outputs, (self._logits, *written), strict=True):
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding

    def __call__(self, given: Arrays) -> Arrays:
        """Decide; the state is its own, what is given of it is not read."""
        self.observation[...], self.mask[...] = given[0], given[1]
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        return (self._logits.copy(), *self._sets[self._turn])


class Whole:
    """`clstm_policy` as a bundle is used: every input checked, the decision named, its probabilities told."""

    def __init__(self, path: Path):
        schema = {"observation": OBSERVATION, "actions": ACTIONS}
        self.policy = Policy(Graph(path), {"schema": schema, "provenance": {}, "memory_sessions": MEMORY})

    def __call__(self, given: Arrays) -> Arrays:
        """Decide; the state is its own, what is given of it is not read."""
        decided = self.policy.act(given[0], given[1])
        assert isinstance(decided, list)
        return (np.array([list(one.probabilities.values()) for one in decided]), *self.policy.remembered().values())


def candidates(step: PolicyStep, folder: Path, accounts: int) -> Iterator[tuple[str, Callable[[Arrays], Arrays]]]:
    """Every runtime of one policy, by name."""
    import onnx
    import onnxruntime as ort
    from onnx.reference import ReferenceEvaluator
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph, script, small = folder / "policy.onnx", folder / "policy.ts", folder / "int8.onnx"
    schema = {"observation": list(OBSERVATION), "actions": list(ACTIONS)}
    export_onnx(step, graph, metadata_of(schema, "", MEMORY))
    export_torchscript(step, script)
    reference, names = eager(step), input_names(step)
    yield "PyTorch, eager", reference.decide
    yield "TorchScript", torchscript(script).decide
    usual = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    yield "ONNX Runtime, its own threads", lambda given: tuple(usual.run(None, dict(zip(names, given, strict=True))))
    yield "ONNX Runtime", one_thread(graph).decide
    yield BOUND, Bound(graph, reference, accounts)
    yield WHOLE, Whole(graph)
    by_head = [node.name for node in onnx.load(str(graph)).graph.node if node.op_type == "MatMul"]  # not by channel
    quantize_dynamic(str(graph), str(small), weight_type=QuantType.QInt8, per_channel=True, nodes_to_exclude=by_head)
    yield "ONNX Runtime, int8 weights", one_thread(small).decide
    yield "ONNX Runtime, int8 weights, buffers bound", Bound(small, reference, accounts)
    slow = ReferenceEvaluator(onnx.load(str(graph)))
    yield NUMPY, lambda given: tuple(slow.run(None, dict(zip(names, given, strict=True))))


def measure(hidden: int, accounts: int, *, repeats: int, rounds: int, walked: int) -> list[Row]:
    """Every runtime's row."""
    torch.manual_seed(0)
    policy = CLSTM(len(OBSERVATION), len(ACTIONS), ModelConfig(hidden_dim=hidden)).eval()
    step = actor_step(policy, MEMORY)
    rows = []
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        for name, run in candidates(step, Path(place), accounts):
            few = 1 if name == NUMPY else rounds
            times = min((_times(eager(step), run, accounts, repeats) for _ in range(few)), key=lambda t: np.median(t))
            steps = min(walked, 200) if name == NUMPY else walked
            differing = _differing(eager(step), run, accounts, steps)
            p50, p99 = np.percentile(times, [50, 99]) / 1000
            rows.append(Row(hidden, accounts, name, float(p50), float(p99), differing, steps * accounts))
    return rows


def _times(like: Runtime, run: Callable[[Arrays], Arrays], accounts: int, repeats: int) -> np.ndarray:
    """Nanoseconds of each decision [repeats]."""
    given, times = like.blank(accounts), np.empty(repeats)
    for index in range(-repeats // 10, repeats):
        began = time.perf_counter_ns()
        outputs = run(given)
        if index >= 0:
            times[index] = time.perf_counter_ns() - began
        given = (*given[:2], *like.carry(outputs))
    return times


def _differing(like: Runtime, run: Callable[[Arrays], Arrays], accounts: int, steps: int) -> int:
    """Decisions unlike eager PyTorch's, each with its own state, on the same random observations and masks."""
    draws, count = np.random.default_rng(1), 0
    mine = theirs = like.blank(accounts)[2:]
    if isinstance(run, Bound):
        run._turn = 0
        for state in run._sets[0]:
            state[...] = 0
    if isinstance(run, Whole):
        run.policy.forget()
    for _ in range(steps):
        observation = draws.standard_normal((accounts, len(OBSERVATION)), dtype=np.float32)
        mask = draws.random((accounts, len(ACTIONS))) < 0.6
        mask[:, 0] = True
        expected, found = like.decide((observation, mask, *mine)), run((observation, mask, *theirs))
        mine, theirs = like.carry(expected), like.carry(found)
        count += int((expected[0].argmax(axis=1) != found[0].argmax(axis=1)).sum())
    return count


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| hidden | accounts | runtime | p50, us | p99, us | decisions unlike eager PyTorch's |", "|---" * 6 + "|"]
    lines += [
        f"| {row.hidden} | {row.accounts} | {row.runtime} | {row.p50:,.0f} | {row.p99:,.0f} | {row.differing:,} of "
        f"{row.walked:,} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    out = argparse.ArgumentParser(prog="python -m tools.bench.latency", description=__doc__.splitlines()[0])
    out.add_argument("--hidden", type=int, nargs="+", default=[64, 256])
    out.add_argument("--accounts", type=int, nargs="+", default=[1, 64])
    out.add_argument("--repeats", type=int, default=2000, help="decisions of a round")
    out.add_argument("--rounds", type=int, default=5)
    out.add_argument("--walked", type=int, default=10_000, help="decisions that are compared with eager PyTorch's")
    options = out.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for hidden in options.hidden:
        for accounts in options.accounts:
            size = {"repeats": max(50, options.repeats // accounts), "walked": max(50, options.walked // accounts)}
            rows += measure(hidden, accounts, rounds=options.rounds, **size)
            print(f"hidden {hidden}, {accounts} accounts: done", file=sys.stderr)
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
