"""A policy's checkpoint as training leaves it, for tests that need one and train none."""

from pathlib import Path

from clstm_core.checkpoint import save_checkpoint
from clstm_core.config import RunConfig
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION


def save_policy(folder: Path, policy: CLSTM, config: RunConfig, **facts: object) -> Path:
    """Folder of a written checkpoint of `policy`; `facts` go before those that it has unless told otherwise."""
    meta = {
        "config": config.to_dict(),
        "observation_size": len(OBSERVATION),
        "n_actions": len(ACTIONS),
        "iteration": 3,
        "milestone": folder.name,
        "env_steps": 1234,
        "git_commit": "0" * 40,
        "training_data_sha256": "f" * 64,
    }
    return save_checkpoint(folder, model=policy.state_dict(), state={}, meta=meta | facts)
