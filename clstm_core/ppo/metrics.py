"""The metrics of one iteration (one rollout and its update), each declared once: name, unit, meaning.

They are what `metrics.jsonl` holds and, in this order, the columns of the store's `training_metrics`. Plain Python
alone, so that a store or a page can import it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from clstm_core.ppo.storage import Rollout


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of an iteration.

    type: of its column in DuckDB; since: the schema version that column came with
    of:   how it follows from the rollout, on the device; None for what the update, the critic or the clock gives
    """

    name: str
    unit: str
    note: str
    type: str = "DOUBLE"
    since: int = 1
    of: "Callable[[Rollout], torch.Tensor] | None" = None


def measured(rollout: "Rollout") -> "dict[str, torch.Tensor]":
    """Every metric whose rule stands with its declaration, by name."""
    return {metric.name: metric.of(rollout) for metric in METRICS if metric.of is not None}


def _of_ended(rollout: "Rollout", value: "torch.Tensor") -> "torch.Tensor":
    """Mean over the episodes that ended; NaN when none did."""
    ended = (rollout.terminated | rollout.truncated).to(rollout.reward.dtype)
    return (value * ended).sum() / ended.sum()


METRICS: tuple[Metric, ...] = (
    Metric("iteration", "iterations", "rollouts done, from 1", "BIGINT"),
    Metric("env_steps", "env steps", "environment steps done, over all envs", "BIGINT"),
    Metric("progress", "0..1", "env steps done of those asked for"),
    Metric("approx_kl", "nats", "KL of the old policy to the new, over the minibatches of the policy epoch"),
    Metric("full_unroll_kl", "nats", "the same after the iteration, states recomputed from each rollout's start"),
    Metric(
        "champion_kl",
        "nats",
        "KL of the champion to the policy that is fine-tuned from it, on what the champion walked; else nothing",
        since=8,
    ),
    Metric("clip_fraction", "0..1", "samples whose ratio left the clip range"),
    Metric("entropy", "nats", "mean entropy of the policy where more than one action is legal"),
    Metric("entropy_pct", "%", "entropy as a share of the first iteration's"),
    Metric("policy_loss", "", "clipped surrogate loss"),
    Metric("value_loss", "scaled reward squared", "critic's loss"),
    Metric("policy_grad_norm", "", "gradient norm of actor and encoder before clipping"),
    Metric("value_grad_norm", "", "gradient norm of the critic before clipping"),
    Metric("actor_lr", "", "learning rate of actor and encoder"),
    Metric("critic_lr", "", "learning rate of the critic"),
    Metric("entropy_coef", "", "weight of the entropy bonus"),
    *(
        Metric(
            f"{where}{name}_{span}",
            unit,
            f"{note}, rewards of {span} steps against V - gamma^{span} V', {dates}",
            since=4,
        )
        for where, dates in (("", "in sample"), ("heldout_", "on held-out snapshots"))
        for name, unit, note in (
            ("explained_variance", "-inf..1", "variance that the critic foresaw"),
            ("value_correlation", "-1..1", "correlation with what the critic foresaw"),
        )
        for span in (1, 5, 21)
    ),
    Metric(
        "bootstrapped_explained_variance",
        "-inf..1",
        "of Monte Carlo returns, in sample: mostly the critic's own values, where episodes are short",
        since=4,
    ),
    Metric("heldout_bootstrapped_explained_variance", "-inf..1", "the same on held-out snapshots", since=4),
    Metric("value_correlation", "-1..1", "of predicted values and Monte Carlo returns, as bootstrapped"),
    Metric("predicted_mean", "scaled reward", "mean predicted value"),
    Metric("predicted_std", "scaled reward", "standard deviation of predicted values"),
    Metric("monte_carlo_mean", "scaled reward", "mean Monte Carlo return"),
    Metric("monte_carlo_std", "scaled reward", "standard deviation of Monte Carlo returns"),
    Metric("mean_reward", "scaled reward per step", "mean reward", of=lambda rollout: rollout.reward.mean()),
    Metric(
        "reward_std",
        "scaled reward per step",
        "standard deviation of rewards",
        of=lambda rollout: rollout.reward.std(unbiased=False),
    ),
    Metric(
        "reward_p001",
        "scaled reward per step",
        "0.1% quantile of rewards",
        of=lambda rollout: rollout.reward.flatten().quantile(0.001),
    ),
    Metric(
        "reward_p50",
        "scaled reward per step",
        "median reward",
        of=lambda rollout: rollout.reward.flatten().quantile(0.5),
    ),
    Metric(
        "reward_p999",
        "scaled reward per step",
        "99.9% quantile of rewards",
        of=lambda rollout: rollout.reward.flatten().quantile(0.999),
    ),
    Metric(
        "episode_reward",
        "scaled reward",
        "mean sum of rewards of the episodes that ended",
        of=lambda rollout: _of_ended(rollout, rollout.episode_reward),
    ),
    Metric(
        "episode_length",
        "steps",
        "mean length of the episodes that ended",
        of=lambda rollout: _of_ended(rollout, rollout.episode_length),
    ),
    Metric("gpu_memory_mb", "MB", "peak device memory; 0 on CPU"),
    Metric("steps_per_second", "env steps/s", "whole iteration, update included"),
    Metric("seconds", "s", "since training began"),
    Metric("eta_seconds", "s", "expected time to the end"),
)
