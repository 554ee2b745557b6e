"""At which price a quote fills, whether it fills at all, and what the trade costs."""

import torch

from clstm_core.config import EnvConfig


def fill_prices(bid: torch.Tensor, ask: torch.Tensor, config: EnvConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Prices at which a quote is bought and sold.

        touch:    buy = ask, sell = bid
        fraction: buy, sell = mid +- f x half-spread

    Shapes:  any, equal
    Units:   currency per share
    Assumes: a stressed sale (f > 1) never pays the buyer: its price stops at 0
    """
    if config.fill_rule == "touch":
        return ask, bid
    mid, half = 0.5 * (bid + ask), 0.5 * (ask - bid)
    return mid + config.fill_fraction * half, torch.clamp(mid - config.fill_fraction * half, min=0.0)


def side_price(quantity: torch.Tensor, buy: torch.Tensor, sell: torch.Tensor) -> torch.Tensor:
    """The price of trading a signed quantity: `buy` where positive, `sell` elsewhere."""
    return torch.where(quantity > 0, buy, sell)


def fillable(quantity: torch.Tensor, can_buy: torch.Tensor, can_sell: torch.Tensor) -> torch.Tensor:
    """Whether a signed quantity finds a quote on the side it needs; quantity 0 needs none.

    Shapes: quantity any; can_buy, can_sell equal, 1 or True where that side is quoted (bid = 0 may be bought, not
            sold; missing, locked and crossed quotes are neither)
    """
    return (quantity == 0) | torch.where(quantity > 0, can_buy > 0, can_sell > 0)


def share_half_spread(config: EnvConfig) -> float:
    """Half-spread that a share trade pays under the fill rule, as a fraction of spot."""
    return 0.5e-4 * config.share_spread_bps * config.fill_fraction


def share_price(quantity: torch.Tensor, spot: torch.Tensor, config: EnvConfig) -> torch.Tensor:
    """What a share costs when bought (quantity > 0) or brings when sold, currency per share."""
    half = share_half_spread(config)
    # two tensors, since torch.where of two Python numbers is float32 and rounds away dollars
    return torch.where(quantity > 0, spot * (1.0 + half), spot * (1.0 - half))


def contract_fee(quantity: torch.Tensor, config: EnvConfig) -> torch.Tensor:
    """Commission of an option trade in currency, whatever its direction."""
    return config.commission_per_contract_usd * quantity.abs()


def share_fee(quantity: torch.Tensor, config: EnvConfig) -> torch.Tensor:
    """Commission of a share trade in currency, whatever its direction."""
    return config.commission_per_share_usd * quantity.abs()
