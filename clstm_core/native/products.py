"""Which library multiplies matrices: torch's choice leaves half of some processors unused, another does not."""

import functools
from pathlib import Path
from typing import Any

import torch

SIZE = 256
EXACT = 1e-5
"""Relative error of a product that is still one of float32; of bfloat16 it would be some 1e-3."""
MKL_IS_FOR = "GenuineIntel"


@functools.cache
def faster_products() -> str:
    """Let torch multiply float32 by oneDNN in this process, where that is faster and as exact; what it does, in words.

    torch's own choice, MKL, takes AVX2 on processors by other makers than its own: on AMD's with AVX-512 it reached 110
    GFLOP/s where oneDNN reached 240. Asking for leave to round is what sends products to oneDNN; where the processor
    then does round, nothing is changed. Nothing is timed: the same machine decides the same every time.
    """
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if matmul is None or not torch.backends.mkldnn.is_available() or _maker() in ("", MKL_IS_FOR):
        return "float32 products by torch's choice"
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    if _error() <= EXACT:
        return "float32 products by oneDNN"
    matmul.fp32_precision = before
    return "float32 products by torch's choice: oneDNN would round them"


def _error() -> float:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(SIZE, SIZE, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    return ((a @ b - exact).abs().max() / exact.abs().max()).item()


def _maker() -> str:
    """Of an x86 processor, as Linux names it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "")
