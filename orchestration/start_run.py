"""One form that starts a training run: a recipe and, if wanted, a name; the partition key is added for the person.

    job `start_run`  checks the recipe, adds the key     ->     sensor `started_runs` launches `train_and_evaluate`

A job can only be launched with a key that exists, and the launch form cannot make one: hence the two of them.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field

from assets.partitions import training_run
from assets.resources import Recipe
from assets.support import user_sentences
from clstm_core.artifacts.places import Places, run_name
from clstm_core.errors import ConfigError
from orchestration.coordinator import refusal
from orchestration.home import project_home
from orchestration.jobs import chosen, train_and_evaluate

RUN_TAG = "run"
"""Tag of a `start_run` launch with the key that it added."""


class RunName(dg.Config):
    """What the run is called."""

    run: str = Field("", description="left empty: the recipe's name and the time")


@dg.op(description="Check the recipe, name the run, and add its key.")
def add_run(context: dg.OpExecutionContext, config: RunName, recipe: Recipe) -> None:
    """Everything that can be known to be wrong is said here, in the core's words, before anything is made."""
    with user_sentences():
        from clstm_core.market.sources import open_source

        core = recipe.core()
        core.require_hardware()
        open_source(core.market())
        places = Places(project_home() / "data")
        name = run_name(config.run or f"{core.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        if core.policy_of:
            from clstm_core.train.adopt import require_policy  # it brings torch

            require_policy(core.run_config(), places.run(core.policy_of), name)
        if (why := refusal(context.instance, name)) is not None:
            raise ConfigError(why)
    context.instance.add_dynamic_partitions(str(training_run.name), [name])
    context.instance.add_run_tags(context.run_id, {RUN_TAG: name, "recipe": core.name, "source": core.source})
    context.log.info(
        f"Run {name} is to train {core.run_config().timesteps:,} env steps: about {core.cpu_seconds / 60:,.0f} minutes "
        f"on a CPU core. `started_runs` launches it within half a minute."
    )


@dg.job(
    config={"ops": {"add_run": {"config": {"run": ""}}}, **chosen(name="default_cpu", source="sp500_modelled", seed=0)},
    description="Start a training run: choose a recipe, launch. Nothing else need be filled in.",
)
def start_run() -> None:
    """The form."""
    add_run()


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[start_run],
    request_job=train_and_evaluate,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=10,
    description="Launches train_and_evaluate for each `start_run` that succeeded. On, as it does nothing unasked.",
)
def started_runs(context: dg.RunStatusSensorContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """The launch that a person asked for, once."""
    asked = context.dagster_run
    name = asked.tags.get(RUN_TAG)
    if name is None:
        yield dg.SkipReason("This launch named no run.")
        return
    resources = dict(asked.run_config).get("resources", {})
    yield dg.RunRequest(
        run_key=asked.run_id,
        partition_key=name,
        run_config={"resources": resources},
        tags={key: asked.tags[key] for key in ("recipe", "source") if key in asked.tags},
    )
