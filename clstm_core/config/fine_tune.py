"""The room of a training that goes on from a champion."""

import dataclasses
from dataclasses import dataclass

from clstm_core.config.ppo import PPOConfig
from clstm_core.config.require import require


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneConfig:
    """How training goes on from a champion's weights; where none is named, it begins from scratch.

    First the critic alone, then, where held-out dates show that it foresees more, the actor, held near the champion.
    """

    champion: str = ""  # identity of the bundle that it begins with; empty: from scratch
    recent_sessions: int = 504  # training sessions, the newest, that most of the experience comes from
    recent_share: float = 0.75  # of the envs live in them; the others replay every session before them
    least_gain: float = 0.0  # of held-out explained variance, that the critic must gain beyond
    actor_lr_share: float = 0.1  # of the champion's own actor_lr
    clip_epsilon: float = 0.1
    kl_coef: float = 1.0  # weight of KL(champion || new) in the actor's loss
    kl_cap: float = 0.02  # nats, mean per decision with a choice: beyond it training ends and is taken back

    def __post_init__(self) -> None:
        require(self.recent_sessions >= 1, f"recent_sessions={self.recent_sessions}: expected at least 1, e.g. 504.")
        for name, most in (("recent_share", 1.0), ("actor_lr_share", 0.1), ("clip_epsilon", 0.1)):
            require(
                0 < getattr(self, name) <= most,
                f"{name}={getattr(self, name)}: expected more than 0 and at most {most:g}. A fine-tuned policy goes in "
                "small steps.",
            )
        require(self.kl_coef >= 0, f"kl_coef={self.kl_coef}: expected 0 (no pull to the champion) or more, e.g. 1.")
        require(0 < self.kl_cap < float("inf"), f"kl_cap={self.kl_cap}: expected a positive number, e.g. 0.02.")

    def ppo(self, champion: PPOConfig) -> PPOConfig:
        """The settings that the actor is fine-tuned with: the champion's own, in smaller steps and one epoch."""
        return dataclasses.replace(
            champion,
            policy_epochs=1,
            clip_epsilon=min(self.clip_epsilon, champion.clip_epsilon),
            actor_lr=self.actor_lr_share * champion.actor_lr,
            target_kl=None,  # it would raise the LR again
            entropy_start=champion.entropy_end,  # where the champion's own training ended
            entropy_end=champion.entropy_end,
        )
