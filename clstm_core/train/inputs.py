"""The configuration of a run as its inputs say it; without torch, for whoever only asks."""

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.config import RunConfig


def config_of(inputs: RunInputs) -> RunConfig:
    """What a run is trained with; ConfigError where this release cannot read it."""
    return RunConfig.from_dict(dict(inputs.config))
