"""Prices of many options by one compiled kernel, for a compiled step of the env on a CPU.

Torch's compiler writes their error functions one contract at a time where contracts are gathered by index; here they
are operators that it calls. Uncompiled code computes with `black_scholes` and `margin`, which stay the reference.
"""

import ctypes
from typing import Any

import torch

from clstm_core.native import build
from clstm_core.options.black_scholes import Greeks

KERNEL = "prices"
_OPERATORS = torch.library.Library("clstm", "DEF")
_OPERATORS.define(
    "greeks(Tensor spot, Tensor strike, Tensor money, Tensor tte, Tensor vol, Tensor rate, Tensor dividend_yield, "
    "Tensor right) -> Tensor"
)
_OPERATORS.define(
    "scenarios(Tensor spot, Tensor strike, Tensor money, Tensor tte, Tensor vol, Tensor rate, Tensor dividend_yield, "
    "Tensor right, Tensor move, float[] factor) -> Tensor"
)


_ready = False


def make_ready() -> None:
    """Compile the kernel where that can be done, before a function that calls it is compiled."""
    global _ready
    _ready = build.load(KERNEL) is not None


def wanted(device: torch.device) -> bool:
    """Whether a function that is being compiled for this device should call the kernel."""
    return torch.compiler.is_compiling() and _ready and device.type == "cpu"


def greeks(
    spot: torch.Tensor,
    strike: torch.Tensor,
    money: torch.Tensor,
    tte: torch.Tensor,
    vol: torch.Tensor,
    rate: torch.Tensor,
    dividend_yield: torch.Tensor,
    right: torch.Tensor,
) -> Greeks:
    """As `black_scholes.greeks`, of contracts [M] float64 whose ln(K / F) is known."""
    return Greeks(*torch.ops.clstm.greeks(spot, strike, money, tte, vol, rate, dividend_yield, right).unbind())


def scenarios(
    spot: torch.Tensor,
    strike: torch.Tensor,
    money: torch.Tensor,
    tte: torch.Tensor,
    vol: torch.Tensor,
    rate: torch.Tensor,
    dividend_yield: torch.Tensor,
    right: torch.Tensor,
    move: torch.Tensor,
    factor: tuple[float, float, float],
) -> torch.Tensor:
    """As `margin.option_scenarios` [1 + S, M], of contracts [M] float32 whose ln(K / F) is known.

    Args:
        move: relative moves of spot in the crash and at the scan's points [1 + scan_points]
        factor: what implied vol is multiplied with in the crash, and in the scan's two halves
    """
    given = (spot, strike, money, tte, vol, rate, dividend_yield, right)
    return torch.ops.clstm.scenarios(*given, move, list(factor))


@torch.library.impl(_OPERATORS, "greeks", "CPU")
def _greeks(*given: torch.Tensor) -> torch.Tensor:
    arrays, count = _rows(torch.float64, *given), given[0].numel()
    out = torch.empty(len(Greeks._fields), count, dtype=torch.float64)
    _library().greeks(*(ctypes.c_void_p(a.data_ptr()) for a in (*arrays, out)), ctypes.c_int64(count))
    return out


@torch.library.impl(_OPERATORS, "scenarios", "CPU")
def _scenarios(
    spot: torch.Tensor,
    strike: torch.Tensor,
    money: torch.Tensor,
    tte: torch.Tensor,
    vol: torch.Tensor,
    rate: torch.Tensor,
    dividend_yield: torch.Tensor,
    right: torch.Tensor,
    move: torch.Tensor,
    factor: list[float],
) -> torch.Tensor:
    count, points = spot.numel(), len(move) - 1
    contracts = _rows(torch.float32, spot, strike, money, tte, vol, rate, dividend_yield, right)
    moves = _rows(torch.float32, move, move.log1p())
    arrays = [*contracts, *moves, torch.tensor(factor, dtype=torch.float32)]
    out = torch.empty(1 + 2 * points, count)
    addresses = (ctypes.c_void_p(a.data_ptr()) for a in (*arrays, out))
    _library().scenarios(*addresses, ctypes.c_int64(count), ctypes.c_int64(points))
    return out


@torch.library.register_fake("clstm::greeks")
def _greeks_shape(spot: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    return spot.new_empty(len(Greeks._fields), spot.numel())


@torch.library.register_fake("clstm::scenarios")
def _scenarios_shape(spot: torch.Tensor, *rest: Any) -> torch.Tensor:
    return spot.new_empty(2 * len(rest[7]) - 1, spot.numel())


def _rows(dtype: torch.dtype, *given: torch.Tensor) -> list[torch.Tensor]:
    """The arrays as the kernel reads them, one number a contract.

    Raises: TypeError where one has another dtype, dimension or length than that: the kernel would read beyond its end
    """
    found = {(part.dtype, *part.shape) for part in given}
    if found != {(dtype, given[0].numel())}:
        raise TypeError(
            f"Prices of arrays {found}; the kernel reads {dtype} of one shape [M]. Expand and convert them."
        )
    return [part.contiguous() for part in given]


def _library() -> ctypes.CDLL:
    library = build.load(KERNEL)
    assert library is not None
    return library
