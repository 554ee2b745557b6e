"""What starts something when it happens: files that a vendor delivered, a run that failed. All start switched off."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from orchestration.asked_again import NONE_NEW, asked_again, attempt_key
from orchestration.failures import kept_failures
from orchestration.home import project_home
from orchestration.jobs import fine_tune_challenger, refresh_market_data, run_shadow
from orchestration.shadow_launch import SHADOW_RUN, shadow_request, why_none
from orchestration.standing import read_standing, run_config
from orchestration.triggers import champion_stands, failed_again, launch_of, places, watched_account

if TYPE_CHECKING:
    from clstm_core.recipe import Recipe

WEBHOOK = "CLSTM_WEBHOOK_URL"
"""Environment variable with an address that failures are posted to, as JSON. It may hold a secret: never in a file."""

SLACK_TOKEN, SLACK_CHANNEL = "SLACK_BOT_TOKEN", "CLSTM_SLACK_CHANNEL"
PATIENCE_S, ATTEMPTS = 10.0, 3


def now() -> datetime:
    """The time; tests put another one in its place."""
    return datetime.now(UTC)


@dg.sensor(
    job=refresh_market_data,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=60,
    description="Refreshes market data when files of the standing recipe's folder are new or another, and at rest.",
)
def new_vendor_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One launch per state of the folder, once two looks have found it the same: files arrive in pieces.

    One that failed is asked for again, a few times.
    """
    recipe = read_standing(project_home() / "data")
    found = _at_rest(context, recipe, again="")
    if isinstance(found, dg.SkipReason | dg.SensorResult):
        return found
    state, key = found
    tags = {"recipe": recipe.name, "source": recipe.source}
    wanted = dg.RunRequest(run_key=key, run_config=run_config(recipe), tags=tags)
    return dg.SensorResult(run_requests=[wanted], cursor=f"{state}:{state}")


@dg.sensor(
    job=run_shadow,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=15,
    description=f"New sessions of the standing recipe's folder in shadow, with the bundle of the run in {SHADOW_RUN}.",
)
def shadow_sessions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One launch per state of the folder, once two looks have found it the same; a few where they fail."""
    recipe = read_standing(project_home() / "data")
    if why := why_none(context.instance, recipe):
        return dg.SkipReason(why)
    found = _at_rest(context, recipe, again=f"{os.environ[SHADOW_RUN]}-")
    if isinstance(found, dg.SkipReason | dg.SensorResult):
        return found
    state, key = found
    return dg.SensorResult(run_requests=[shadow_request(recipe, key)], cursor=f"{state}:{state}")


@dg.sensor(
    job=fine_tune_challenger,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=300,
    description=f"A challenger when drift is flagged in the shadow account of {SHADOW_RUN}, else of the champion.",
)
def drift_retraining(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One launch per feature that is flagged and one per week at most: what is flagged again asks for no more.

    One that failed is asked for again, a few times, as long as what it was asked for is flagged.
    """
    from clstm_core.feedback.triggers import Flagged, by_drift, watched

    if not champion_stands():
        return dg.SkipReason("No champion stands: there is nothing to train on from.")
    name = os.environ.get(SHADOW_RUN) or watched_account()
    account = watched(places(), name)
    if account is None:
        return dg.SkipReason(f"There is no shadow account {name}.")
    asked, state = by_drift(account, Flagged.of(context.cursor or ""))
    if asked is not None:
        return dg.SensorResult(run_requests=[launch_of(context.instance, asked)], cursor=state.cursor)
    again, why = failed_again(context.instance, state.asked, now())
    if again is not None:
        return dg.SensorResult(run_requests=[again], cursor=state.cursor)
    words = why or "No feature is flagged."
    if account.drift_flagged and not why:
        new = sorted(set(account.drift_flagged) - set(state.features))
        words = (
            f"{', '.join(new)} asks next week: drift asked in week {state.week} already."
            if new
            else ("What is flagged has been asked for.")
        )
    return dg.SensorResult(skip_reason=words, cursor=state.cursor)


@dg.sensor(
    job=fine_tune_challenger,
    default_status=dg.DefaultSensorStatus.STOPPED,
    minimum_interval_seconds=300,
    description="A challenger when files of the standing recipe's folder are new and at rest; one per week at most.",
)
def new_data_retraining(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One launch per week in which files came: every challenger that is judged is a look.

    One that failed is asked for again within its week, a few times.
    """
    from clstm_core.feedback.triggers import by_data

    if not champion_stands():
        return dg.SkipReason("No champion stands: there is nothing to train on from.")
    recipe = read_standing(project_home() / "data")
    found = _at_rest(context, recipe)
    asked = by_data(now().date(), Path(str(recipe.data_dir)).name)
    if isinstance(found, dg.SensorResult) or (isinstance(found, dg.SkipReason) and found.skip_message != NONE_NEW):
        return found
    if isinstance(found, dg.SkipReason):
        again, why = failed_again(context.instance, asked, now())
        return dg.SkipReason(why) if why else found if again is None else dg.SensorResult(run_requests=[again])
    state, _ = found
    return dg.SensorResult(run_requests=[launch_of(context.instance, asked)], cursor=f"{state}:{state}")


def _at_rest(
    context: dg.SensorEvaluationContext, recipe: "Recipe", again: str | None = None
) -> tuple[str, str] | dg.SkipReason | dg.SensorResult:
    """The state of the recipe's folder that is to be launched for, and the key of that launch.

    A state that nothing was launched for yet, once two looks have found it the same; else why nothing is launched. The
    cursor is the state that was seen last, and the one that was launched for.

    Args:
        again: what a run key has before its state, where a launch that failed is asked for again; None where it is not
    """
    if not recipe.data_dir:
        return dg.SkipReason(f"Source {recipe.source} reads no folder.")
    found = fingerprint(Path(recipe.data_dir))
    if found is None:
        return dg.SkipReason(f"{recipe.data_dir} holds no file.")
    seen, _, launched = (context.cursor or "").partition(":")
    if found == launched:
        attempt, why = (None, NONE_NEW) if again is None else asked_again(context.instance, f"{again}{found}", now())
        return dg.SkipReason(why) if attempt is None else (found, attempt_key(found, attempt))
    if found != seen:
        return dg.SensorResult(skip_reason="Files are arriving: waiting until they rest.", cursor=f"{found}:{launched}")
    return found, found


def fingerprint(folder: Path) -> str | None:
    """What changes with the name, size or time of any file below a folder; None for a folder without files."""
    digest, files = hashlib.sha256(), 0
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            stat = path.stat()
            digest.update(f"{path.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
            files += 1
    return digest.hexdigest()[:16] if files else None


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=f"Says of a failed run what failed: in the log, at {WEBHOOK}, and in Slack where that is set up.",
)
def run_failures(context: dg.RunFailureSensorContext) -> None:
    """The sentence of the failure to whoever listens; one who does not answer keeps the others from nothing."""
    said = kept_failures(context.instance, context.dagster_run.run_id)
    told = failure(context.dagster_run, "; ".join(said) or context.failure_event.message or "")
    context.log.error(told["text"])
    for name, tell in (("webhook", _post), ("Slack", _slack)):
        try:
            tell(told)
        except Exception as error:  # whatever a client raises: the others are still told
            context.log.warning(f"{name} was not told: {type(error).__name__}")  # its words may hold the address


def failure(run: dg.DagsterRun, message: str) -> dict[str, Any]:
    """What is told of a failed run."""
    name = run.tags.get("dagster/partition", run.run_id[:8])
    words = " ".join(message.split())[:600]
    return {
        "text": f"{run.job_name} of {name} failed: {words}",
        "run_id": run.run_id,
        "job": run.job_name,
        "run": name,
        "recipe": run.tags.get("recipe"),
        "source": run.tags.get("source"),
    }


def _post(told: dict[str, Any]) -> None:
    if not (address := os.environ.get(WEBHOOK)):
        return
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    with requests.Session() as session:
        again = Retry(total=ATTEMPTS, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504), allowed_methods=None)
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(max_retries=again))
        session.post(address, json=told, timeout=PATIENCE_S).raise_for_status()


def _slack(told: dict[str, Any]) -> None:
    token, channel = os.environ.get(SLACK_TOKEN), os.environ.get(SLACK_CHANNEL)
    if not (token and channel):
        return
    from dagster_slack import SlackResource

    SlackResource(token=token).get_client().chat_postMessage(channel=channel, text=told["text"])


sensors = [new_vendor_files, shadow_sessions, drift_retraining, new_data_retraining, run_failures]
