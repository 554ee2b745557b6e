"""What a GPU would make of counted kernels: a projection from assumptions that are named, measured nowhere."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

ENV_STEP = "env step"
SENTENCE = "projection, nothing was measured on a GPU"
EAGER_LAUNCH = 4.5e-6
"""Seconds per kernel launched one by one, 4 to 5 us; Python's own time per operation is not in it."""
GRAPH_LAUNCH = 1.25e-6
"""Seconds per small kernel in a captured graph, 1.0 to 1.5 us."""
BANDWIDTH = 3.35e12
"""Bytes per second, as if nothing stayed in L2. Source: the design's figure of an H100 (an H200 has more)."""
PEAK = {"float32": 67e12, "TF32": 495e12, "bfloat16": 790e12}
"""FLOP/s of dense products. Source: NVIDIA's data sheet of the H100 SXM; bfloat16 is the design's, measured."""
FRACTION = 0.4
"""Share of the peak that products of 256 to 4,096 rows reach; assumed."""
LSTM_STEP = {"cuDNN's standard LSTM": 6e-6, "an own cluster kernel": 1.2e-6}
"""Seconds per dependent step of a layer, forward or backward. Source: the design's table, 5 to 7 and about 1.2 us."""


class Part(NamedTuple):
    """A part of an iteration: how often it comes, all its kernels by the bytes that they move, all its FLOP."""

    name: str
    times: int
    moved: Counter[int]
    flops: int

    @property
    def kernels(self) -> int:
        """Of all times."""
        return self.moved.total()

    @property
    def bytes(self) -> int:
        """Read and written, all times."""
        return sum(size * count for size, count in self.moved.items())


class LSTMStep(NamedTuple):
    """Kernels of one step of one LSTM layer by torch operations, and how many steps an iteration has."""

    forward: int
    backward: int
    forward_steps: int
    backward_steps: int


class Way(NamedTuple):
    """A way to run an iteration."""

    name: str
    launch: float  # seconds per kernel
    precision: str
    compiled: bool = False  # the env's step
    lstm: str | None = None  # what computes a layer's step; None: torch operations


WAYS = (
    Way("eager", EAGER_LAUNCH, "float32"),
    Way("eager, env compiled", EAGER_LAUNCH, "float32", compiled=True),
    Way("graphs", GRAPH_LAUNCH, "float32"),
    Way("graphs, env compiled", GRAPH_LAUNCH, "float32", compiled=True),
    Way("graphs, env compiled, TF32", GRAPH_LAUNCH, "TF32", compiled=True),
    *(
        Way(f"graphs, env compiled, {precision}, {name}", GRAPH_LAUNCH, precision, compiled=True, lstm=name)
        for name, precision in zip(LSTM_STEP, ("TF32", "bfloat16"), strict=True)
    ),
)


class Seconds(NamedTuple):
    """What an iteration takes: its kernels' launches, what memory adds if nothing stays in L2, and products."""

    kernels: int
    launches: float
    memory: float
    products: float


def seconds(way: Way, parts: Sequence[Part], lstm: LSTMStep, compiled: int | None) -> Seconds:
    """An iteration this way; a compiled env step's memory is left out, any LSTM's is that of torch operations."""
    kernels, launches, memory = 0, 0.0, 0.0
    for part in parts:
        if way.compiled and compiled is not None and part.name == ENV_STEP:
            count = compiled * part.times
        else:
            count = part.kernels
            memory += sum(n * max(0.0, size / BANDWIDTH - way.launch) for size, n in part.moved.items())
        kernels, launches = kernels + count, launches + count * way.launch
    if way.lstm is not None:
        steps = lstm.forward_steps + lstm.backward_steps
        replaced = lstm.forward * lstm.forward_steps + lstm.backward * lstm.backward_steps
        kernels += steps - replaced
        launches += steps * LSTM_STEP[way.lstm] - replaced * way.launch
    return Seconds(kernels, launches, memory, sum(part.flops for part in parts) / (FRACTION * PEAK[way.precision]))


def projection(parts: Sequence[Part], lstm: LSTMStep, compiled: int | None, samples: int) -> list[str]:
    """Markdown rows of `WAYS`, under a sentence that says what they are."""
    rows = []
    for way in WAYS:
        if way.compiled and compiled is None:
            continue
        kernels, *times = seconds(way, parts, lstm, compiled)
        least, most = (samples / took / 1e6 for took in (sum(times), times[0] + times[2]))
        columns = " | ".join(f"{took:6.3f}" for took in times)
        rows.append(f"| {way.name:53} | {kernels:9,} | {columns} | {least:.2f} to {most:.2f} |")
    peaks = ", ".join(f"{name} {peak / 1e12:.0f}" for name, peak in PEAK.items())
    steps = ", ".join(f"{name} {1e6 * step:g} us" for name, step in LSTM_STEP.items())
    return [
        f"Projection for an H100 or H200, one stream ({SENTENCE}):",
        "",
        "| way | kernels an iteration | s of launches | s of memory besides | s of products | M steps/s |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        f"Assumed: {1e6 * EAGER_LAUNCH:g} us per kernel eagerly (Python's own time not counted), "
        f"{1e6 * GRAPH_LAUNCH:g} us in a graph; besides, what its bytes take longer at {BANDWIDTH / 1e12:g} TB/s, "
        f"unless all stays in L2 (the second rate); {FRACTION:.0%} of a peak of {peaks} TFLOP/s; a step of {steps}.",
    ]
