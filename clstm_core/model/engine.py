"""What computes a policy's recurrence while it is trained: a compiled kernel, or torch operations without one."""

import time

import torch

from clstm_core.errors import ConfigError
from clstm_core.model.attention_kernel import attention_kernel
from clstm_core.model.clstm import CLSTM
from clstm_core.model.lstm_kernel import LSTMKernel, lstm_kernel, why_not
from clstm_core.model.norm_kernel import norm_kernel
from clstm_core.model.policy_kernel import policy_kernel
from clstm_core.model.trunk import Trunk
from clstm_core.model.trunk_kernel import TrunkKernel

FLOAT32, BFLOAT16, AUTO = "float32", "bfloat16", "auto"
FASTER = 1.2
"""How many times faster products of bfloat16 have to be before `auto` takes them."""


def use_kernels(model: CLSTM, precision: str) -> str:
    """Give the trunks' LSTM layers a kernel of this precision, where one is to be had; what computes now, in words.

    Args:
        precision: float32 or bfloat16, of products; sums and states are float32 in either

    Raises: ConfigError where products of bfloat16 are asked for and there are none
    """
    hidden, half, device = model.config.hidden_dim, precision == BFLOAT16, next(model.parameters()).device
    on_cpu, reason = device.type == "cpu", no_kernel(hidden, device, half=half)
    if half and reason:
        raise ConfigError(
            f"precision='bfloat16': {reason} Begin with --precision float32; a run that was begun with bfloat16 goes "
            "on where there is a kernel for it."
        )
    model.kernel = None if reason else policy_kernel(hidden)
    for trunk in (model.actor_trunk, model.critic_trunk):
        if trunk is not None:
            trunk.lstm.kernel = None if reason else lstm_kernel(hidden, half=half)
            if trunk.attention is not None:
                trunk.attention.kernel = attention_kernel(hidden, model.config.n_heads) if on_cpu else None
            trunk.kernel = trunk_kernel(trunk)
    return f"LSTM by torch operations, {precision}: {reason}" if reason else f"LSTM compiled for this CPU, {precision}"


def trunk_kernel(trunk: Trunk) -> TrunkKernel | None:
    """What unrolls a trunk by the kernels that its parts have, or None where one of them has none."""
    lstm, look, norm = trunk.lstm.kernel, trunk.attention, norm_kernel(trunk.hidden_dim)
    if lstm is None or norm is None or (look is not None and look.kernel is None):
        return None
    attention, heads = (None, 1) if look is None else (look.kernel, look.n_heads)
    return TrunkKernel(lstm, norm, attention, heads, trunk.norm.eps)


def chosen(precision: str, hidden_dim: int, device: torch.device, rows: int) -> str:
    """The precision itself, or what `auto` comes to here: bfloat16 where a layer of this width is faster by it.

    Args:
        rows: sequences per minibatch
    """
    if precision != AUTO:
        return precision
    if no_kernel(hidden_dim, device, half=True):
        return FLOAT32
    seconds = [_seconds(hidden_dim, rows, half=half) for half in (False, True)]
    return BFLOAT16 if seconds[0] > FASTER * seconds[1] else FLOAT32


def resumed(kept: str, asked: str, hidden_dim: int, device: torch.device) -> str:
    """The precision that a run goes on in: what it `kept`, but float32 where `auto` took what is not to be had here."""
    lost = asked == AUTO and kept == BFLOAT16 and no_kernel(hidden_dim, device, half=True)
    return FLOAT32 if lost else kept


def no_kernel(hidden_dim: int, device: torch.device, *, half: bool) -> str:
    """Why no kernel computes a layer of this width on this device, in a sentence; empty when one does."""
    return why_not(hidden_dim, half=half) if device.type == "cpu" else "It is no kernel for a GPU."


def _seconds(hidden: int, rows: int, *, half: bool, steps: int = 16, repeats: int = 3) -> float:
    """Of a layer's forward and backward pass, the fastest of some."""
    kernel = lstm_kernel(hidden, half=half)
    assert isinstance(kernel, LSTMKernel)
    square = torch.full((4 * hidden, hidden), 0.01, requires_grad=True)
    weights = (square, square.detach().clone().requires_grad_(), torch.zeros(4 * hidden, requires_grad=True))
    x, start = torch.full((steps, rows, hidden), 0.5), torch.zeros(steps, rows, dtype=torch.bool)
    state = torch.zeros(rows, hidden)
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        outputs, _ = kernel.unroll(x, start, state, state, weights)
        outputs.sum().backward()
        took.append(time.perf_counter() - began)
    return min(took)
