"""The reward, and what the Greeks explain of a step's profit."""

from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.book import Book


def excess_reward(
    equity: torch.Tensor,
    equity_next: torch.Tensor,
    interest_growth: torch.Tensor,
    entry_equity: torch.Tensor,
    margin: torch.Tensor,
    config: EnvConfig,
) -> torch.Tensor:
    """Profit net of all costs beyond what the same equity in cash would have earned.

        reward_scale x 10^4 x [(E' - E e^{r dt}) - risk_penalty x margin'] / E0

    Shapes:  all [N]; interest_growth = e^{r dt} - 1
    Units:   scaled basis points of entry equity E0
    Assumes: equity is never floored: ruin is a large negative reward
    """
    excess = (equity_next - equity) - equity * interest_growth - config.risk_penalty * margin
    return config.reward_scale * 1e4 * excess / entry_equity


class Explained(NamedTuple):
    """Profit [N] that the first snapshot's Greeks explain, currency."""

    delta: torch.Tensor
    gamma: torch.Tensor
    vega: torch.Tensor
    theta: torch.Tensor
    rho: torch.Tensor


def explain(
    before: Book,
    after_facts: torch.Tensor,
    shares: torch.Tensor,
    spot_change: torch.Tensor,
    rate_change: torch.Tensor,
    dt_years: torch.Tensor,
) -> Explained:
    """Attribute a step's mark change to the Greeks that were known before it.

        delta dS + 1/2 gamma dS^2 + vega d(sigma) + theta dt + rho dr,   summed over the legs that do not settle

    Shapes:  before and after_facts hold the same legs at t and t + 1; shares, changes and dt [N]
    Assumes: a settling leg's whole profit is the ledger's settlement term
    """
    facts = before.facts
    weight = torch.where(facts[..., col.SETTLES] > 0, 0.0, before.weight)
    greeks = (weight[..., None] * facts[..., col.DELTA : col.RHO + 1]).sum(dim=1)
    delta, gamma, _, theta, rho = greeks.unbind(dim=1)
    vol_change = after_facts[..., col.IMPLIED_VOL] - facts[..., col.IMPLIED_VOL]
    return Explained(
        delta=(delta + shares) * spot_change,
        gamma=0.5 * gamma * spot_change * spot_change,
        vega=(weight * facts[..., col.VEGA] * vol_change).sum(dim=1),
        theta=theta * dt_years,
        rho=rho * rate_change,
    )
