"""The reward, and what the Greeks explain of a step's profit."""

from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.book import Book
from clstm_core.market.clock import DAY_YEARS
from clstm_core.market.worlds.paths import Surprise
from clstm_core.market.worlds.surface import VIX_YEARS as MONTH_YEARS

STEEPEST = 1000.0
"""A loss of growth is felt at most so many times: from there down the reward goes straight on, or ruin was infinite."""


def excess_reward(
    equity: torch.Tensor,
    equity_next: torch.Tensor,
    interest_growth: torch.Tensor,
    entry_equity: torch.Tensor,
    margin: torch.Tensor,
    config: EnvConfig,
) -> torch.Tensor:
    """What a step was worth beyond what the same equity in cash would have earned, net of all costs.

        profit         [(E' - E e^{r dt}) - risk_penalty x margin'] / E0
        log_growth     (x^(1 - a) - 1) / (1 - a), its limit ln x for a = 1;    x = E' / (E e^{r dt}),
                       straight on where its slope x^(-a) would be above `STEEPEST`
        mean_variance  g - a g^2 / 2,                                          g = x - 1

    each times reward_scale x 10^4; a = risk_aversion: of two bets with the same mean the one with less variance is
    better by a / 2 of the difference.

    Shapes:  all [N]; interest_growth = e^{r dt} - 1
    Units:   scaled basis points, of entry equity E0 (profit) or of the equity E before the step
    Assumes: nothing is floored: ruin is a large negative reward, and finite
    """
    scale = config.reward_scale * 1e4
    if config.reward == "profit":
        excess = (equity_next - equity) - equity * interest_growth - config.risk_penalty * margin
        return scale * excess / entry_equity
    growth = equity_next / (equity * (1.0 + interest_growth))
    if config.reward == "mean_variance":
        gain = growth - 1.0
        return scale * (gain - 0.5 * config.risk_aversion * gain.square())
    power = 1.0 - config.risk_aversion
    curved = growth.clamp(min=STEEPEST ** (-1.0 / config.risk_aversion))
    felt = torch.log(curved) if power == 0.0 else (curved**power - 1.0) / power
    return scale * (felt + STEEPEST * (growth - curved))


LEVEL_SHARE, SMILE_SLOPE = 0.85, 0.54
"""How much of a surprise of the VIX an option's volatility follows, and by how much it rises for a fixed strike when
the index does: points per log return at 30 days, falling with the root of the tenor. Least squares over walks of eight
policies; other figures would leave more noise, and no bias."""


def surprising_reward(held: Book, entry_equity: torch.Tensor, surprise: Surprise, config: EnvConfig) -> torch.Tensor:
    """The part of a step's reward that the market's surprise brought to what was held; of expectation zero.

        (delta S r + gamma S^2 r2 / 2 + sum of vega (b v + c sqrt(30 d / T) r)) / E  -  a / 2 (delta S / E)^2 r2

    with r, r2, v the surprises of the return, of its square and of the VIX, b `LEVEL_SHARE`, c `SMILE_SLOPE`. A reward
    less this has the same expectation, whatever was held, and far less noise. The last term belongs to the rewards that
    mind risk.

    Shapes: all [N]; `held` the book from this snapshot to the next, at this one
    """
    spot, facts = held.spot, held.facts
    base = entry_equity if config.reward == "profit" else held.equity
    linear = held.delta * spot / base
    curved = 0.5 * held.sums[:, col.GAMMA] * spot * spot / base
    if config.reward != "profit":
        curved = curved - 0.5 * config.risk_aversion * linear.square()
    tenor = facts[..., col.TTE].clamp(min=DAY_YEARS) / MONTH_YEARS
    sloped = (held.weight * facts[..., col.VEGA] * torch.rsqrt(tenor)).sum(dim=1)
    level = LEVEL_SHARE * held.sums[:, col.VEGA] / base
    news = (linear + SMILE_SLOPE * sloped / base) * surprise.gain + curved * surprise.square + level * surprise.vix
    return config.reward_scale * 1e4 * news


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
