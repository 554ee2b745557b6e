"""The LSTM's recurrence as one compiled kernel on a CPU: all steps in one call, without Python's lock.

Products of bfloat16 take inputs, states and weights rounded to it and add up in float32; state and gates stay float32.
A row's arithmetic does not depend on its company, so that a rollout's steps and an update's chunks give equal bits.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from clstm_core.native import build

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
        n, hidden = h_NH.shape
        read, (ahead, _) = _even(x_NF).to(self.dtype).contiguous(), self.packed(*weights[:2])
        h, c = h_NH.new_empty(n, hidden), c_NH.new_empty(n, hidden)
        before = torch.empty(n, hidden, dtype=self.dtype)
        state = (start_N.contiguous(), h_NH.contiguous(), c_NH.contiguous())
        arrays = (read, *state, weights[2], ahead, h, c, None, before)
        sizes = map(ctypes.c_int64, (1, n, read.shape[1], hidden, 1))
        self.library.forward(int(self.half), *map(address, arrays), *sizes)
        return h, c

    @contextmanager
    def standing(self, weight_ih: torch.Tensor, weight_hh: torch.Tensor) -> Iterator[None]:
        """The layer's weights stand still meanwhile: they are put in order once. One thread at a time."""
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
        given = _even(weight_ih.detach()).contiguous()
        ahead = torch.empty(rows * (given.shape[1] + hidden), dtype=self.dtype)
        back = torch.empty(rows * hidden, dtype=self.dtype)
        arrays = (given, weight_hh.detach().contiguous(), ahead, back)
        sizes = map(ctypes.c_int64, (given.shape[1], hidden))
        self.library.pack_weights(int(self.half), *map(address, arrays), *sizes)
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


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        start: torch.Tensor,
        h: torch.Tensor,
        c: torch.Tensor,
        weight_ih: torch.Tensor,
        weight_hh: torch.Tensor,
        bias: torch.Tensor,
        kernel: LSTMKernel,
        remember: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        steps, n, features = x.shape
        hidden = h.shape[1]
        ahead, back = kernel.packed(weight_ih, weight_hh)
        read = _even(x).to(kernel.dtype).contiguous()
        start, h, c = start.contiguous(), h.contiguous(), c.contiguous()
        outputs, cells = h.new_empty(steps, n, hidden), h.new_empty(steps, n, hidden)
        gates = h.new_empty(steps, n, 4 * hidden) if remember else None
        keep = steps if remember else min(2, steps)
        before = torch.empty(keep, n, hidden, dtype=kernel.dtype)
        arrays = (read, start, h, c, bias.detach(), ahead, outputs, cells, gates, before)
        sizes = map(ctypes.c_int64, (steps, n, read.shape[2], hidden, keep))
        kernel.library.forward(int(kernel.half), *map(address, arrays), *sizes)
        if remember:
            ctx.save_for_backward(read, start, c, weight_ih, cells, gates, before, back)
            ctx.kernel, ctx.features = kernel, features
            ctx.set_materialize_grads(False)
        return outputs, cells

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        read, start, c, weight_ih, cells, gates, before, back = ctx.saved_tensors
        kernel = ctx.kernel
        steps, n, hidden = cells.shape
        d_outputs, d_cells = (None if grad is None else grad.contiguous() for grad in grads)
        d_gates = torch.empty(steps, n, 4 * hidden, dtype=kernel.dtype)
        d_bias, d_h, d_c = cells.new_empty(4 * hidden), torch.empty_like(c), torch.empty_like(c)
        arrays = (d_outputs, d_cells, gates, cells, c, start, back, d_gates, d_bias, d_h, d_c)
        kernel.library.backward(int(kernel.half), *map(address, arrays), *map(ctypes.c_int64, (steps, n, hidden)))
        slopes = d_gates.flatten(0, 1)
        d_x = slopes @ weight_ih.to(kernel.dtype) if ctx.needs_input_grad[0] else None
        d_ih = (slopes.t() @ read.flatten(0, 1))[:, : ctx.features]
        d_hh = slopes.t() @ before.flatten(0, 1)
        return (
            None if d_x is None else d_x.float().view(steps, n, ctx.features),
            None,
            d_h,
            d_c,
            d_ih.float(),
            d_hh.float(),
            d_bias,
            None,
            None,
        )


def _even(array: torch.Tensor) -> torch.Tensor:
    """With a column of zeros more where their number is odd: bfloat16 is multiplied in pairs."""
    return torch.nn.functional.pad(array, (0, 1)) if array.shape[-1] % 2 else array


def address(array: torch.Tensor | None) -> ctypes.c_void_p:
    """Where an array lies; nowhere for None."""
    return ctypes.c_void_p(None if array is None else array.data_ptr())
