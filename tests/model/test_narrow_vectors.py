"""Kernels take 16 numbers at once on this kind of processor and 8 on others: the narrower code is tried here too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clstm_core.native import build

HERE = Path(__file__).parent
FILES = [
    HERE / "test_kernels.py",
    HERE.parent / "ppo" / "test_adam.py",
    HERE.parent / "ppo" / "test_policy_loss_kernel.py",
]
RUN = """
import sys, pytest
from clstm_core.native import build
build.FLAGS += ("-mno-avx512f",)
assert build.load("lstm").units() == 8
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


@pytest.mark.skipif(bool(build.why_not("lstm")), reason=build.why_not("lstm"))
def test_kernels_of_eight_lanes_are_those_of_torch_operations_too(tmp_path):
    if build.load("lstm").units() == 8:
        pytest.skip("kernels take 8 numbers at once here: the other tests try them")
    said = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, FILES)],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-1000:]
    assert "passed" in said.stdout
