"""One LSTM layer with episode resets inside the sequence, its backward pass written out.

Gates are ordered input, forget, output, candidate. Weight gradients are one matrix product over the whole sequence, and
everything that does not depend on the next step is computed for all steps at once; only the recurrence is a loop.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from clstm_core.model.lstm_kernel import LSTMKernel


def lstm_cell(
    projected_N4H: torch.Tensor, h_NH: torch.Tensor, c_NH: torch.Tensor, weight_hh: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step: new h and c from the projected input `x W_ih + b`.

        i, f, o = sigmoid(.), g = tanh(.);  c' = f c + i g;  h' = o tanh(c')

    Shapes: projected [N, 4H]; h, c [N, H]; weight_hh [4H, H]
    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000
    """
    hidden = h_NH.shape[-1]
    gates = torch.addmm(projected_N4H, h_NH, weight_hh.t())
    i, f, o = torch.sigmoid(gates[:, : 3 * hidden]).split(hidden, dim=-1)
    c = f * c_NH + i * torch.tanh(gates[:, 3 * hidden :])
    return o * torch.tanh(c), c


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        projected_TN4H: torch.Tensor,
        start_TN1: torch.Tensor,
        h_NH: torch.Tensor,
        c_NH: torch.Tensor,
        weight_hh: torch.Tensor,
        remember: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        steps, n, hidden = projected_TN4H.shape[0], h_NH.shape[0], h_NH.shape[1]
        keep = steps if remember else 1  # without a backward pass one slot is written over and over
        outputs, cells = h_NH.new_empty(steps, n, hidden), h_NH.new_empty(steps, n, hidden)
        gates_TN4H = h_NH.new_empty(keep, n, 4 * hidden)
        h_before, c_before, tanh_c = (h_NH.new_empty(keep, n, hidden) for _ in range(3))
        weight_t, zero = weight_hh.t(), h_NH.new_zeros(())
        h, c = h_NH, c_NH
        for t in range(steps):
            slot = t % keep
            h = torch.where(start_TN1[t], zero, h, out=h_before[slot])
            c = torch.where(start_TN1[t], zero, c, out=c_before[slot])
            gates = torch.addmm(projected_TN4H[t], h, weight_t, out=gates_TN4H[slot])
            gates[:, : 3 * hidden].sigmoid_()
            gates[:, 3 * hidden :].tanh_()
            i, f, o, g = gates.split(hidden, dim=-1)
            c = torch.mul(f, c, out=cells[t]).addcmul_(i, g)
            h = torch.mul(o, torch.tanh(c, out=tanh_c[slot]), out=outputs[t])
        if remember:
            ctx.save_for_backward(gates_TN4H, h_before, c_before, tanh_c, start_TN1, weight_hh)
            ctx.set_materialize_grads(False)
        return outputs, cells

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        grad_outputs, grad_cells = grads
        gates, h_before, c_before, tanh_c, start_TN1, weight_hh = ctx.saved_tensors
        steps, n, hidden = h_before.shape
        i, f, o, g = gates.split(hidden, dim=-1)
        slope = gates.clone()
        slope[..., : 3 * hidden].mul_(1 - gates[..., : 3 * hidden])
        slope[..., 3 * hidden :].square_().neg_().add_(1)
        slope_i, slope_f, slope_o, slope_g = slope.split(hidden, dim=-1)
        # per unit of dc for the input, forget and candidate gates; per unit of dh for the output gate
        slope_i.mul_(g)
        slope_f.mul_(c_before)
        slope_o.mul_(tanh_c)
        slope_g.mul_(i)
        dc_per_dh = o * (1 - tanh_c.square())
        d_gates = torch.empty_like(gates)
        zero = h_before.new_zeros(())
        dh = dc = torch.zeros_like(h_before[0])
        for t in reversed(range(steps)):
            dh = dh if grad_outputs is None else dh + grad_outputs[t]
            dc = dc if grad_cells is None else dc + grad_cells[t]
            dc = torch.addcmul(dc, dh, dc_per_dh[t])
            torch.mul(slope[t].view(n, 4, hidden), dc.unsqueeze(1), out=d_gates[t].view(n, 4, hidden))
            torch.mul(slope_o[t], dh, out=d_gates[t, :, 2 * hidden : 3 * hidden])
            dh = torch.where(start_TN1[t], zero, d_gates[t] @ weight_hh)
            dc = torch.where(start_TN1[t], zero, dc * f[t])
        d_weight = d_gates.flatten(0, 1).t() @ h_before.flatten(0, 1)
        return d_gates, None, dh, dc, d_weight, None


class LSTM(nn.Module):
    """An LSTM layer whose unrolling resets its state where an episode starts.

    Its units begin with forgetting times spread geometrically over 2 .. memory_steps: what gradients that are cut at
    `bptt_steps` cannot teach a unit to hold is then already in the state, and only has to be read.

    Source: Tallec & Ollivier 2018, arXiv:1804.11188 (chrono initialisation); the even spread instead of draws is ours
    """

    kernel: LSTMKernel | None = None
    """Does the recurrence in place of torch operations, where a learner has given the layer one."""

    def __init__(self, input_size: int, hidden_dim: int, memory_steps: int):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_dim, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_dim, hidden_dim))
        self.bias = nn.Parameter(torch.zeros(4 * hidden_dim))
        for weight in (self.weight_ih, self.weight_hh):
            for gate in weight.data.chunk(4):
                nn.init.orthogonal_(gate)
        times = torch.logspace(1, math.log2(memory_steps), hidden_dim, base=2.0)
        self.bias.data[hidden_dim : 2 * hidden_dim] = (times - 1).log()
        self.bias.data[:hidden_dim] = -(times - 1).log()

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """The input's share of the gates [..., 4H]: no recurrence, so one product serves all steps."""
        return nn.functional.linear(x, self.weight_ih, self.bias)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """The weights stand still meanwhile, which spares work before every step."""
        if self.kernel is None:
            yield
        else:
            with self.kernel.standing(self.weight_ih, self.weight_hh):
                yield

    def step(self, x_NF: torch.Tensor, h_NH: torch.Tensor, c_NH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step: new h and c."""
        return lstm_cell(self.project(x_NF), h_NH, c_NH, self.weight_hh)

    def compiled_step(
        self, x_NF: torch.Tensor, start_N: torch.Tensor, h_NH: torch.Tensor, c_NH: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step by the kernel, without gradients; the state is zeroed before it where `start`."""
        assert self.kernel is not None
        return self.kernel.step(x_NF, start_N, h_NH, c_NH, (self.weight_ih, self.weight_hh, self.bias))

    def unroll(
        self, x_TNF: torch.Tensor, start_TN: torch.Tensor, h_NH: torch.Tensor, c_NH: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Every step's h and c [T, N, H]; the state is zeroed *before* step t where start[t].

        Assumes: gradients flow to weights, inputs and the given state, and stop at resets.
        """
        if self.kernel is not None:
            return self.kernel.unroll(x_TNF, start_TN, h_NH, c_NH, (self.weight_ih, self.weight_hh, self.bias))
        remember = torch.is_grad_enabled()
        return _Unroll.apply(self.project(x_TNF), start_TN.unsqueeze(-1), h_NH, c_NH, self.weight_hh, remember)
