"""The policy: a shared encoder, an actor trunk with a policy head, a critic trunk with a value head.

    obs -> Encoder -+- Actor LSTM  -> attention over its last W outputs -> masked logits over A actions
                    '- Critic LSTM -> attention over its last W outputs -> value

The critic reads the encoder's features but sends it no gradient, unless it shares the actor's trunk (an ablation).
"""

from ctypes import CDLL
from typing import NamedTuple

import torch
from torch import nn

from clstm_core.config import ModelConfig
from clstm_core.model.encoder import Encoder
from clstm_core.model.policy_kernel import decide
from clstm_core.model.trunk import Steps, Trunk, TrunkState, reset_rows
from clstm_core.specs import HOLD

ILLEGAL_LOGIT = -1e9
"""Far enough below any logit that an illegal action's probability is exactly zero, and finite in float32."""


class RecurrentState(NamedTuple):
    """Everything the policy remembers, one row per env; the critic's part is empty where the trunk is shared.

    Shapes: h, c [N, H]; memory [N, W, H] newest last; valid [N, W] bool
    """

    actor_h: torch.Tensor
    actor_c: torch.Tensor
    actor_memory: torch.Tensor
    actor_valid: torch.Tensor
    critic_h: torch.Tensor
    critic_c: torch.Tensor
    critic_memory: torch.Tensor
    critic_valid: torch.Tensor

    @property
    def actor(self) -> TrunkState:
        """The actor trunk's part."""
        return TrunkState(*self[:4])

    @property
    def critic(self) -> TrunkState:
        """The critic trunk's part."""
        return TrunkState(*self[4:])

    def with_actor(self, actor: TrunkState) -> "RecurrentState":
        """The same state with another actor part."""
        return RecurrentState(*actor, *self[4:])

    def with_critic(self, critic: TrunkState) -> "RecurrentState":
        """The same state with another critic part."""
        return RecurrentState(*self[:4], *critic)

    def reset(self, start_N: torch.Tensor) -> "RecurrentState":
        """Zero the rows where an episode starts; by `where`, so that a NaN cannot survive a reset."""
        return RecurrentState(*(reset_rows(value, start_N) for value in self))


class CLSTM(nn.Module):
    """The dual-trunk recurrent actor-critic.

    Three ways to run it give the same numbers to 1e-5: `act` (actor alone, one step), `step` (both, one step) and
    `unroll` (both, a chunk of steps with episode starts inside).

    Args:
        observation_size: F, length of a raw observation
        n_actions: A
        config: sizes and ablations
        obs_mean, obs_std: the scaler [F], fitted on training dates; 0 and 1 when left out
    """

    kernel: CDLL | None = None
    """Draws actions in place of torch operations, where a learner has given the policy one."""

    def __init__(
        self,
        observation_size: int,
        n_actions: int,
        config: ModelConfig,
        obs_mean: torch.Tensor | None = None,
        obs_std: torch.Tensor | None = None,
    ):
        super().__init__()
        self.observation_size, self.n_actions, self.config = observation_size, n_actions, config
        hidden, window = config.hidden_dim, config.attention_window if config.use_attention else 0
        mean = torch.zeros(observation_size) if obs_mean is None else obs_mean
        std = torch.ones(observation_size) if obs_std is None else obs_std
        self.encoder = Encoder(observation_size, hidden, config.encoder_layers, mean, std)
        sizes = (self.encoder.features, hidden, config.n_heads, window, config.memory_steps)
        self.actor_trunk = Trunk(*sizes)
        self.critic_trunk = Trunk(*sizes) if config.dual_trunk else None
        self.policy_head = nn.Linear(hidden, n_actions)
        self.value_head = nn.Linear(hidden, 1)
        for head, gain in ((self.policy_head, 0.01), (self.value_head, 1.0)):
            nn.init.orthogonal_(head.weight, gain=gain)
            nn.init.zeros_(head.bias)
        # who trades at every step is never without positions, and never learns what having none is worth
        nn.init.constant_(self.policy_head.bias[HOLD : HOLD + 1], config.hold_bias)

    def actor_parameters(self) -> list[nn.Parameter]:
        """What the actor's optimizer moves: encoder, actor trunk, policy head."""
        return [p for part in (self.encoder, self.actor_trunk, self.policy_head) for p in part.parameters()]

    def critic_parameters(self) -> list[nn.Parameter]:
        """What the critic's optimizer moves: critic trunk (where there is one) and value head."""
        parts = [self.value_head] if self.critic_trunk is None else [self.critic_trunk, self.value_head]
        return [p for part in parts for p in part.parameters()]

    def initial_state(self, n_envs: int, device: torch.device | str = "cpu") -> RecurrentState:
        """The state at an episode's start: all zero."""
        actor = self.actor_trunk.initial_state(n_envs, device)
        if self.critic_trunk is not None:
            return RecurrentState(*actor, *self.critic_trunk.initial_state(n_envs, device))
        return RecurrentState(*actor, *(value.flatten(1)[:, :0] for value in actor))

    def policy_logits(self, y: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Logits [..., A] of a trunk output [..., H]; illegal actions get ILLEGAL_LOGIT."""
        logits = self.policy_head(y)
        return logits if mask is None else logits.masked_fill(~mask, ILLEGAL_LOGIT)

    def values(self, y: torch.Tensor) -> torch.Tensor:
        """Values [...] of a critic trunk output [..., H]."""
        return self.value_head(y).squeeze(-1)

    def act(
        self,
        obs_NF: torch.Tensor,
        mask_NA: torch.Tensor | None,
        state: RecurrentState,
        start_N: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, RecurrentState]:
        """One step of the actor alone: masked logits [N, A] and the state with its actor part advanced.

        Args:
            start_N: where an episode starts at this step; None: `state` was reset there (`state.reset(start_N)`)
        """
        y, actor = self.actor_trunk.step(self.encoder(obs_NF), state.actor, start_N)
        return self.policy_logits(y, mask_NA), state.with_actor(actor)

    def decide(
        self,
        obs_NF: torch.Tensor,
        mask_NA: torch.Tensor,
        state: RecurrentState,
        start_N: torch.Tensor,
        log_noise_NA: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, RecurrentState]:
        """`act`, and a draw from its policy: actions [N], their log-probabilities [N], the state after; no gradients.

        The draw is an exponential race (Gumbel's trick): the least noise per probability wins.

        Args:
            log_noise_NA: logarithms of exponential draws with mean 1
        """
        if self.kernel is None:
            logits, state = self.act(obs_NF, mask_NA, state, start_N)
            log_probs = logits.log_softmax(dim=-1)
            action = (log_probs - log_noise_NA).argmax(dim=-1)
            return action, log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1), state
        trunk = self.actor_trunk
        sum_NH, actor = trunk.step_before_norm(self.encoder(obs_NF), state.actor, start_N)
        drawn = decide(self.kernel, sum_NH, trunk.norm, self.policy_head, mask_NA, log_noise_NA, ILLEGAL_LOGIT)
        return *drawn, state.with_actor(actor)

    def step(
        self, obs_NF: torch.Tensor, mask_NA: torch.Tensor | None, state: RecurrentState
    ) -> tuple[torch.Tensor, torch.Tensor, RecurrentState]:
        """One step of both: masked logits [N, A], values [N], new state."""
        features = self.encoder(obs_NF)
        y, actor = self.actor_trunk.step(features, state.actor)
        state = state.with_actor(actor)
        if self.critic_trunk is None:
            return self.policy_logits(y, mask_NA), self.values(y), state
        y_critic, critic = self.critic_trunk.step(features, state.critic)
        return self.policy_logits(y, mask_NA), self.values(y_critic), state.with_critic(critic)

    def unroll(
        self, obs_TNF: torch.Tensor, mask_TNA: torch.Tensor | None, start_TN: torch.Tensor, state: RecurrentState
    ) -> tuple[torch.Tensor, torch.Tensor, RecurrentState]:
        """A chunk of steps at once: masked logits [T, N, A], values [T, N], the state after it.

        Shapes:  obs [T, N, F]; mask [T, N, A] bool or None; start [T, N] bool: the state is zeroed *before* step t
        Assumes: the critic sees the encoder's features detached
        """
        features = self.encoder(obs_TNF)
        y, actor = self.actor_trunk.unroll(features, start_TN, state.actor)
        logits, after = self.policy_logits(y, mask_TNA), state.with_actor(actor.last())
        if self.critic_trunk is None:
            return logits, self.values(y), after
        y_critic, critic = self.critic_trunk.unroll(features.detach(), start_TN, state.critic)
        return logits, self.values(y_critic), after.with_critic(critic.last())

    def unroll_actor(
        self, features_TNH: torch.Tensor, mask_TNA: torch.Tensor | None, start_TN: torch.Tensor, state: TrunkState
    ) -> tuple[torch.Tensor, Steps]:
        """The actor's half of `unroll`, from encoder features: masked logits [T, N, A], state after every step."""
        y, steps = self.actor_trunk.unroll(features_TNH, start_TN, state)
        return self.policy_logits(y, mask_TNA), steps

    def unroll_critic(
        self, features_TNH: torch.Tensor, start_TN: torch.Tensor, state: TrunkState
    ) -> tuple[torch.Tensor, Steps]:
        """The critic's half of `unroll`, from encoder features: values [T, N], state after every step.

        Where the trunk is shared, `state` is the actor's.
        """
        y, steps = self._value_trunk.unroll(features_TNH, start_TN, state)
        return self.values(y), steps

    def look_ahead(self, features_MH: torch.Tensor, steps: Steps, t_M: torch.Tensor, n_M: torch.Tensor) -> torch.Tensor:
        """Values [M] of the observations that follow steps t of envs n, from the critic's state after that step.

        Args:
            features_MH: encoder features of these observations
        """
        y, _ = self._value_trunk.step(features_MH, steps.after(t_M, n_M))
        return self.values(y)

    def critic_state(self, state: RecurrentState) -> TrunkState:
        """The part of `state` that the value head reads: the critic's, or the shared trunk's."""
        return state.actor if self.critic_trunk is None else state.critic

    @property
    def _value_trunk(self) -> Trunk:
        return self.actor_trunk if self.critic_trunk is None else self.critic_trunk
