"""Train a policy: prove the recurrence, warm the critic, then iterate and leave a ladder of checkpoints.

`python -m clstm_core.train --help` lists the flags of the published command.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clstm_core.checkpoint import load_checkpoint, lock_run, newest_checkpoint
from clstm_core.config import RunConfig
from clstm_core.env.protocol import BatchedEnv
from clstm_core.ppo.ranks import ALONE, Ranks
from clstm_core.train.heartbeat import heartbeat
from clstm_core.train.run import LATEST, TrainingResult, TrainingRun

CHECKPOINT_S = 60.0
"""Seconds after which an iteration is followed by a rolling checkpoint, however few there were: what a kill costs."""


def train(
    config: RunConfig,
    env: BatchedEnv,
    *,
    run_dir: Path,
    heldout_env: BatchedEnv | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
    initial: Path | None = None,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train in `run_dir` until `config.timesteps`, resuming what an earlier call left there.

    Args:
        heldout_env: envs of dates outside training, for the held-out explained variance
        report: called with each iteration's metrics, the same as the line in metrics.jsonl
        stop: asked after each iteration; True writes a checkpoint and returns
        initial: a checkpoint folder to begin from (what `warm_start` wrote) when `run_dir` holds none
        ranks: the processes that train this run, each with its share of the envs; one of them writes

    Raises: ConfigError, CheckpointError, SelfTestError, NonFiniteError; each message is a sentence with a remedy
    """
    with ExitStack() as held:
        own = held.enter_context(lock_run(run_dir)) if ranks.writes else None
        if ranks.writes:
            held.enter_context(heartbeat(run_dir))
        run = TrainingRun(config, env, heldout_env, run_dir, ranks, own=own)
        newest = ranks.first(lambda: newest_checkpoint(run_dir) or initial)
        if newest is not None:
            run.continue_from(load_checkpoint(newest))
        run.prove()
        if newest is None:
            run.warm_up()
        learner, result, stopped, saved = run.learner, run.result, False, time.monotonic()
        while not stopped and learner.iteration < config.n_iterations:
            metrics = run.iterate()
            if report is not None:
                report(metrics)
            for milestone in run.milestones_reached():
                result.checkpoints[milestone] = run.save(milestone)
            stopped = bool(ranks.most(stop is not None and stop()))
            late = ranks.most(time.monotonic() - saved) >= CHECKPOINT_S
            if stopped or late or learner.iteration % config.ppo.checkpoint_every == 0:
                run.save(LATEST)
                saved = time.monotonic()
        result.completed = learner.iteration >= config.n_iterations
        return result


def warm_start(config: RunConfig, env: BatchedEnv, *, run_dir: Path, weights: Path | None = None) -> TrainingResult:
    """Prove the recurrence and warm the critic up, no more: checkpoint "000", where `train(initial=...)` begins.

    A folder that already holds checkpoints keeps them, and the result tells of their warmup.

    Args:
        weights: a checkpoint folder whose policy this run begins with, its standardisation included; its optimizers,
            its envs and how far it came are its own

    Raises: CheckpointError for a checkpoint that is not whole, or whose model is of another shape
    """
    with lock_run(run_dir) as own:
        run = TrainingRun(config, env, None, run_dir, own=own)
        newest = newest_checkpoint(run_dir)
        if newest is not None:
            run.continue_from(load_checkpoint(newest))
        elif weights is not None:
            run.begin_with(load_checkpoint(weights))
        run.prove()
        if newest is None:
            run.warm_up()
        return run.result
