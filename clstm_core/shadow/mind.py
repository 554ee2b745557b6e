"""A bundle's policy and critic at work: asked once per session, brought back after a crash by what they were shown."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clstm_core.deployment import runtimes
from clstm_core.errors import BundleError
from clstm_policy import Policy, PolicyError
from clstm_policy.guard import Arrays


class Thought(NamedTuple):
    """One decision. Shapes: probabilities, logits [A]; an action that is not allowed has probability 0."""

    action: int
    probabilities: np.ndarray
    logits: np.ndarray
    value: float


class Mind:
    """The policy as `clstm_policy` runs it, and the critic beside it for telemetry.

    Both forget after `memory_sessions` decisions, so that what they remember follows from the observations since: the
    log keeps those, and no state.

    Raises: BundleError for a bundle that is damaged, or no champion unless that is allowed
    """

    def __init__(self, bundle: Path, *, unqualified: bool = False):
        try:
            self.policy = Policy.load(bundle, unqualified=unqualified)
        except PolicyError as error:
            said = str(error)
            if "is no champion" in said:
                said = said.split(" Use another")[0] + " Use another bundle, or pass --unqualified to watch it."
            raise BundleError(said) from None
        self._critic = runtimes.onnx(bundle / "policy_full.onnx")
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.policy.forget()
        self._state: Arrays = self._critic.blank(1)[2:]

    def decide(self, observation: np.ndarray, allowed: np.ndarray) -> Thought:
        """Decide once, and remember.

        Shapes: observation [F] float32; allowed [A] bool
        Raises: BundleError for an observation that is not finite, and where the two graphs of a bundle disagree; the
                memory is then to be recalled
        """
        try:
            decided = self.policy.act(observation[None], allowed[None])
        except PolicyError as error:
            raise BundleError(str(error)) from None
        assert isinstance(decided, list)
        logits, value, *state = self._critic((observation[None], allowed[None], *self._state))
        number = decided[0].number
        if int(np.where(allowed, logits[0], -np.inf).argmax()) != number:
            raise BundleError(
                f"policy.onnx chooses action {number} and policy_full.onnx another: expected one. Export it again."
            )
        self._state = tuple(state)
        shares = np.array(list(decided[0].probabilities.values()))
        return Thought(number, shares, logits[0].astype(np.float64), float(value[0]))

    def recall(self, shown: Iterable[tuple[np.ndarray, np.ndarray, int]], decisions: int) -> None:
        """Remember again what was decided on before a restart.

        Args:
            shown: observation, allowed actions and action of every decision so far, or of the last `memory_sessions`
            decisions: how many there were in all

        Raises: BundleError where it decides otherwise now than the log says that it did
        """
        self.forget()
        rows = list(shown)
        for observation, allowed, action in rows[len(rows) - decisions % self.policy.memory_sessions :]:
            if (found := self.decide(observation, allowed).action) != action:
                raise BundleError(
                    f"the bundle decides {found} where its log says {action}: expected the same. The log is of another "
                    "bundle, or this machine rounds otherwise: begin a new shadow account."
                )
