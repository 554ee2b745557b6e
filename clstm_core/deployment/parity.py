"""Parity of the exported policy with the trained one over long recurrent roll-outs, and its latency."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from clstm_core.config import EnvConfig
from clstm_core.deployment.runtimes import Decide, Runtime
from clstm_core.env.episodes import last_snapshots
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.protocol import BatchedEnv
from clstm_core.market.tensors import MarketTensors
from clstm_policy.guard import MAX_LOGIT_DIFFERENCE, logit_difference


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityResult:
    """How far one runtime strays from eager PyTorch when each carries its own state (`guard.logit_difference`)."""

    runtime: str
    batch: int
    steps: int
    actions_differing: int
    max_logit_difference: float

    @property
    def passed(self) -> bool:
        """No action differs and no legal logit by more than MAX_LOGIT_DIFFERENCE."""
        return self.actions_differing == 0 and self.max_logit_difference <= MAX_LOGIT_DIFFERENCE


def check_parity(
    candidates: Mapping[str, Decide], reference: Runtime, env: BatchedEnv, steps: int
) -> list[ParityResult]:
    """Let the reference trade in `env` for `steps` snapshots; every runtime sees the same observations and masks.

    Each runtime keeps its own recurrent state and nobody resets it, whatever the env does: a small difference can grow
    as it would in use, and only the policy itself forgets. So one unbroken episode is walked, of `steps` decisions.

    Shapes: env of N accounts -> one result per candidate
    """
    runtimes: dict[str, Decide] = {"": reference, **candidates}
    states = dict.fromkeys(runtimes, reference.blank(env.n_envs)[2:])
    worst = dict.fromkeys(runtimes, 0.0)
    differing = dict.fromkeys(runtimes, 0)
    observation, mask = env.reset()
    for _ in range(steps):
        legal = torch.ones(env.n_envs, env.n_actions, dtype=torch.bool) if mask is None else mask
        seen = (observation.to(torch.float32).numpy(), legal.numpy())
        outputs = {name: run((*seen, *states[name])) for name, run in runtimes.items()}
        expected = outputs[""][0]
        action = expected.argmax(axis=-1)
        for name, output in outputs.items():
            worst[name] = max(worst[name], logit_difference(output[0], expected, seen[1]))
            differing[name] += int((output[0].argmax(axis=-1) != action).sum())
        states = {name: reference.carry(output) for name, output in outputs.items()}
        step = env.step(torch.from_numpy(action.astype(np.int64)))
        observation, mask = step.observation, step.action_mask
    return [
        ParityResult(
            runtime=name,
            batch=env.n_envs,
            steps=steps,
            actions_differing=differing[name],
            max_logit_difference=worst[name],
        )
        for name in candidates
    ]


def unbroken_env(market: MarketTensors, config: EnvConfig, *, n_envs: int, seed: int, steps: int) -> OptionsEnv:
    """Accounts on training dates that live for `steps` snapshots, or as long as the longest history there lasts."""
    start, stop = market.split("train")
    left = last_snapshots(market.segment_end_T, stop)[start:stop] - torch.arange(start, stop)
    lasting = dataclasses.replace(config, horizon=min(steps, int(left.max())))
    return OptionsEnv(market, lasting, n_envs=n_envs, seed=seed, stagger=False)


def measure_latency(runtimes: Mapping[str, Runtime], repeats: int = 500) -> list[dict[str, Any]]:
    """p50 and p99 of one decision for one account, in microseconds, on one thread and guarded; one row per runtime."""
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, run in runtimes.items():
            inputs = run.blank(1)
            times = np.empty(repeats)
            for _ in range(50):
                run(inputs)
            for index in range(repeats):
                started = time.perf_counter_ns()
                outputs = run(inputs)
                times[index] = time.perf_counter_ns() - started
                inputs = (*inputs[:2], *run.carry(outputs))
            p50, p99 = np.percentile(times, [50, 99]) / 1000
            rows.append({"runtime": name, "p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1)})
    finally:
        torch.set_num_threads(threads)
    return rows
