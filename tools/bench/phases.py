"""Seconds by phase of an iteration, by timers put around its parts from outside."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from clstm_core.ppo import learner as learner_module
from clstm_core.ppo.learner import Learner

PHASES = ("env step", "actor", "rest of the walk", "value pass", "update", "rest")


class Phases:
    """A stopwatch whose inner phases stop the outer one: each second is counted once.

    Args:
        synchronize: waits for the device, before every reading of the clock
    """

    def __init__(self, synchronize: Callable[[], None] = lambda: None):
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._synchronize, self._stack = synchronize, ["rest"]
        self._since = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside to a phase."""
        self._turn()
        self._stack.append(name)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def _turn(self) -> None:
        self._synchronize()
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def around(self, call: Callable[..., Any], name: str, *, learns: bool | None = None) -> Callable[..., Any]:
        """`call` within a phase; with `learns` given only where gradients are on, or off."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if learns is not None and torch.is_grad_enabled() != learns:
                return call(*args, **kwargs)
            with self.phase(name):
                return call(*args, **kwargs)

        return timed


def profile(
    learner: Learner, iterations: int, synchronize: Callable[[], None] = lambda: None, *, warmup: int = 1
) -> dict[str, float]:
    """Seconds of each of `PHASES` per iteration, after `warmup` iterations.

    Assumes: the learner was built with one thread, so that nothing goes on beside; the first look at held-out envs is
             part of the warm-up
    """
    for _ in range(warmup):
        learner.iterate()
    phases, model = Phases(synchronize), learner.model
    parts: tuple[tuple[Any, str, str, bool | None], ...] = (
        (learner.env, "step", "env step", None),
        (model, "decide", "actor", None),
        (learner_module, "walk", "rest of the walk", None),
        (model, "unroll_critic", "value pass", False),
        (model, "look_ahead", "value pass", False),
        (learner_module, "update", "update", None),
    )
    with ExitStack() as stack:
        for owner, attribute, name, learns in parts:
            timed = phases.around(getattr(owner, attribute), name, learns=learns)
            stack.enter_context(mock.patch.object(owner, attribute, timed))
        with phases.phase("rest"):
            for _ in range(iterations):
                learner.iterate()
    return {name: seconds / iterations for name, seconds in phases.seconds.items()}


def lines(seconds: dict[str, float]) -> list[str]:
    """Markdown rows: phase, seconds per iteration, share."""
    total = sum(seconds.values())
    rows = [f"| {name:16} | {value:9.4f} | {value / total:5.1%} |" for name, value in seconds.items()]
    return [
        "| phase            | s / iter. | share |",
        "|---|---|---|",
        *rows,
        f"| {'whole':16} | {total:9.4f} |       |",
    ]
