"""When things start by themselves: after each session market data and shadow, each week a training run or a challenger.

All start switched off.

What they launch is the standing recipe. Ticks that were missed while nothing ran are not made up for one by one: the
newest alone counts.
"""

import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from assets.partitions import training_run
from orchestration.asked_again import ATTEMPTS, NONE_NEW, asked_again, attempt_key, newest_launch
from orchestration.home import project_home
from orchestration.jobs import fine_tune_challenger, refresh_market_data, run_shadow, train_and_evaluate
from orchestration.shadow_launch import SHADOW_RUN, shadow_request, why_none
from orchestration.standing import read_standing, run_config
from orchestration.triggers import champion_stands, launch_of

SESSION_TAG, ATTEMPT_TAG, WEEK = "session", "attempt", timedelta(days=7)
NEW_YORK = ZoneInfo("America/New_York")
SETTLED = timedelta(minutes=30)
"""How long after a session's end its quotes are asked for: index options trade for a quarter of an hour longer."""


def now() -> datetime:
    """The time; tests put another one in its place."""
    return datetime.now(UTC)


@dg.schedule(
    job=refresh_market_data,
    cron_schedule=["35 13 * * 1-5", "35 16 * * 1-5"],
    execution_timezone="America/New_York",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Quotes and tensors of the standing recipe, half an hour after each session, half days included.",
)
def daily_market_data(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One launch per session of the source's exchange: its holidays, half days and time zone decide."""
    from clstm_core.market.calendars import newest_ended_session
    from clstm_core.market.instrument import instrument
    from clstm_core.market.sources import spec

    recipe = read_standing(project_home() / "data")
    calendar = instrument(spec(recipe.source).instrument).calendar
    session = newest_ended_session(context.scheduled_execution_time - SETTLED, calendar)
    if session != (newest := newest_ended_session(now() - SETTLED, calendar)):
        return dg.SkipReason(
            f"The tick for session {session} was missed, and {newest} has ended since: it alone counts."
        )
    key = f"{recipe.source}-{session}"
    known = context.instance.get_runs(dg.RunsFilter(tags={SESSION_TAG: key}), limit=1)
    if known:
        return dg.SkipReason(f"Session {session} of {calendar} was asked for in launch {known[0].run_id[:8]}.")
    tags = {SESSION_TAG: key, "recipe": recipe.name, "source": recipe.source}
    return dg.RunRequest(run_key=key, run_config=run_config(recipe), tags=tags)


@dg.schedule(
    job=train_and_evaluate,
    cron_schedule="0 6 * * 6",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="A training run of the standing recipe each Saturday, 06:00 UTC, named after the day.",
)
def weekly_retraining(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One key and one launch per tick; a tick that a later one has overtaken does nothing."""
    tick = context.scheduled_execution_time.astimezone(UTC)
    if tick + WEEK <= now():
        return dg.SkipReason(f"The tick of {tick:%Y-%m-%d} was missed and a later one is due: only the newest is run.")
    if champion_stands():
        return dg.SkipReason("A champion stands: weekly_challenger trains on from it.")
    recipe = read_standing(project_home() / "data")
    key = f"weekly-{tick:%Y-%m-%d}"
    context.instance.add_dynamic_partitions(str(training_run.name), [key])
    return dg.RunRequest(
        run_key=key,
        partition_key=key,
        run_config=run_config(recipe),
        tags={"recipe": recipe.name, "source": recipe.source},
    )


@dg.schedule(
    job=fine_tune_challenger,
    cron_schedule="0 6 * * 6",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="A challenger from the champion each Saturday, 06:00 UTC, named after the day; never a champion.",
)
def weekly_challenger(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One key and one launch per tick where a champion stands; a tick that a later one has overtaken does nothing."""
    from clstm_core.feedback.triggers import by_week

    tick = context.scheduled_execution_time.astimezone(UTC)
    if tick + WEEK <= now():
        return dg.SkipReason(f"The tick of {tick:%Y-%m-%d} was missed and a later one is due: only the newest is run.")
    if not champion_stands():
        return dg.SkipReason("No champion stands: weekly_retraining trains from scratch.")
    return launch_of(context.instance, by_week(tick.date()))


@dg.schedule(
    job=run_shadow,
    cron_schedule=["5,25,55 17 * * 1-5", "25 18 * * 1-5"],
    execution_timezone="America/New_York",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description=f"The bundle of the run in {SHADOW_RUN} after each session, 17:05 New York; again where it failed.",
)
def shadow_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One launch per session of the source's exchange: an hour after the close, so that quotes have been read.

    The later ticks of an evening are for a launch that failed, or that had to wait for another of the same run.
    """
    from clstm_core.market.calendars import newest_ended_session
    from clstm_core.market.instrument import instrument
    from clstm_core.market.sources import spec

    recipe = read_standing(project_home() / "data")
    if why := why_none(context.instance, recipe):
        return dg.SkipReason(why)
    calendar = instrument(spec(recipe.source).instrument).calendar
    tick = context.scheduled_execution_time
    session, day = newest_ended_session(tick - SETTLED, calendar), tick.astimezone(NEW_YORK).date()
    if session != day:
        return dg.SkipReason(f"{calendar} held no session on {day}.")
    if session != (newest := newest_ended_session(now() - SETTLED, calendar)):
        return dg.SkipReason(
            f"The tick for session {session} was missed, and {newest} has ended since: it alone counts."
        )
    tags, first = {SESSION_TAG: f"shadow-{session}"}, f"{os.environ[SHADOW_RUN]}-{session}"
    if (before := newest_launch(context.instance, first)) is None:
        return shadow_request(recipe, str(session), tags)
    attempt, why = asked_again(context.instance, first, now(), f"for session {session}")
    if attempt is None:
        asked = f"Session {session} was asked for in launch {before.run_id[:8]}."
        return dg.SkipReason(asked if why == NONE_NEW else why)
    tags[ATTEMPT_TAG] = f"{attempt} of {ATTEMPTS}: launch {before.run_id[:8]} failed"
    context.log.info(f"Session {session}, attempt {tags[ATTEMPT_TAG]}.")
    return shadow_request(recipe, attempt_key(str(session), attempt), tags)


schedules = [daily_market_data, weekly_retraining, weekly_challenger, shadow_daily]
