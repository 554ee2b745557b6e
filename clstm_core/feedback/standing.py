"""What a retraining is made from as things stand: the registry's champion and its recipe, or a recipe for the first."""

from collections.abc import Sequence
from typing import Any

from clstm_core.artifacts.manifests import ChallengerManifest
from clstm_core.artifacts.places import Places
from clstm_core.errors import ConfigError
from clstm_core.feedback.looks import spent
from clstm_core.feedback.plan import CHAMPION, SCRATCH, STARTS, RetrainPlan
from clstm_core.feedback.registry import Registry, standing_plan
from clstm_core.plural import counted
from clstm_core.recipe import Recipe

BOTH, AUTO = "both", "auto"
ASKED = (AUTO, *STARTS, BOTH)
"""`auto`: from the champion where one stands, else from scratch."""


def plan_for(places: Places, recipe: Recipe, *, name: str, why: str, start: str = AUTO, **more: Any) -> RetrainPlan:
    """The plan of a retraining that is begun now.

    Args:
        recipe: what a first challenger is trained with. Where a champion stands its own settings count, and of the
                recipe only where files lie, the device and the audit
        more: further settings of the plan

    Raises: ConfigError for what cannot work; RegistryError and BundleError for a champion that is damaged
    """
    from clstm_core.train.champion import read_champion

    if start not in ASKED:
        raise ConfigError(f"start {start!r}: expected one of {', '.join(ASKED)}. Pass one as --start.")
    state = Registry(places).current()
    held = state.champion if state else None
    starts = {AUTO: (CHAMPION if held else SCRATCH,), BOTH: STARTS}.get(start, (start,))
    settings, champion = recipe.run_config(), ("", "")
    if held is not None:
        settings, _ = read_champion(held.folder, identity=held.identity)
        champion = (held.identity, places.relative(held.folder))
    return RetrainPlan(
        name=name,
        why=why,
        settings=settings.to_dict(),
        starts=starts,
        champion=champion[0],
        champion_folder=champion[1],
        data_dir=recipe.data_dir,
        device=recipe.device,
        audit=recipe.audit,
        **more,
    )


def recipe_of(places: Places, usual: Recipe) -> Recipe:
    """The recipe that a launch is tagged with and reads files by: the champion's where one stands, else `usual`."""
    import dataclasses

    from clstm_core.config import RECIPES
    from clstm_core.market.sources import spec
    from clstm_core.train.champion import read_champion

    state = Registry(places).current()
    if state is None or state.champion is None:
        return usual
    config, _ = read_champion(state.champion.folder, identity=state.champion.identity)
    source = config.market.source
    return dataclasses.replace(
        usual,
        name=config.recipe if config.recipe in RECIPES else usual.name,
        source=source,
        data_dir=usual.data_dir if spec(source).needs_folder else None,
        n_snapshots=config.market.n_snapshots if spec(source).has_length else None,
    )


def look_words(places: Places, plan: RetrainPlan) -> str:
    """What a retraining may cost of the year's looks, said before anything is trained.

    Raises: RegistryError for a registry that is altered; EvaluationError for an altered trial registry
    """
    registry = Registry(places)
    before, limits = spent(places, registry.history()), standing_plan(places)
    cost = len(plan.starts)
    said = (
        f"It costs up to {cost} of the year's {counted(limits.looks_per_year, 'look')}, one per start that is judged, "
        f"proposed or not; {before} were spent in the last 365 days."
    )
    if cost > 1:
        said += " Policies that are judged on the same days are as many tests."
    if before + cost > limits.looks_per_year:
        said += " What goes beyond them is refused by rule fresh look, until some are older than 365 days."
    return said


def propose_first(places: Places, found: Sequence[ChallengerManifest], why: str) -> str:
    """Let the first of a retraining's challengers that is worth it stand in the registry; what came of that, in words.

    The first in the plan's order, so that nobody is chosen by the days that both were judged on.
    """
    from clstm_core.feedback.registry import WORTHY

    worthy = [each for each in found if each.outcome == WORTHY]
    if not worthy:
        return "Nothing was proposed."
    chosen = worthy[0]
    state = Registry(places).current()
    if state is not None and state.challenger is not None and state.challenger.identity == chosen.bundle:
        return f"{chosen.run} stands as challenger already."
    return Registry(places).propose(chosen, places.bundle(chosen.run), why).decision.answer
