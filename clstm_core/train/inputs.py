"""The configuration of a run as its inputs say it; without torch, for whoever only asks."""

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.config import RunConfig, WorldsConfig

SIMULATED = "simulated quotes"
"""What quotes of generated worlds are, whatever market these are made of (`market.worlds.training`)."""


def config_of(inputs: RunInputs) -> RunConfig:
    """What a run is trained with; ConfigError where this release cannot read it."""
    return RunConfig.from_dict(dict(inputs.config))


def trained_on(worlds: WorldsConfig, *, source: str, label: str, sessions: int, reason: str) -> dict[str, str]:
    """What a policy is trained on and what those quotes are: `trained_on` and `trained_label` of a run.

    Args:
        source, label, sessions: of the market whose training window is traded, or that worlds are made of
        reason: why it is that market, in words; what a run on the market itself says
    """
    if not worlds.generated:
        return {"trained_on": reason, "trained_label": label}
    total = sum(worlds.shares.values())
    families = ", ".join(f"{name} {share / total:.0%}" for name, share in worlds.shares.items() if share)
    words = f"worlds ({families}) made of the {sessions:,} training days of {source}"
    return {"trained_on": words, "trained_label": SIMULATED}
