"""The plan of a retraining as its first run's folder keeps it: what was begun is gone on with, and nothing else."""

from dataclasses import replace
from pathlib import Path

from clstm_core.artifacts.folder import read_json, write_json
from clstm_core.artifacts.places import Places
from clstm_core.errors import ConfigError
from clstm_core.feedback.plan import NEWEST, PLAN, RetrainPlan
from clstm_core.market.sources import open_source


def begin(plan: RetrainPlan, places: Places) -> RetrainPlan:
    """Keep the plan in its first run's folder; the same with its newest session named.

    What arrives while it is stopped makes no other retraining of it.

    Raises: ConfigError for a plan that does other things than what the folder was begun with
    """
    place = places.run(plan.name).path / PLAN
    kept = read_json(place)
    if kept is None and place.exists():
        raise ConfigError(f"unreadable plan {place}: expected what {plan.name} was begun with. Pass another --name.")
    try:
        begun = RetrainPlan.from_dict(kept) if kept is not None else plan
    except ConfigError as error:
        raise ConfigError(
            f"{place} cannot be gone on with by this release: {error} Pass another --name, or go on by the release "
            f"that {plan.name} was begun with."
        ) from error
    if begun.sha256 != plan.sha256:
        mine = plan.to_dict()
        different = sorted(name for name, value in kept.items() if mine.get(name) != value)
        raise ConfigError(
            f"retraining {plan.name} was begun with another plan: {', '.join(different)} differ. Pass another --name, "
            f"or the settings in {place}."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, plan.to_dict())
    return plan if plan.as_of is not None else replace(plan, as_of=_newest(plan, place.with_name(NEWEST)))


def _newest(plan: RetrainPlan, place: Path) -> str:
    """The newest session that was known when a plan was begun, ISO."""
    kept = read_json(place)
    if isinstance(kept, dict) and isinstance(kept.get("as_of"), str):
        return kept["as_of"]
    newest = max(open_source(plan.market).list_snapshots()).isoformat()
    write_json(place, {"as_of": newest})
    return newest
