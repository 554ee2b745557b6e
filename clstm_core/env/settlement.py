"""What time does to an account between two snapshots: interest, dividends, borrow and cash settlement."""

from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col


class HoldingFlows(NamedTuple):
    """Cash flows of holding, each [N]; interest and dividends are signed, borrow is a cost (0 or more)."""

    interest: torch.Tensor
    dividends: torch.Tensor
    borrow: torch.Tensor


def holding_flows(
    cash: torch.Tensor, shares: torch.Tensor, now: torch.Tensor, spot_next: torch.Tensor, config: EnvConfig
) -> HoldingFlows:
    """Interest on cash (debts pay the same rate), dividends on shares (short sellers pay them), borrow on short shares.

        interest = cash (e^{r dt} - 1), dividends = shares S' (e^{q dt} - 1), borrow = max(-shares, 0) S b dt

    Shapes:  cash, shares, spot_next [N]; now [N, 5] the first snapshot's facts, at which rates and yields are known
    Assumes: shares are lent at the value they had at the first snapshot
    """
    return HoldingFlows(
        interest=cash * now[:, col.INTEREST_GROWTH],
        dividends=shares * spot_next * now[:, col.DIVIDEND_GROWTH],
        borrow=torch.clamp(-shares, min=0.0) * now[:, col.SPOT] * (config.borrow_rate * now[:, col.DT]),
    )


def settlement_cash(
    quantity: torch.Tensor, multiplier: torch.Tensor, settles: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Cash paid to the account for the contracts that settle now (negative: it pays), summed over legs.

    Shapes: all [N, L]; settles is bool; value is the contract's cash per share
    """
    return torch.where(settles, quantity * multiplier * value, 0.0).sum(dim=-1)
