"""The configuration of a run as its inputs say it; without torch, for whoever only asks."""

from pathlib import Path
from typing import TYPE_CHECKING

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import RunConfig, WorldsConfig

if TYPE_CHECKING:
    from clstm_core.recipe import Recipe

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


def inputs_for(run: str, recipe: "Recipe", places: Places) -> RunInputs:
    """What the run is to be made from: the recipe's market as the cache has it, proven for the recipe's account.

    Raises: MarketDataError where the market was not made; AuditError where it is not proven
    """
    from clstm_core.artifacts.code import git_commit
    from clstm_core.gate import Size, read_tensors, require_verdict
    from clstm_core.market.cache import training_tensors

    found = training_tensors(recipe.market(), places.cache, recipe.embargo, make=False)
    evaluation, training = read_tensors(found.evaluation), read_tensors(found.training)
    config, command = recipe.run_config(), f"clstm audit {recipe.flags()}"
    size: Size = "full" if recipe.audit == "full" else "quick"
    verdict, trained_in = (
        require_verdict(tensors, config.env, size, places.cache, command) for tensors in (evaluation, training)
    )
    train, test = training.info["splits"]["train"], evaluation.info["splits"].get("test", [0, 0])
    return RunInputs(
        run=run,
        config=config.to_dict(),
        config_sha256=config.sha256,
        git_commit=git_commit(),
        facts={
            **{name: evaluation.info[name] for name in ("source", "label", "spread", "quotes_sha256")},
            "quotes_dir": str(Path(evaluation.info["quotes_path"]).parent),
            **trained_on(
                config.worlds,
                source=training.info["source"],
                label=training.info["label"],
                sessions=train[1] - train[0],
                reason=found.reason,
            ),
            "training_snapshots": train[1] - train[0],
            "heldout_snapshots": test[1] - test[0],
        },
        parents={
            "quotes": evaluation.parents["quotes"],
            "tensors": evaluation.identity,
            "training_tensors": training.identity,
            "verdict": verdict.identity,
            "training_verdict": trained_in.identity,
        },
    )
