"""One measurement in a process of its own: `python -m tools.bench.worker --system ours --hidden 64` prints JSON."""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from tools.bench.task import SYSTEMS, Task

ROOFLINE = "roofline"
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 512, 1024), (4096, 1024, 512), (256, 320, 1024))
"""Matrix products, m x k by k x n, that the roofline is the best of."""


def measure(iterate: Callable[[], object], seconds: float, *, warmup: int = 2, at_least: int = 1) -> list[float]:
    """Seconds of each whole iteration after a warm-up, for `seconds` in all and `at_least` so many."""
    for _ in range(warmup):
        iterate()
    times: list[float] = []
    while len(times) < at_least or sum(times) < seconds:
        began = time.perf_counter()
        iterate()
        times.append(time.perf_counter() - began)
    return times


def roofline(dtype: torch.dtype, seconds: float = 0.3, shapes: Sequence[tuple[int, int, int]] = SHAPES) -> float:
    """Most GFLOP/s that torch does with these threads: the fastest call of the best shape.

    In float32 it asks oneDNN too, which torch.nn.LSTM uses and torch.mm does not: on some processors it is the faster.
    """
    best = 0.0
    for m, k, n in shapes:
        left, right = torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype)
        products: list[Callable[[], object]] = [partial(torch.mm, left, right)]
        if dtype == torch.float32 and torch.backends.mkldnn.is_available():
            weight = right.t().contiguous().to_mkldnn()
            products.append(partial(torch.ops.aten.mkldnn_linear, left.to_mkldnn(), weight, None))
        with torch.inference_mode():
            fastest = min(time for product in products for time in measure(product, seconds))
        best = max(best, 2e-9 * m * k * n / fastest)
    return best


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one system, or the roofline; one line of JSON on stdout, whatever a system prints goes to stderr."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.worker", description=__doc__)
    parser.add_argument("--system", choices=(*SYSTEMS, ROOFLINE), required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warmup", type=int, default=2)
    for name, default in (("hidden", 64), ("threads", 1), ("n-envs", 64), ("n-steps", 128)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--bptt-steps", type=int, default=16)
    parser.add_argument("--precision", default="float32")
    options = vars(parser.parse_args(arguments))
    name, seconds, warmup = (options.pop(key) for key in ("system", "seconds", "warmup"))
    torch.set_num_threads(options["threads"])
    with contextlib.redirect_stdout(sys.stderr):
        if name == ROOFLINE:
            found = {str(dtype).removeprefix("torch."): roofline(dtype) for dtype in (torch.float32, torch.bfloat16)}
        else:
            task = Task(**options)
            times = measure(SYSTEMS[name].build(task), seconds, warmup=warmup)
            found = {"median": task.env_steps / statistics.median(times), "best": task.env_steps / min(times)}
    print(json.dumps(found | {"torch": torch.__version__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
