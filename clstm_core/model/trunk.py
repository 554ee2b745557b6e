"""A recurrent trunk: an LSTM, then attention over a ring of its own last W outputs.

The ring is a shift register, newest last, stored with h and c: so a rollout's step and an update's unrolled chunk see
exactly the same context, and neither looks across an episode's start.
"""

from ctypes import CDLL
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import nn

from clstm_core.model.attention_kernel import attend_step
from clstm_core.model.lstm import LSTM
from clstm_core.model.trunk_kernel import TrunkKernel


class TrunkState(NamedTuple):
    """What a trunk remembers between steps; memory's newest output is last, and invalid slots are never attended to."""

    h: torch.Tensor  # [N, H]
    c: torch.Tensor  # [N, H]
    memory: torch.Tensor  # [N, W, H], W = 0 without attention
    valid: torch.Tensor  # [N, W] bool


def reset_rows(value: torch.Tensor, start_N: torch.Tensor) -> torch.Tensor:
    """`value` with the rows [N, ...] where `start` holds set to zero (False); by `where`: a NaN cannot survive it."""
    if not value.numel():
        return value
    where = start_N.view(-1, *(1 for _ in value.shape[1:]))
    return torch.where(where, torch.zeros((), dtype=value.dtype, device=value.device), value)


def reset_trunk(state: TrunkState, start_N: torch.Tensor) -> TrunkState:
    """One trunk's state with the rows zeroed where an episode starts."""
    return TrunkState(*(reset_rows(value, start_N) for value in state))


class WindowAttention(nn.Module):
    """Multi-head attention of an LSTM output over the last W outputs, itself included.

        score(t, s) = q_t . (k_s + age[t - s]) / sqrt(d),  t - W < s <= t, same episode

    The age encoding is a learned vector per slot, added to the keys. `step` folds the key and value projections into
    the query and the output, so that it never projects the whole ring; `unroll` projects every output once.
    """

    kernel: CDLL | None = None
    """Mixes a single step in place of torch operations, where a learner has given the layer one."""

    def __init__(self, hidden_dim: int, n_heads: int, window: int):
        super().__init__()
        self.n_heads, self.window, self.head_dim = n_heads, window, hidden_dim // n_heads
        self.query = nn.Linear(hidden_dim, hidden_dim)
        self.key = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.value = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.output = nn.Linear(hidden_dim, hidden_dim)
        self.age_WH = nn.Parameter(torch.zeros(window, hidden_dim))  # oldest slot first, as in the ring
        nn.init.normal_(self.age_WH, std=0.02)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.orthogonal_(layer.weight)
        for layer in (self.query, self.output):
            nn.init.zeros_(layer.bias)

    def step(self, h_NH: torch.Tensor, memory_NWH: torch.Tensor, valid_NW: torch.Tensor) -> torch.Tensor:
        """Attention output [N, H] for one step; memory and valid already hold the current output in the last slot."""
        heads, d, hidden = self.n_heads, self.head_dim, h_NH.shape[-1]
        q_Nhd = (self.query(h_NH) * d**-0.5).view(-1, heads, d)
        # q . (W_k m) = (W_k^T q) . m
        folded_NhH = torch.einsum("nhd,hdk->nhk", q_Nhd, self.key.weight.view(heads, d, hidden))
        age_hdW = self.age_WH.view(self.window, heads, d).permute(1, 2, 0)
        score_NhW = folded_NhH @ memory_NWH.transpose(1, 2) + torch.einsum("nhd,hdw->nhw", q_Nhd, age_hdW)
        weight_NhW = score_NhW.masked_fill(~valid_NW.unsqueeze(1), float("-inf")).softmax(dim=-1)
        mixed_NhH = weight_NhW @ memory_NWH
        value_Nhd = torch.einsum("nhk,hdk->nhd", mixed_NhH, self.value.weight.view(heads, d, hidden))
        return self.output(value_Nhd.reshape(-1, hidden))

    def compiled_step(
        self, h_NH: torch.Tensor, memory_NWH: torch.Tensor, valid_NW: torch.Tensor, start_N: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`step` by the kernel, without gradients: the output [N, H], and the ring moved on to hold `h`.

        Args:
            memory_NWH, valid_NW: the ring before the step, forgotten first where `start`
        """
        assert self.kernel is not None
        heads, d, hidden = self.n_heads, self.head_dim, h_NH.shape[-1]
        q_hNd = (self.query(h_NH) * d**-0.5).view(-1, heads, d).transpose(0, 1)
        folded_NhH = (q_hNd @ self.key.weight.view(heads, d, hidden)).transpose(0, 1)
        age_NhW = (q_hNd @ self.age_WH.view(self.window, heads, d).permute(1, 2, 0)).transpose(0, 1)
        mixed_NhH, memory, valid = attend_step(self.kernel, folded_NhH, age_NhW, memory_NWH, h_NH, valid_NW, start_N)
        value_hdH = self.value.weight.view(heads, d, hidden)
        value_Nhd = (mixed_NhH.transpose(0, 1) @ value_hdH.transpose(1, 2)).transpose(0, 1)
        return self.output(value_Nhd.reshape(-1, hidden)), memory, valid

    def unroll(self, h_TNH: torch.Tensor, past_NVH: torch.Tensor, visible_NTS: torch.Tensor) -> torch.Tensor:
        """Attention outputs [T, N, H] for all steps at once.

        Shapes: past [N, V, H] the ring before the first step without its oldest slot, V = W - 1; visible [N, T, S],
                S = V + T: which of past and new outputs each step may see
        """
        steps, n, hidden = h_TNH.shape
        heads, d = self.n_heads, self.head_dim
        h_NTH = h_TNH.transpose(0, 1)
        source_NSH = torch.cat((past_NVH, h_NTH), dim=1)
        size = source_NSH.shape[1]
        q_NhTd = (self.query(h_NTH) * d**-0.5).view(n, steps, heads, d).transpose(1, 2)
        k_NhSd = self.key(source_NSH).view(n, size, heads, d).transpose(1, 2)
        v_NhSd = self.value(source_NSH).view(n, size, heads, d).transpose(1, 2)
        score_NhTS = q_NhTd @ k_NhSd.transpose(2, 3)
        # step t's window starts at slot t: pad the ages' scores to S + 1 columns and re-read them with S, which shears
        age_NhTW = q_NhTd @ self.age_WH.view(self.window, heads, d).permute(1, 2, 0)
        sheared = nn.functional.pad(age_NhTW, (0, size + 1 - self.window)).flatten(2)[..., : steps * size]
        score_NhTS = score_NhTS + sheared.view(n, heads, steps, size)
        weight_NhTS = score_NhTS.masked_fill(~visible_NTS.unsqueeze(1), float("-inf")).softmax(dim=-1)
        mixed_NTH = (weight_NhTS @ v_NhSd).transpose(1, 2).reshape(n, steps, hidden)
        return self.output(mixed_NTH).transpose(0, 1)


def visible_slots(start_TN: torch.Tensor, valid_NV: torch.Tensor) -> torch.Tensor:
    """Which outputs each step may attend to: inside its window, filled, and of its own episode.

    Shapes: start [T, N] bool; valid [N, V] bool, the V = W - 1 stored slots before the first step -> [N, T, V + T] bool
    """
    steps, past = start_TN.shape[0], valid_NV.shape[1]
    episode_NT = start_TN.t().long().cumsum(dim=1)
    stored_NTV = valid_NV.unsqueeze(1) & (episode_NT == 0).unsqueeze(2)
    fresh_NTT = episode_NT.unsqueeze(2) == episode_NT.unsqueeze(1)
    step = torch.arange(steps, device=start_TN.device).unsqueeze(1)
    slot = torch.arange(past + steps, device=start_TN.device).unsqueeze(0)
    in_window = (slot >= step) & (slot <= step + past)
    return torch.cat((stored_NTV, fresh_NTT), dim=2) & in_window


class Trunk(nn.Module):
    """LSTM, attention over its last W outputs, residual and LayerNorm: features -> what a head reads.

    y_t = LayerNorm(h_t + Attention(h_t; h_{t-W+1..t}))
    """

    kernel: TrunkKernel | None = None
    """Unrolls chunks in place of torch operations, where a learner has given the trunk one."""

    def __init__(self, input_size: int, hidden_dim: int, n_heads: int, window: int, memory_steps: int):
        super().__init__()
        self.hidden_dim, self.window = hidden_dim, window
        self.lstm = LSTM(input_size, hidden_dim, memory_steps)
        self.attention = WindowAttention(hidden_dim, n_heads, window) if window else None
        self.norm = nn.LayerNorm(hidden_dim)

    def initial_state(self, n_envs: int, device: torch.device | str = "cpu") -> TrunkState:
        """All zero, nothing to attend to."""
        zeros = torch.zeros(n_envs, self.hidden_dim, device=device)
        memory = torch.zeros(n_envs, self.window, self.hidden_dim, device=device)
        return TrunkState(
            zeros, zeros.clone(), memory, torch.zeros(n_envs, self.window, dtype=torch.bool, device=device)
        )

    def step(
        self, x_NF: torch.Tensor, state: TrunkState, start_N: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, TrunkState]:
        """One step: y [N, H] and the new state; what it remembers is forgotten before it where `start`."""
        sum_NH, after = self.step_before_norm(x_NF, state, start_N)
        return self.norm(sum_NH), after

    def step_before_norm(
        self, x_NF: torch.Tensor, state: TrunkState, start_N: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, TrunkState]:
        """`step` without its last layer."""
        if self.lstm.kernel is not None and not torch.is_grad_enabled():
            return self._compiled_step(x_NF, state, start_N)
        if start_N is not None:
            state = reset_trunk(state, start_N)
        h, c = self.lstm.step(x_NF, state.h, state.c)
        return self._look_back(h, c, state)

    def _look_back(self, h: torch.Tensor, c: torch.Tensor, state: TrunkState) -> tuple[torch.Tensor, TrunkState]:
        if self.attention is None:
            return h, TrunkState(h, c, state.memory, state.valid)
        memory = torch.cat((state.memory[:, 1:], h.unsqueeze(1)), dim=1)
        valid = torch.cat((state.valid[:, 1:], torch.ones_like(state.valid[:, :1])), dim=1)
        return h + self.attention.step(h, memory, valid), TrunkState(h, c, memory, valid)

    def _compiled_step(
        self, x_NF: torch.Tensor, state: TrunkState, start_N: torch.Tensor | None
    ) -> tuple[torch.Tensor, TrunkState]:
        starts = torch.zeros(len(x_NF), dtype=torch.bool) if start_N is None else start_N
        h, c = self.lstm.compiled_step(x_NF, starts, state.h, state.c)
        if self.attention is None or self.attention.kernel is None:
            return self._look_back(h, c, reset_trunk(state, starts))
        mixed, memory, valid = self.attention.compiled_step(h, state.memory, state.valid, starts)
        return h + mixed, TrunkState(h, c, memory, valid)

    def unroll(self, x_TNF: torch.Tensor, start_TN: torch.Tensor, state: TrunkState) -> tuple[torch.Tensor, "Steps"]:
        """All steps of a chunk: y [T, N, H], and the state after each."""
        if self.kernel is not None:
            y_TNH, h_TNH, c_TNH = self.kernel.unroll(x_TNF, start_TN, state, self._weights())
            return y_TNH, Steps(h_TNH, c_TNH, start_TN, state)
        h_TNH, c_TNH = self.lstm.unroll(x_TNF, start_TN, state.h, state.c)
        steps = Steps(h_TNH, c_TNH, start_TN, state)
        if self.attention is None:
            return self.norm(h_TNH), steps
        mixed_TNH = self.attention.unroll(h_TNH, state.memory[:, 1:], steps.visible)
        return self.norm(h_TNH + mixed_TNH), steps

    def _weights(self) -> tuple[torch.Tensor, ...]:
        """In the order in which a kernel takes them."""
        lstm, norm, look = self.lstm, self.norm, self.attention
        weights = (lstm.weight_ih, lstm.weight_hh, lstm.bias, norm.weight, norm.bias)
        if look is None:
            return weights
        projections = (look.query.weight, look.query.bias, look.key.weight, look.value.weight)
        return (*weights, *projections, look.output.weight, look.output.bias, look.age_WH)


@dataclass(frozen=True, eq=False)
class Steps:
    """The state after every step of an unrolled chunk, worked out where it is asked for.

    Args:
        before: the state before the first step
    """

    h: torch.Tensor  # [T, N, H]
    c: torch.Tensor  # [T, N, H]
    start: torch.Tensor  # [T, N]
    before: TrunkState

    @property
    def window(self) -> int:
        """W, 0 without attention."""
        return self.before.memory.shape[1]

    @cached_property
    def ring(self) -> torch.Tensor:
        """Past outputs and those of the chunk [N, W - 1 + T, H]."""
        return torch.cat((self.before.memory[:, 1:], self.h.transpose(0, 1)), dim=1)

    @cached_property
    def visible(self) -> torch.Tensor:
        """Which of them each step may attend to [N, T, W - 1 + T]."""
        return visible_slots(self.start, self.before.valid[:, 1:])

    def last(self) -> TrunkState:
        """The state after the chunk."""
        h, c = self.h[-1], self.c[-1]
        if not self.window:
            return TrunkState(h, c, self.before.memory, self.before.valid)
        return TrunkState(h, c, self.ring[:, -self.window :], self.visible[:, -1, -self.window :])

    def after(self, t_M: torch.Tensor, n_M: torch.Tensor) -> TrunkState:
        """States [M, ...] after steps t of envs n: to look one step ahead from many steps in one batch."""
        h, c = self.h[t_M, n_M], self.c[t_M, n_M]
        if not self.window:
            return TrunkState(h, c, h.new_zeros(len(h), 0, h.shape[1]), h.new_zeros(len(h), 0, dtype=torch.bool))
        slot_MW = t_M.unsqueeze(1) + torch.arange(self.window, device=t_M.device)  # step t's window starts at slot t
        env_M1 = n_M.unsqueeze(1)
        return TrunkState(h, c, self.ring[env_M1, slot_MW], self.visible[env_M1, t_M.unsqueeze(1), slot_MW])
