"""The Dagster instance of this project: the same for the command line and for the UI."""

import os
import shutil
from pathlib import Path

TEMPLATE = Path(__file__).with_name("dagster.yaml")

DEV_LOCK = "dev.lock"
"""File in DAGSTER_HOME that `clstm dev` holds for as long as it serves."""


def project_home() -> Path:
    """Where data/ and reports/generated/ lie: CLSTM_HOME, or this checkout."""
    return Path(os.environ.get("CLSTM_HOME") or Path(__file__).parents[1]).resolve()


def dagster_home() -> Path:
    """DAGSTER_HOME, made and configured when missing: the environment's, else .dagster beside data/."""
    home = Path(os.environ.get("DAGSTER_HOME") or project_home() / ".dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        shutil.copyfile(TEMPLATE, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home
