"""Where experience lies: [T, N] buffers allocated once and written in place, rollout after rollout."""

from typing import NamedTuple, TypeVar

import torch

from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import ConfigError
from clstm_core.model.clstm import CLSTM, RecurrentState
from clstm_core.model.trunk import TrunkState

State = TypeVar("State", RecurrentState, TrunkState)


class Rollout(NamedTuple):
    """T steps of N envs, time-major, with the recurrent state before each of K chunks of `bptt_steps`.

    Shapes:  observation, final_observation [T, N, F]; mask [T, N, A]; the rest [T, N]; chunk_state [K, N, ...]
    Assumes: `start[t]` resets the state *before* step t; next_value[t] is V(final_observation[t]) from the critic's
             state after step t and before any reset: the bootstrap of a truncated episode and of the rollout's end.
             `collect` overwrites all of it: what must outlive the next rollout is cloned
    """

    observation: torch.Tensor
    mask: torch.Tensor
    start: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    final_observation: torch.Tensor
    episode_reward: torch.Tensor  # of the episode up to and including this step
    episode_length: torch.Tensor
    value: torch.Tensor
    next_value: torch.Tensor
    chunk_state: RecurrentState

    @classmethod
    def allocate(cls, model: CLSTM, env: BatchedEnv, *, n_steps: int, bptt_steps: int) -> "Rollout":
        """Buffers for rollouts of `n_steps` steps of this env, whose content is undefined until they are walked.

        Raises: ConfigError when the chunks do not divide the rollout
        """
        if n_steps % bptt_steps:
            raise ConfigError(
                f"n_steps={n_steps} is no multiple of bptt_steps={bptt_steps}: expected whole chunks. Use a divisor."
            )
        device, shape = env.device, (n_steps, env.n_envs)

        def floats(*more: int) -> torch.Tensor:
            return torch.empty(*shape, *more, device=device)

        def flags(*more: int) -> torch.Tensor:
            return torch.empty(*shape, *more, dtype=torch.bool, device=device)

        state = model.initial_state(env.n_envs, device)
        return cls(
            observation=floats(env.observation_size),
            mask=flags(env.n_actions),
            start=flags(),
            action=torch.empty(shape, dtype=torch.int64, device=device),
            log_prob=floats(),
            reward=floats(),
            terminated=flags(),
            truncated=flags(),
            final_observation=floats(env.observation_size),
            episode_reward=floats(),
            episode_length=floats(),
            value=floats(),
            next_value=floats(),
            chunk_state=RecurrentState(*(part.new_empty(n_steps // bptt_steps, *part.shape) for part in state)),
        )

    @property
    def n_steps(self) -> int:
        """T, steps per env."""
        return self.observation.shape[0]

    @property
    def n_chunks(self) -> int:
        """K, chunks of `bptt_steps`."""
        return self.chunk_state.actor_h.shape[0]

    @property
    def bptt_steps(self) -> int:
        """T / K, steps per chunk."""
        return self.n_steps // self.n_chunks

    def steps_of(self, chunk: int) -> slice:
        """The steps of a chunk."""
        return slice(chunk * self.bptt_steps, (chunk + 1) * self.bptt_steps)

    @property
    def free(self) -> torch.Tensor:
        """Steps [T, N] at which the policy had a choice: more than one legal action."""
        return self.mask.sum(dim=-1) > 1

    def write(self, t: int, **values: torch.Tensor) -> None:
        """Put what step t gave, each [N, ...], into its place."""
        for name, value in values.items():
            getattr(self, name)[t].copy_(value)


class Sequences(NamedTuple):
    """A rollout cut into S = K * N sequences of `bptt_steps` steps, each with its stored starting state.

    Shapes: [C, S, ...] for steps, [S, ...] for state
    """

    observation: torch.Tensor
    mask: torch.Tensor
    start: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    value: torch.Tensor
    free: torch.Tensor
    state: RecurrentState

    def select(self, index_B: torch.Tensor) -> "Sequences":
        """The sequences at `index`."""
        names = self._fields[:-1]
        steps = {name: getattr(self, name).index_select(1, index_B) for name in names}
        return Sequences(**steps, state=select_rows(self.state, index_B))


def select_rows(state: State, index_B: torch.Tensor) -> State:
    """The states of the sequences at `index`."""
    return type(state)(*(part.index_select(0, index_B) for part in state))


def cut(value_TN: torch.Tensor, bptt_steps: int) -> torch.Tensor:
    """[T, N, ...] -> [C, K * N, ...], a copy: sequence k * N + n holds steps k * C .. k * C + C - 1 of env n."""
    steps, n = value_TN.shape[:2]
    chunks = value_TN.view(steps // bptt_steps, bptt_steps, n, *value_TN.shape[2:]).transpose(0, 1)
    return chunks.clone(memory_format=torch.contiguous_format).flatten(1, 2)


def sequences(rollout: Rollout) -> Sequences:
    """The rollout as sequences for minibatches, copied: its buffers may be walked again meanwhile."""
    steps = {name: cut(getattr(rollout, name), rollout.bptt_steps) for name in Sequences._fields[:-1]}
    return Sequences(**steps, state=RecurrentState._make(part.flatten(0, 1).clone() for part in rollout.chunk_state))
