"""Where the workers of one run of the tests keep what takes long to make and is the same for all."""

import os
from pathlib import Path


def of_all_workers(tmp_path_factory) -> Path:
    """A folder of this run of the tests that its workers share, and no other run."""
    mine = tmp_path_factory.getbasetemp()
    return mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
