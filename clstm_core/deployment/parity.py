"""Parity of the exported policy with the trained one over long recurrent roll-outs, and its latency."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from clstm_core.deployment.runtimes import Runtime, blank_inputs, carry
from clstm_core.env.protocol import BatchedEnv
from clstm_core.model.clstm import CLSTM

MAX_LOGIT_DIFFERENCE = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityResult:
    """How far one runtime strays from eager PyTorch when each carries its own state."""

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
    policy: CLSTM, runtimes: dict[str, Runtime], reference: str, env: BatchedEnv, steps: int
) -> list[ParityResult]:
    """Let the reference trade in `env` for `steps` snapshots; every runtime sees the same observations and masks.

    Each runtime keeps its own recurrent state, so that a small difference can grow as it would in use. Where an episode
    ends the state starts afresh, for all runtimes alike.

    Shapes: env of N accounts -> one result a runtime other than `reference`
    """
    blank = blank_inputs(policy, env.n_envs)[2:]
    states = dict.fromkeys(runtimes, blank)
    worst = dict.fromkeys(runtimes, 0.0)
    differing = dict.fromkeys(runtimes, 0)
    observation, mask = env.reset()
    for _ in range(steps):
        legal = torch.ones(env.n_envs, env.n_actions, dtype=torch.bool) if mask is None else mask
        seen = (observation.to(torch.float32).numpy(), legal.numpy())
        outputs = {name: run((*seen, *states[name])) for name, run in runtimes.items()}
        expected = outputs[reference][0]
        action = expected.argmax(axis=-1)
        for name, output in outputs.items():
            difference = np.abs(output[0] - expected)[seen[1]]
            # a NaN on one side only must not pass as "no difference"
            worst[name] = float(np.nanmax([worst[name], difference.max() if np.isfinite(difference).all() else np.inf]))
            differing[name] += int((output[0].argmax(axis=-1) != action).sum())
        step = env.step(torch.from_numpy(action.astype(np.int64)))
        ended = (step.terminated | step.truncated).numpy()
        states = {name: _reset(carry(output), blank, ended) for name, output in outputs.items()}
        observation, mask = step.observation, step.action_mask
    return [
        ParityResult(
            runtime=name,
            batch=env.n_envs,
            steps=steps,
            actions_differing=differing[name],
            max_logit_difference=worst[name],
        )
        for name in runtimes
        if name != reference
    ]


def _reset(state: tuple[np.ndarray, ...], blank: tuple[np.ndarray, ...], ended: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(
        np.where(ended.reshape(-1, *([1] * (array.ndim - 1))), fresh, array)
        for array, fresh in zip(state, blank, strict=True)
    )


def measure_latency(policy: CLSTM, runtimes: dict[str, Runtime], repeats: int = 500) -> list[dict[str, Any]]:
    """p50 and p99 of one decision for one account, in microseconds, each runtime on one thread; rows for a table."""
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, run in runtimes.items():
            inputs = blank_inputs(policy, 1)
            times = np.empty(repeats)
            for _ in range(50):
                run(inputs)
            for index in range(repeats):
                started = time.perf_counter_ns()
                outputs = run(inputs)
                times[index] = time.perf_counter_ns() - started
                inputs = (*inputs[:2], *carry(outputs))
            p50, p99 = np.percentile(times, [50, 99]) / 1000
            rows.append({"runtime": name, "p50_us": round(float(p50), 1), "p99_us": round(float(p99), 1)})
    finally:
        torch.set_num_threads(threads)
    return rows
