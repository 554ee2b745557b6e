"""What triggers of retraining share: whether a champion stands, which account is watched, and the launch itself."""

from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg

from assets.partitions import training_run
from orchestration.asked_again import NONE_NEW, asked_again, attempt_key
from orchestration.home import project_home
from orchestration.jobs import chosen
from orchestration.standing import read_standing

if TYPE_CHECKING:
    from clstm_core.artifacts.places import Places
    from clstm_core.feedback.triggers import Asked

WHY_TAG = "why"


def places() -> "Places":
    """The data folder of this installation."""
    from clstm_core.artifacts.places import Places

    return Places(project_home() / "data")


def champion_stands() -> bool:
    """Whether the registry has a champion; a damaged registry is said by whoever trains on from it."""
    return watched_account() != ""


def watched_account() -> str:
    """The run of the champion, whose shadow account has its name; "" where none stands."""
    from clstm_core.feedback.registry import Registry

    state = Registry(places()).current()
    return state.champion.run if state is not None and state.champion is not None else ""


def failed_again(
    instance: dg.DagsterInstance, asked: "Asked | None", now: datetime
) -> tuple[dg.RunRequest | None, str]:
    """A launch of what was asked for and failed, when one is due; else None, and why where there is a reason.

    It has the same run, so that what was trained is gone on with and no look is counted twice.
    """
    attempt, why = asked_again(instance, asked.run, now) if asked is not None else (None, NONE_NEW)
    if asked is None or attempt is None:
        return None, "" if why == NONE_NEW else why
    return launch_of(instance, asked, attempt), ""


def launch_of(instance: dg.DagsterInstance, asked: "Asked", attempt: int = 1) -> dg.RunRequest:
    """A launch of `fine_tune_challenger` with its own key; the same state of things gives the same key.

    Args:
        attempt: 2 or more where launches before it failed
    """
    import dataclasses

    from clstm_core.feedback.standing import recipe_of

    recipe = recipe_of(places(), read_standing(project_home() / "data"))
    instance.add_dynamic_partitions(str(training_run.name), [asked.run])
    asset = {"challenger_policy": {"config": {"why": asked.why}}}
    return dg.RunRequest(
        run_key=attempt_key(asked.run, attempt),
        partition_key=asked.run,
        run_config=chosen(**dataclasses.asdict(recipe)) | {"ops": asset},
        tags={"recipe": recipe.name, "source": recipe.source, WHY_TAG: asked.why[:200]},
    )
