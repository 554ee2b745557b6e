"""The LSTM's recurrence as one compiled kernel on a CPU: all steps in one call, without Python's lock.

Products of bfloat16 take inputs, states and weights rounded to it and add up in float32; state and gates stay float32.
A row's arithmetic does not depend on its company, so that a rollout's steps and an update's chunks give equal bits.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from clstm_core.native import build
from clstm_core.native.arrays import address, shapes

KERNEL = "lstm"


class LSTMKernel:
    """The compiled recurrence for one layer; it keeps the layer's weights in the order in which they are read.

    Args:
        half: products of bfloat16
    """

    def __init__(self, library: ctypes.CDLL, *, half: bool):
        self.library, self.half = library, half
        self.dtype = torch.bfloat16 if half else torch.float32
        self._packed: tuple[torch.Tensor, torch.Tensor] | None = None

    def unroll(
        self,
        x_TNF: torch.Tensor,
        start_TN: torch.Tensor,
        h_NH: torch.Tensor,
        c_NH: torch.Tensor,
        weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Every step's h and c [T, N, H]; the state is zeroed *before* step t where start[t].

        Args:
            weights: input [4H, F], recurrent [4H, H], bias [4H], gates ordered input, forget, output, candidate
        """
        return _Recurrence.apply(x_TNF, start_TN, h_NH, c_NH, *weights, self, torch.is_grad_enabled())

    def step(
        self,
        x_NF: torch.Tensor,
        start_N: torch.Tensor,
        h_NH: torch.Tensor,
        c_NH: torch.Tensor,
        weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of `unroll` without gradients: new h and c [N, H]."""
        walked = self.ahead(x_NF.unsqueeze(0), start_N.unsqueeze(0), h_NH, c_NH, weights, remember=False)
        return walked.outputs.squeeze(0), walked.cells.squeeze(0)

    def ahead(
        self,
        x_TNF: torch.Tensor,
        start_TN: torch.Tensor,
        h_NH: torch.Tensor,
        c_NH: torch.Tensor,
        weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        *,
        remember: bool,
    ) -> "Walked":
        """`unroll` outside of autograd.

        Args:
            remember: `back` will be asked
        """
        (steps, n, features), hidden = x_TNF.shape, weights[1].shape[1]
        shapes((steps, n), start_TN)
        shapes((n, hidden), h_NH, c_NH)
        shapes((4 * hidden, features), weights[0])
        ahead, back = self.packed(*weights[:2])
        x, start, h, c = (part.contiguous() for part in (x_TNF, start_TN, h_NH, c_NH))
        outputs, cells = h.new_empty(steps, n, hidden), h.new_empty(steps, n, hidden)
        gates = h.new_empty(steps, n, 4 * hidden) if remember else None
        keep = steps if remember else min(2, steps)
        read = torch.empty(keep, n, features + hidden + (features + hidden) % 2, dtype=self.dtype)
        bias = weights[2].contiguous()
        given = (address(x), address(start, torch.bool), *map(address, (h, c, bias)), address(ahead, self.dtype))
        into = (*map(address, (outputs, cells, gates)), address(read, self.dtype))
        sizes = map(ctypes.c_int64, (steps, n, features, hidden, keep))
        self.library.forward(int(self.half), *given, *into, *sizes)
        return Walked(outputs, cells, start, c, gates, read, back)

    def back(
        self,
        walked: "Walked",
        weight_ih: torch.Tensor,
        d_outputs: torch.Tensor | None,
        d_cells: torch.Tensor | None,
        *,
        to_inputs: bool,
    ) -> tuple[torch.Tensor | None, ...]:
        """Gradients of inputs (None unless `to_inputs`), h and c before the first step, and the three weights.

        Once for each `ahead`: slopes are written where the gates were.
        """
        cells, gates, read = walked.cells, walked.gates, walked.read
        steps, n, hidden = cells.shape
        features = weight_ih.shape[1]
        assert gates is not None
        d_outputs, d_cells = (None if grad is None else grad.contiguous() for grad in (d_outputs, d_cells))
        d_gates = torch.empty_like(gates, dtype=self.dtype) if self.half else gates
        d_bias, d_h, d_c = cells.new_empty(4 * hidden), torch.empty_like(walked.c), torch.empty_like(walked.c)
        kept = (*map(address, (gates, cells, walked.c)), address(walked.start, torch.bool))
        given = (address(d_outputs), address(d_cells), *kept, address(walked.packed, self.dtype))
        into = (address(d_gates, self.dtype), *map(address, (d_bias, d_h, d_c)))
        self.library.backward(int(self.half), *given, *into, *map(ctypes.c_int64, (steps, n, hidden)))
        if not self.half:  # tells autograd, which stops a second way back
            torch.autograd.graph.increment_version(gates)
        slopes = d_gates.flatten(0, 1)
        d_x = (slopes @ weight_ih.to(self.dtype)).float().view(steps, n, features) if to_inputs else None
        d_read = (slopes.t() @ read.flatten(0, 1)).float()
        return d_x, d_h, d_c, d_read[:, :features], d_read[:, features : features + hidden], d_bias

    @contextmanager
    def standing(self, weight_ih: torch.Tensor, weight_hh: torch.Tensor) -> Iterator[None]:
        """The layer's weights stand still meanwhile: they are put in order once."""
        self._packed = self._pack(weight_ih, weight_hh)
        try:
            yield
        finally:
            self._packed = None

    def packed(self, weight_ih: torch.Tensor, weight_hh: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights as the kernel reads them, ahead and back."""
        return self._packed or self._pack(weight_ih, weight_hh)

    def _pack(self, weight_ih: torch.Tensor, weight_hh: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, hidden = weight_hh.shape
        features = weight_ih.shape[1]
        ahead = torch.empty(rows * (features + hidden + (features + hidden) % 2), dtype=self.dtype)
        back = torch.empty(rows * hidden, dtype=self.dtype)
        given, into = (weight_ih.contiguous(), weight_hh.contiguous()), (ahead, back)
        places = (*map(address, given), *(address(array, self.dtype) for array in into))
        self.library.pack_weights(int(self.half), *places, *map(ctypes.c_int64, (features, hidden)))
        return ahead, back


def lstm_kernel(hidden_dim: int, *, half: bool) -> LSTMKernel | None:
    """A kernel for a layer of this width, or None: `why_not` says why."""
    if why_not(hidden_dim, half=half):
        return None
    library = build.load(KERNEL)
    assert library is not None
    return LSTMKernel(library, half=half)


def why_not(hidden_dim: int, *, half: bool) -> str:
    """Why there is no kernel for a layer of this width here, in a sentence; empty when there is."""
    library = build.load(KERNEL)
    if library is None:
        return build.why_not(KERNEL)
    if hidden_dim % library.units():
        return f"hidden_dim={hidden_dim} is no multiple of {library.units()}, the numbers this processor takes at once."
    if half and not library.multiplies_bf16():
        return "This processor does not multiply bfloat16."
    return ""


class Walked(NamedTuple):
    """A layer's h and c after every step [T, N, H], and what its way back reads besides."""

    outputs: torch.Tensor
    cells: torch.Tensor
    start: torch.Tensor
    c: torch.Tensor  # before the first step
    gates: torch.Tensor | None
    read: torch.Tensor  # the products' input: x, then the h before each step
    packed: torch.Tensor


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:
        x, start, h, c, weight_ih, weight_hh, bias, kernel, remember = given
        walked = kernel.ahead(x, start, h, c, (weight_ih, weight_hh, bias), remember=remember)
        if remember:
            ctx.save_for_backward(weight_ih, *walked)
            ctx.kernel = kernel
            ctx.set_materialize_grads(False)
        return walked.outputs, walked.cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        weight_ih, *walked = ctx.saved_tensors
        d_x, d_h, d_c, *d_weights = ctx.kernel.back(
            Walked(*walked), weight_ih, *grads, to_inputs=ctx.needs_input_grad[0]
        )
        return d_x, None, d_h, d_c, *d_weights, None, None
