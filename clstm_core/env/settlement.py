"""What time does to an account between two snapshots: interest, dividends, borrow and cash settlement."""

from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig


class Carry(NamedTuple):
    """Cash flows of holding, each [N]; interest and dividends are signed, borrow is a cost (0 or more)."""

    interest: torch.Tensor
    dividends: torch.Tensor
    borrow: torch.Tensor


def carry(
    cash: torch.Tensor,
    shares: torch.Tensor,
    spot: torch.Tensor,
    spot_next: torch.Tensor,
    interest_growth: torch.Tensor,
    dividend_growth: torch.Tensor,
    dt_years: torch.Tensor,
    config: EnvConfig,
) -> Carry:
    """Interest on cash (debts pay the same rate), dividends on shares (short sellers pay them), borrow on short shares.

        interest = cash (e^{r dt} - 1), dividends = shares S' (e^{q dt} - 1), borrow = max(-shares, 0) S b dt

    Shapes:  all [N]; interest_growth = e^{r dt} - 1 and dividend_growth = e^{q dt} - 1, known at the first snapshot
    Assumes: shares are lent at the value they had at the first snapshot
    """
    return Carry(
        interest=cash * interest_growth,
        dividends=shares * spot_next * dividend_growth,
        borrow=torch.clamp(-shares, min=0.0) * spot * (config.borrow_rate * dt_years),
    )


def settlement_cash(
    quantity: torch.Tensor, multiplier: torch.Tensor, settles: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Cash paid to the account for the contracts that settle now (negative: it pays), summed over legs.

    Shapes: all [N, L]; settles is bool; value is the contract's cash a share
    """
    return torch.where(settles, quantity * multiplier * value, 0.0).sum(dim=-1)
