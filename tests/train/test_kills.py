"""SIGKILL at twenty moments, many of them within a checkpoint's writing: the run ends as if there had been none."""

import json
import os
import subprocess
import sys
from pathlib import Path

from clstm_core.artifacts.folder import sweep

HERE = Path(__file__).parent


def test_a_run_that_is_killed_twenty_times_ends_as_the_uninterrupted_one(tmp_path, same_run):
    command = [sys.executable, str(HERE / "kills.py"), str(HERE.parent / "conftest.py"), str(tmp_path), "20"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=HERE.parents[1])
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    within = [kill["within"] for kill in kills if kill["within"]]
    assert len(kills) == 20
    assert len(within) >= 8, kills
    assert len(set(within)) >= 3, "in different steps of a write"
    assert same_run(tmp_path / "killed", tmp_path / "whole")
    left = list((tmp_path / "killed").rglob(".*.tmp*"))
    assert all(place.is_file() and place.suffix == ".tmp" for place in left), "what the kills left was swept"
    for place in left:  # a file that has no mark may be a living writer's for a minute
        os.utime(place, (0, 0))
        sweep(place.parent)
    assert not any(place.exists() for place in left)
