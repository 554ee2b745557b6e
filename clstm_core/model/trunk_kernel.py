"""A trunk's unrolled chunk by kernels on a CPU, as one node of autograd: a few long calls in place of hundreds.

What no step depends on are matrix products of torch: queries, keys and values of all steps are one, and so are the
gradients of an LSTM's two weights. `Trunk.unroll` by torch operations is the reference.
"""

from ctypes import CDLL
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from clstm_core.model.attention_kernel import attend, attend_back
from clstm_core.model.lstm_kernel import LSTMKernel, Walked
from clstm_core.model.norm_kernel import normalise, normalise_back


class TrunkKernel(NamedTuple):
    """The kernels of a trunk's parts; `attention` is None where the trunk has none."""

    lstm: LSTMKernel
    norm: CDLL
    attention: CDLL | None
    n_heads: int
    eps: float  # of the LayerNorm

    def unroll(
        self,
        x_TNF: torch.Tensor,
        start_TN: torch.Tensor,
        state: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
        weights: tuple[torch.Tensor, ...],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Every step's y, h and c [T, N, H]; of them y alone is learnt from.

        Args:
            state: h, c, memory and valid before the first step: what is known, so that no gradient flows to it
            weights: of the LSTM (input, recurrent, bias), of the norm (weight, bias), and of the attention (query and
                its bias, key, value, output and its bias, ages)
        """
        return _Unroll.apply(self, torch.is_grad_enabled(), x_TNF, start_TN, *state, *weights)

    def times(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """A product in this precision."""
        return (left.to(self.lstm.dtype) @ right.to(self.lstm.dtype)).float()

    def plus(self, base: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """`base` and a product in this precision."""
        return base + self.times(left, right) if self.lstm.half else torch.addmm(base, left, right)


class _Look(NamedTuple):
    """What attention's way back reads besides what it is given."""

    qkv: torch.Tensor  # [T N, 3 H]
    past: torch.Tensor  # [N W, 2 H]: keys and values of the ring
    weights: torch.Tensor  # of every slot, for each step and head
    mixed: torch.Tensor  # [T N, H]
    project: torch.Tensor  # [3 H, H] the weights of queries, keys and values


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: TrunkKernel, remember: bool, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, start, h, c, memory, valid, *weights = (part.contiguous() for part in given)
        weight_ih, weight_hh, bias_h, *_ = weights
        walked = kernel.lstm.ahead(x, start, h, c, (weight_ih, weight_hh, bias_h), remember=remember)
        rows = walked.outputs.flatten(0, 1)
        looked: tuple[torch.Tensor, ...] = ()
        total, bias = rows, None
        if kernel.attention is not None:
            *project, output, bias, age = weights[5:]
            looked = _look(kernel, kernel.attention, walked, memory, valid, project, age)
            total = kernel.plus(rows, looked.mixed, output.t())
        y, stats = normalise(kernel.norm, total, bias, weights[3], weights[4], kernel.eps)
        if remember:
            ctx.save_for_backward(memory, valid, total, stats, *walked, *looked, *weights)
            ctx.kernel = kernel
            ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(walked.outputs, walked.cells)
        return y.view_as(walked.outputs), walked.outputs, walked.cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: torch.Tensor, *_: None) -> tuple[torch.Tensor | None, ...]:
        kernel, parts = ctx.kernel, list(ctx.saved_tensors)
        memory, valid, total, stats = parts[:4]
        walked, parts = Walked(*parts[4 : 4 + len(Walked._fields)]), parts[4 + len(Walked._fields) :]
        looked = None if kernel.attention is None else _Look(*parts[: len(_Look._fields)])
        weights = parts if looked is None else parts[len(_Look._fields) :]
        d_total, d_norm, d_shift, d_bias = normalise_back(
            kernel.norm, d_y.flatten(0, 1).contiguous(), total, stats, weights[3]
        )
        d_h, d_attention = d_total, []
        if looked is not None and kernel.attention is not None:
            output, age = weights[9], weights[11]
            d_h, *d_attention, d_age = _look_back(
                kernel, kernel.attention, looked, walked, memory, valid, output, age, d_total
            )
            d_attention += [d_bias, d_age]
        d_x, _, _, *d_lstm = kernel.lstm.back(
            walked, weights[0], d_h.view_as(walked.outputs), None, to_inputs=ctx.needs_input_grad[2]
        )
        return None, None, d_x, None, None, None, None, None, *d_lstm, d_norm, d_shift, *d_attention


def _look(
    kernel: TrunkKernel,
    attention: CDLL,
    walked: Walked,
    memory: torch.Tensor,
    valid: torch.Tensor,
    project: list[torch.Tensor],
    age: torch.Tensor,
) -> _Look:
    query, bias, key, value = project
    hidden = len(query)
    together = torch.cat((query, key, value))
    only_queries = torch.nn.functional.pad(bias, (0, 2 * hidden))
    qkv = kernel.plus(only_queries, walked.outputs.flatten(0, 1), together.t())
    past = kernel.times(memory.flatten(0, 1), together[hidden:].t())
    mixed, weights = attend(attention, qkv, past, age, valid, walked.start, kernel.n_heads)
    return _Look(qkv, past, weights, mixed, together)


def _look_back(
    kernel: TrunkKernel,
    attention: CDLL,
    looked: _Look,
    walked: Walked,
    memory: torch.Tensor,
    valid: torch.Tensor,
    output: torch.Tensor,
    age: torch.Tensor,
    d_total: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Gradients of the LSTM's outputs, and of query, its bias, key, value, output and ages."""
    hidden = d_total.shape[1]
    d_mixed, d_output = kernel.times(d_total, output), kernel.times(d_total.t(), looked.mixed)
    d_qkv, d_past, d_age = attend_back(
        attention, looked.qkv, looked.past, age, valid, walked.start, looked.weights, d_mixed, kernel.n_heads
    )
    d_project = kernel.times(d_qkv.t(), walked.outputs.flatten(0, 1))
    d_project[hidden:] += kernel.times(d_past.t(), memory.flatten(0, 1))
    d_query, d_key, d_value = d_project.split(hidden)
    d_h = kernel.plus(d_total, d_qkv, looked.project)
    return d_h, d_query, d_qkv[:, :hidden].sum(0), d_key, d_value, d_output, d_age
