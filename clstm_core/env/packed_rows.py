"""Rows of generated markets: one int64 says which contract at which step of the account's path.

row = step << 46 | expiry << 33 | strike << 1 | is put,   strike in multiples of the path's strike step
"""

from typing import NamedTuple

import torch

from clstm_core.specs import RIGHT_PUT

_STRIKE_BITS, _EXPIRY_BITS = 32, 13
_STEP_SHIFT = 1 + _STRIKE_BITS + _EXPIRY_BITS
_EXPIRY_SHIFT = 1 + _STRIKE_BITS
NEXT_STEP = 1 << _STEP_SHIFT
"""What the same contract's row at the next snapshot is more."""


class Contract(NamedTuple):
    """Contracts of an account's path; any shape. strike counts strike steps, right is +1 or -1, all int64."""

    expiry: torch.Tensor
    strike: torch.Tensor
    right: torch.Tensor


def pack(step: torch.Tensor, contract: Contract) -> torch.Tensor:
    """The row of contracts at a step, which broadcasts."""
    put = (contract.right == RIGHT_PUT).long()
    return (step << _STEP_SHIFT) + (contract.expiry << _EXPIRY_SHIFT) + (contract.strike << 1) + put


def step_of_row(row: torch.Tensor) -> torch.Tensor:
    """The step of a row that is one."""
    return row >> _STEP_SHIFT


def contract_of_row(row: torch.Tensor) -> torch.Tensor:
    """One number per contract of a path, whatever the step."""
    return row & (NEXT_STEP - 1)


def unpack(row: torch.Tensor) -> Contract:
    """The contract of a row that is one."""
    return Contract(
        expiry=(row >> _EXPIRY_SHIFT) & ((1 << _EXPIRY_BITS) - 1),
        strike=(row >> 1) & ((1 << _STRIKE_BITS) - 1),
        right=1 - 2 * (row & 1),
    )
