"""A policy held near the champion it began from: by its loss, and by what is measured after each iteration."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from clstm_core.env.protocol import BatchedEnv
from clstm_core.model.clstm import CLSTM
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.diagnostics import foreseen, foresight
from clstm_core.ppo.losses import kl_between
from clstm_core.ppo.rollout import begin, collect, revalued
from clstm_core.ppo.storage import Rollout, cut
from clstm_core.ppo.update import Toward

SPAN = 5
"""Steps over which the gate holds the critic against rewards that came: a week, as `heldout_explained_variance_5`."""


class FrozenWalk(NamedTuple):
    """Sequences that a champion walked once, from a reset, and its logits there: they never change again.

    Shapes: as `Rollout`; logits [T, N, A] masked; free [T, N]
    """

    observation: torch.Tensor
    mask: torch.Tensor
    start: torch.Tensor
    free: torch.Tensor
    state: TrunkState
    logits: torch.Tensor

    @classmethod
    def of(
        cls, champion: CLSTM, env: BatchedEnv, *, n_steps: int, bptt_steps: int, generator: torch.Generator
    ) -> "FrozenWalk":
        """Walk `n_steps` steps of every env with the champion's own draws; the env is reset first."""
        carry = begin(champion, env)
        rollout = Rollout.allocate(champion, env, n_steps=n_steps, bptt_steps=bptt_steps)
        collect(champion, env, carry, rollout, generator=generator)
        walked = cls(
            rollout.observation, rollout.mask, rollout.start, rollout.free, carry.state.actor, rollout.observation
        )
        return walked._replace(logits=walked.logits_of(champion))

    @torch.no_grad()
    def logits_of(self, model: CLSTM) -> torch.Tensor:
        """A policy's logits [T, N, A] on these sequences, unrolled from their first step."""
        logits, _ = model.unroll_actor(model.encoder(self.observation), self.mask, self.start, self.state)
        return logits

    def kl(self, model: CLSTM) -> float:
        """KL(champion || model), mean over the decisions with a choice.

        Units: nats
        """
        moved = self.logits_of(model).log_softmax(dim=-1)
        return float(kl_between(self.logits.log_softmax(dim=-1), moved, self.free.to(moved.dtype)))


@dataclass(slots=True)
class Anchor:
    """A champion that follows the learner's rollouts with a memory of its own.

    state: the champion's actor where the next rollout begins; walked: where the distance to it is measured
    """

    champion: CLSTM
    coefficient: float
    walked: FrozenWalk
    state: TrunkState

    @torch.no_grad()
    def along(self, rollout: Rollout) -> Toward:
        """What the champion would have done on each visited state; it stands at the rollout's end then."""
        champion = self.champion
        logits, steps = champion.unroll_actor(
            champion.encoder(rollout.observation), rollout.mask, rollout.start, self.state
        )
        self.state = steps.last()
        return Toward(cut(logits.log_softmax(dim=-1), rollout.bptt_steps), self.coefficient)


class HeldOutWalk(NamedTuple):
    """A walk of a policy on held-out dates: while the actor stays as it is, critics are compared on this one walk."""

    rollout: Rollout
    critic: TrunkState

    @classmethod
    def of(
        cls, model: CLSTM, env: BatchedEnv, *, n_steps: int, bptt_steps: int, generator: torch.Generator
    ) -> "HeldOutWalk":
        """Walk `n_steps` steps of every env; the env is reset first."""
        carry = begin(model, env)
        rollout = Rollout.allocate(model, env, n_steps=n_steps, bptt_steps=bptt_steps)
        collect(model, env, carry, rollout, generator=generator)
        return cls(rollout, model.critic_state(carry.state))

    def explained_variance(self, model: CLSTM, gamma: float) -> float:
        """Share of the variance of the rewards of `SPAN` steps that this model's critic foresaw (`foresight`).

        A walk that is shorter, or in which no pair lies whole in an episode, has NaN: it tells nothing.
        """
        pair = foreseen(revalued(model, self.rollout, self.critic), gamma, SPAN)
        if pair is None or not bool(pair.weight.any()):
            return float("nan")
        return float(foresight(pair)[0])
