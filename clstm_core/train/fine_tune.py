"""Train on from a champion: the critic first and alone, then, where it foresees more, the actor, held near to it.

    critic   the encoder stands still, no logit moves by a bit; recent dates and a replay of older ones
    gate     the critic must explain more of the rewards of held-out dates than the champion's did
    actor    small steps, a pull to the champion, and a cap: beyond it the newest weights below the cap are put back

Everything is a run like any other: its folder, metrics and checkpoints, from which a killed one goes on.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clstm_core.artifacts.folder import read_json, write_json
from clstm_core.artifacts.manifest import FILE
from clstm_core.checkpoint import load_checkpoint, lock_run, newest_checkpoint
from clstm_core.config import RunConfig
from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import ConfigError, SelfTestError
from clstm_core.model.clstm import CLSTM
from clstm_core.model.engine import use_kernels
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.fine_tune import SPAN, Anchor, FrozenWalk, HeldOutWalk
from clstm_core.train.heartbeat import heartbeat
from clstm_core.train.loop import CHECKPOINT_S
from clstm_core.train.run import LATEST, WARM, TrainingResult, TrainingRun

OUTCOME = "fine_tune.json"
RESTORED = "restored"
"""Checkpoint with the newest weights below the cap, of a run that went beyond it."""

CRITIC, KL, DONE = "critic", "kl", ""
"""How it ends: nothing more was foreseen; it went too far from the champion; it came to its end."""

FROZEN, HELD_OUT = 2, 3
"""Added to the seed: of the champion's draws on the frozen sequences, and on held-out dates."""

HELD_OUT_EPISODES = 2
"""Episodes that each account lives on held-out dates before the critics are compared there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuned:
    """How a fine-tuning ended.

    stages: one row per stage: name, passed, words and the figures that it was decided on
    """

    outcome: str
    stages: list[dict[str, Any]]


def fine_tune(
    config: RunConfig,
    env: BatchedEnv,
    heldout_env: BatchedEnv | None,
    champion: CLSTM,
    *,
    run_dir: Path,
    report: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Fine-tune in `run_dir` until `config.timesteps`, or until a stage ends it; `read_outcome` says which.

    Args:
        env: recent and older training dates side by side (`envs.envs_on`)
        heldout_env: envs of dates outside training, for the gate
        champion: the policy that it begins with and is held near

    Raises: ConfigError without held-out dates; SelfTestError where the critic alone moved a logit; as `train.train`
    """
    if heldout_env is None:
        raise ConfigError(
            "fine-tuning has no held-out dates: expected a validation window, on which the critic's gain is measured. "
            "Use a longer history."
        )
    with lock_run(run_dir) as own, heartbeat(run_dir):
        run = TrainingRun(config, env, heldout_env, run_dir, own=own)
        if read_outcome(run_dir) is not None:
            run.result.completed = True
            return run.result
        walked, anchor = _anchored(run, champion)
        newest = newest_checkpoint(run_dir)
        if newest is not None:
            run.learner.anchor = anchor  # `continue_from` says where it stands
            run.continue_from(load_checkpoint(newest))
        else:
            run.take_over(champion.state_dict(), "the champion")
        run.prove()
        if newest is None:
            _critic_alone(run, heldout_env, walked)
            run.learner.anchor = anchor
            anchor.state = TrunkState(
                *(part.clone() for part in run.learner.carry.state.actor)
            )  # the actor has not moved
            run.result.checkpoints[WARM] = run.save(WARM)
        gate = _gate(run)
        if not gate["passed"]:
            return _ended(run, CRITIC, [_critic_words(run), gate])
        return _actor(run, anchor, [_critic_words(run), gate], report, stop)


def read_outcome(run_dir: Path) -> FineTuned | None:
    """How a fine-tuning ended; None where it did not yet, or was killed before what it took back was saved."""
    found = read_json(run_dir / OUTCOME)
    if found is None or (found["outcome"] == KL and not (run_dir / "checkpoints" / RESTORED / FILE).is_file()):
        return None
    return FineTuned(outcome=found["outcome"], stages=found["stages"])


def _anchored(run: TrainingRun, champion: CLSTM) -> tuple[FrozenWalk, Anchor]:
    """The sequences on which the distance is measured, walked now: the same whenever the run is gone on with."""
    learner, ppo = run.learner, run.config.ppo
    use_kernels(champion, learner.precision)
    env, before = learner.env, {name: value.clone() for name, value in learner.env.state_dict().items()}
    generator = torch.Generator(device=learner.device).manual_seed(run.config.seed + FROZEN)
    with torch.random.fork_rng([learner.device] if learner.device.type == "cuda" else []):
        walked = FrozenWalk.of(champion, env, n_steps=ppo.n_steps, bptt_steps=ppo.bptt_steps, generator=generator)
    env.load_state_dict(before)
    state = champion.initial_state(env.n_envs, learner.device).actor
    return walked, Anchor(champion, run.config.fine_tune.kl_coef, walked, state)


def _critic_alone(run: TrainingRun, heldout_env: BatchedEnv, walked: FrozenWalk) -> None:
    """The critic's stage, its figures in `run.result.warmup`: they go into every checkpoint.

    Raises: SelfTestError where a logit moved
    """
    learner, config = run.learner, run.config
    model, ppo = learner.model, config.ppo
    steps = -(-HELD_OUT_EPISODES * config.env.horizon // ppo.bptt_steps) * ppo.bptt_steps
    generator = torch.Generator(device=learner.device).manual_seed(config.seed + HELD_OUT)
    with torch.random.fork_rng([learner.device] if learner.device.type == "cuda" else []):
        judge = HeldOutWalk.of(model, heldout_env, n_steps=steps, bptt_steps=ppo.bptt_steps, generator=generator)
    before, logits = judge.explained_variance(model, ppo.gamma), walked.logits_of(model)
    fitted = learner.warm_up(encoder=False)
    if not torch.equal(logits, walked.logits_of(model)):
        raise SelfTestError(
            "the critic's stage moved the policy: expected every logit of the frozen sequences equal to the bit. "
            "Nothing is proposed; report this with the run's folder."
        )
    run.result.warmup = fitted.to_dict() | {
        "heldout_before": _finite(before),
        "heldout_after": _finite(judge.explained_variance(model, ppo.gamma)),
        "logits_compared": logits.numel(),
    }


def _critic_words(run: TrainingRun) -> dict[str, Any]:
    """The critic's stage as a row."""
    found = run.result.warmup or {}
    return {
        "name": CRITIC,
        "passed": True,
        "words": f"The critic alone was fitted; {found['logits_compared']:,} logits of the policy stayed equal to the "
        "bit.",
        "logits_compared": found["logits_compared"],
        "value_loss": list(found["value_loss"]),
    }


def _gate(run: TrainingRun) -> dict[str, Any]:
    """Whether the critic explains more of held-out rewards than the champion's did."""
    found, least = run.result.warmup or {}, run.config.fine_tune.least_gain
    before, after = found["heldout_before"], found["heldout_after"]
    row = {"name": "gate", "before": before, "after": after, "limit": least, "span": SPAN}
    if before is None or after is None:
        return row | {
            "passed": False,
            "gain": None,
            "words": f"Held-out dates hold no pair of {SPAN} sessions within an episode: nothing can be said, and the "
            "actor stays as it is.",
        }
    gain = after - before
    passed = gain > least
    beyond = f" by more than {least:g}" if least else ""
    words = (
        f"Of the rewards of {SPAN} sessions on held-out dates the critic explains {after:+.4f} of the variance, the "
        f"champion's {before:+.4f}: {gain:+.4f}, expected a gain{beyond}."
    )
    return row | {"passed": passed, "gain": gain, "words": words + ("" if passed else " The actor stays as it is.")}


def _actor(
    run: TrainingRun,
    anchor: Anchor,
    stages: list[dict[str, Any]],
    report: Callable[[dict[str, Any]], None] | None,
    stop: Callable[[], bool] | None,
) -> TrainingResult:
    """The actor's stage."""
    learner, cap = run.learner, run.config.fine_tune.kl_cap
    below, saved = _Weights(learner.model, learner.iteration, anchor.walked.kl(learner.model)), time.monotonic()
    while learner.iteration < run.config.n_iterations:
        metrics = run.iterate()
        moved = metrics["champion_kl"]
        if report is not None:
            report(metrics)
        if not (moved is not None and math.isfinite(moved) and moved <= cap):
            below.put_back(learner.model)
            ended = _ended(run, KL, [*stages, _distance(run, below, moved)])
            ended.checkpoints[RESTORED] = run.save(RESTORED)  # after it is said: nobody goes on from these weights
            return ended
        below = _Weights(learner.model, learner.iteration, moved)
        for milestone in run.milestones_reached():
            run.result.checkpoints[milestone] = run.save(milestone)
        stopped = stop is not None and stop()
        late = time.monotonic() - saved >= CHECKPOINT_S
        if stopped or late or learner.iteration % run.config.ppo.checkpoint_every == 0:
            run.save(LATEST)
            saved = time.monotonic()
        if stopped and learner.iteration < run.config.n_iterations:
            return run.result
    return _ended(run, DONE, [*stages, _distance(run, below, None)])


class _Weights:
    """Weights as they stood after an iteration, and how far they were from the champion."""

    def __init__(self, model: CLSTM, iteration: int, kl: float):
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.iteration, self.kl = iteration, kl

    def put_back(self, model: CLSTM) -> None:
        """Let the model have them again."""
        model.load_state_dict(self.weights)


def _distance(run: TrainingRun, below: _Weights, beyond: float | None) -> dict[str, Any]:
    """The actor's stage as a row; `beyond`: the distance that ended it."""
    cap, at = run.config.fine_tune.kl_cap, run.learner.iteration
    row = {"name": KL, "limit": cap, "iteration": below.iteration, "kl": below.kl, "beyond": beyond}
    if at >= run.config.n_iterations and beyond is None:
        words = f"{at} iterations moved the policy to a KL of {below.kl:.5f} from the champion, the cap is {cap:g}."
        return row | {"passed": True, "words": words}
    words = (
        f"Iteration {at} moved the policy to a KL of {math.nan if beyond is None else beyond:.5f} from the champion, "
        f"beyond the cap of {cap:g}: the weights of iteration {below.iteration} were put back (KL {below.kl:.5f}), and "
        "nothing is proposed."
    )
    return row | {"passed": False, "words": words}


def _ended(run: TrainingRun, outcome: str, stages: list[dict[str, Any]]) -> TrainingResult:
    """Keep how it ended; the result of a run that has nothing left to do."""
    write_json(run.run_dir / OUTCOME, {"outcome": outcome, "stages": stages})
    run.result.completed = True
    return run.result


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
