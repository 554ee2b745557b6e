"""What the policy sees: the market's features of the snapshot, then the account's own book."""

import torch

from clstm_core.env import columns as col
from clstm_core.env.book import Book
from clstm_core.env.budget import of_equity, taken
from clstm_core.env.state import AccountState, Holdings
from clstm_core.env.view import MarketView
from clstm_core.errors import MarketDataError
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.specs import BOOK_FEATURES, MARKET_FEATURES, OBSERVATION


def observe_accounts(view: MarketView, account: AccountState, book: Book) -> torch.Tensor:
    """What the policy sees of its snapshot and of its own book [N, F] float32, in the order of `specs.OBSERVATION`."""
    own = book_features(account.holdings, book, account.entry_equity_N, account.premium_sold_N)
    return torch.cat([view.features(account.snapshot_index_N), own.float()], dim=1)


def book_features(
    holdings: Holdings, book: Book, entry_equity: torch.Tensor, premium_sold: torch.Tensor
) -> torch.Tensor:
    """The columns of `specs.BOOK_FEATURES` [N, 15] in the money dtype.

    Units: money as fractions of entry equity E0; delta x spot / E0 (dollar delta); gamma x spot^2 x 1% / E0 (change of
           dollar delta for a 1% move); vega / E0 per 1.00 of vol; theta / E0 per year; legs as fractions of L; years;
           gross exposure, crash loss and premium sold as the risk budget counts them, fractions of the equity there is
    """
    held = holdings.quantity != 0
    n_legs = held.shape[1]
    facts, sums, spot = book.facts, book.sums, book.spot
    expiry = torch.where(held, facts[..., col.TTE], torch.inf).amin(dim=1)
    unrealised = (book.weight * (facts[..., col.MARK] - holdings.entry_price)).sum(dim=1)
    stale = (held & (facts[..., col.STALE] > 0)).sum(dim=1)
    use = of_equity(taken(book, holdings.shares, premium_sold), book.equity[:, None])
    columns = {
        "equity_change": book.equity / entry_equity - 1.0,
        "cash_fraction": holdings.cash / entry_equity,
        "share_fraction": holdings.shares * spot / entry_equity,
        "margin_used": book.margin / entry_equity,
        "delta": book.delta * spot / entry_equity,
        "gamma": 0.01 * sums[:, col.GAMMA] * spot * spot / entry_equity,
        "vega": sums[:, col.VEGA] / entry_equity,
        "theta": sums[:, col.THETA] / entry_equity,
        "legs_held": held.sum(dim=1) / n_legs,
        "nearest_expiry_years": torch.where(torch.isinf(expiry), 0.0, expiry),
        "unrealised_pnl": unrealised / entry_equity,
        "stale_legs": stale / n_legs,
        "gross_exposure": use[:, 1],
        "crash_loss": use[:, 2],
        "premium_sold": use[:, 4],
    }
    return torch.stack([columns[name].to(spot.dtype) for name in BOOK_FEATURES], dim=1)


def scaler(market: MarketTensors | GeneratedWorld, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [F] for the policy: the market's fitted scaler, then 0 and 1 for book features.

    Raises: MarketDataError when the stored scaler fits neither the market features nor the whole observation
    """
    mean, std = torch.zeros(len(OBSERVATION), device=device), torch.ones(len(OBSERVATION), device=device)
    stored = market.info.get("scaler")
    if stored:
        width = len(stored["mean"])
        if width not in (len(MARKET_FEATURES), len(OBSERVATION)) or len(stored["std"]) != width:
            raise MarketDataError(
                f"the market's scaler has {width} means and {len(stored['std'])} deviations: expected "
                f"{len(MARKET_FEATURES)} of each, one per market feature. Build the market tensors again."
            )
        mean[:width] = torch.tensor(stored["mean"], dtype=torch.float32)
        std[:width] = torch.tensor(stored["std"], dtype=torch.float32)
    return mean, std
