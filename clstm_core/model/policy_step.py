"""One decision of a trained policy, wherever it is used: in a backtest, in an exported graph, in production.

Training's episodes end after `memory_sessions` decisions, and what the policy remembers ends with them. An account that
is judged or traded lives on, so its memory has to be ended on purpose: the state carries its own age, and the step
forgets by it. Who runs the step and hands back what it returned cannot remember otherwise than training did.
"""

import torch
from torch import nn

from clstm_core.errors import ConfigError
from clstm_core.model.clstm import CLSTM, RecurrentState

AGE = "memory_age"
"""Name of the last state tensor: decisions [N] int64 since the memory was empty."""


class PolicyStep(nn.Module):
    """One step of a policy with its state spelt out; all zero is the state of an account that has just started.

        forget_n = age_n >= memory_sessions;   state_n <- 0, age_n <- 0 where forget_n;   age'_n = age_n + 1

    Where an observation is not finite the logits and the value are NaN and the state is handed back as it was: the
    memory is not poisoned, and the same decision can be asked for again with a sound observation. Parts of the state
    that an ablation lacks (an empty ring, a shared trunk's critic) are no state of its step.

    Args:
        memory_sessions: decisions after which the policy forgets, the horizon of training's episodes
        critic: also give the critic's value and carry the critic's part of the state

    Shapes: observation [N, F] float32, action_mask [N, A] bool, then the tensors of `state_names`
            -> logits [N, A], value [N] with a critic, then the next state in the same order
    Raises: ConfigError when memory_sessions is below 1
    """

    def __init__(self, policy: CLSTM, memory_sessions: int, *, critic: bool):
        super().__init__()
        if memory_sessions < 1:
            raise ConfigError(
                f"memory_sessions={memory_sessions}: expected at least 1. Pass the horizon of its training."
            )
        self.policy, self.memory_sessions, self.critic = policy, memory_sessions, critic
        blank = policy.initial_state(1)
        wanted = RecurrentState._fields if critic else RecurrentState._fields[: len(blank.actor)]
        self._parts = tuple(name for name in wanted if getattr(blank, name).numel())
        self.state_names = (*self._parts, AGE)

    def initial_state(self, n_accounts: int) -> tuple[torch.Tensor, ...]:
        """The state of accounts that have just started, in the order of `state_names`."""
        blank = self.policy.initial_state(n_accounts)
        return (*(getattr(blank, name) for name in self._parts), torch.zeros(n_accounts, dtype=torch.int64))

    def forward(
        self, observation: torch.Tensor, action_mask: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Masked logits, the value where there is a critic, the next state."""
        keep_N = state[-1] < self.memory_sessions
        *given, age_N = (_choose(keep_N, part, part.new_zeros(())) for part in state)
        absent = dict.fromkeys(RecurrentState._fields, observation.new_zeros(0))  # what the step never reads
        before = RecurrentState(**(absent | dict(zip(self._parts, given, strict=True))))
        if self.critic:
            logits, value, after = self.policy.step(observation, action_mask, before)
            decided: tuple[torch.Tensor, ...] = (logits, value)
        else:
            logits, after = self.policy.act(observation, action_mask, before)
            decided = (logits,)
        sound_N = observation.isfinite().all(dim=1)
        following = (*(getattr(after, name) for name in self._parts), age_N + 1)
        return (
            *(_choose(sound_N, part, part.new_full((), torch.nan)) for part in decided),
            *(_choose(sound_N, new, old) for new, old in zip(following, state, strict=True)),
        )


def _choose(where_N: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Rows of `one` where the condition holds, of `other` elsewhere."""
    where = where_N.view(-1, *(1 for _ in one.shape[1:]))
    if one.dtype == torch.bool:  # ONNX Runtime has no Where for bool
        return (where & one) | (~where & other)
    return torch.where(where, one, other)
