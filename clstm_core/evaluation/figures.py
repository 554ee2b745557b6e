"""The figures of a backtest, each declared once: name, unit, meaning, rule, and where a reader sees it.

To add a figure, add its `Figure` here: the manifest's summary, the store's column, the comparison's rows and (named in
`PERFORMANCE` or `COSTS`) the report's tables follow. Plain Python alone, so that a store or a page can import it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clstm_core.evaluation.books import Books


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a backtest.

    type:    of its column in DuckDB
    of:      how it follows from the account's books; None where the books are too short for it
    heading: above its column on a page; kind: how a cell there is written (percent, usd, count or plain)
    stored:  whether the store has a column for it; since: the store's schema version that the column came with
    """

    name: str
    type: str
    unit: str
    note: str
    of: Callable[["Books"], Any]
    heading: str = ""
    kind: str = ""
    stored: bool = True
    since: int = 1


FIGURES: tuple[Figure, ...] = (
    Figure(
        "start_equity_usd",
        "DOUBLE",
        "USD",
        "equity before the first decision",
        lambda books: books.capital,
        "start equity, USD",
        "usd",
    ),
    Figure(
        "final_equity_usd",
        "DOUBLE",
        "USD",
        "equity at the last snapshot, marked at mid",
        lambda books: books.mean(books.final_equity),
        "final equity, USD",
        "usd",
    ),
    Figure(
        "total_return",
        "DOUBLE",
        "fraction",
        "final over start equity, less 1",
        lambda books: books.mean_of("total_return"),
        "total return",
        "percent",
    ),
    Figure(
        "annual_return",
        "DOUBLE",
        "fraction per year",
        "geometric, by sessions; NULL when the window is shorter than a year",
        lambda books: books.mean_of("annual_return"),
        "per year",
        "percent",
    ),
    Figure(
        "annual_volatility",
        "DOUBLE",
        "fraction per year",
        "of daily returns; NULL when the window is shorter than a year",
        lambda books: books.mean_of("annual_volatility"),
        "volatility",
        "percent",
    ),
    Figure(
        "sharpe",
        "DOUBLE",
        "per year",
        "excess over cash; NULL when the window is shorter than a year",
        lambda books: books.mean_of("sharpe"),
        "Sharpe",
    ),
    Figure(
        "ratio",
        "DOUBLE",
        "per session",
        "mean over standard deviation of returns in excess of cash, not annualised: what rungs are ranked by",
        lambda books: books.mean_of("ratio"),
        "mean / deviation",
        since=4,
    ),
    Figure(
        "max_drawdown",
        "DOUBLE",
        "fraction",
        "largest fall from a peak, 0 or negative; of the worst episode",
        lambda books: min(part.max_drawdown for part in books.performances),
        "largest drawdown",
        "percent",
    ),
    Figure(
        "fees_usd",
        "DOUBLE",
        "USD",
        "commissions",
        lambda books: float(books.equity["fees_usd"].sum()) / books.n_episodes,
        "fees, USD",
        "usd",
    ),
    Figure(
        "spread_usd",
        "DOUBLE",
        "USD",
        "paid against the mid at the fill",
        lambda books: float(books.equity["slippage_usd"].sum()) / books.n_episodes,
        "spread paid, USD",
        "usd",
    ),
    Figure(
        "turnover",
        "DOUBLE",
        "x start equity",
        "traded premium and stock value over the window, expiries apart",
        lambda books: books.traded_usd / books.capital / books.n_episodes,
        "turnover, x capital",
    ),
    Figure(
        "n_fills",
        "BIGINT",
        "count",
        "fills of every kind, expiries apart",
        lambda books: round(books.trades.height / books.n_episodes),
        "fills",
        "count",
    ),
    Figure(
        "n_size_zero_fills",
        "BIGINT",
        "count",
        "fills against a quote whose size was given as 0: nobody stood behind the price",
        lambda books: int(books.trades["size_zero"].sum()),
        "fills against size 0",
        "count",
        stored=False,
    ),
    Figure(
        "n_unfilled",
        "BIGINT",
        "count",
        "orders that the market did not fill",
        lambda books: int(books.decisions["unfilled"].sum()),
        "unfilled orders",
        "count",
    ),
    Figure(
        "n_rejected",
        "BIGINT",
        "count",
        "orders that margin or the risk budget did not allow",
        lambda books: int(books.decisions["rejected"].sum()),
        "rejected orders",
        "count",
    ),
    Figure(
        "n_liquidations",
        "BIGINT",
        "count",
        "forced closings",
        lambda books: int(books.equity["liquidated"].sum()),
        "liquidations",
        "count",
    ),
    Figure(
        "max_margin_used",
        "DOUBLE",
        "fraction",
        "largest margin over equity",
        lambda books: books.margin_used,
        "largest margin",
        "percent",
    ),
    Figure(
        "largest_net_exposure",
        "DOUBLE",
        "fraction",
        "largest |delta| of the whole book x spot, over equity",
        lambda books: books.most("net_exposure"),
        "net exposure",
        "percent",
        since=5,
    ),
    Figure(
        "largest_gross_exposure",
        "DOUBLE",
        "fraction",
        "largest sum of all positions' |delta| x spot, over equity",
        lambda books: books.most("gross_exposure"),
        "gross exposure",
        "percent",
        since=5,
    ),
    Figure(
        "largest_crash_loss",
        "DOUBLE",
        "fraction",
        "largest loss of the whole book in the stated crash, over equity",
        lambda books: books.most("crash_loss"),
        "loss in the crash",
        "percent",
        since=5,
    ),
    Figure(
        "largest_vega",
        "DOUBLE",
        "fraction",
        "largest |vega| per point of implied volatility, over equity",
        lambda books: books.most("vega_per_point"),
        "vega per point",
        "percent",
        since=5,
    ),
    Figure(
        "largest_premium_sold",
        "DOUBLE",
        "fraction",
        "most premium sold to open in one stretch of 21 sessions of the account's age (not rolling), over equity",
        lambda books: books.most("premium_sold"),
        "premium sold",
        "percent",
        since=5,
    ),
    Figure(
        "n_budget_breaches",
        "BIGINT",
        "count",
        "sessions at which the market had moved a book over its risk budget",
        lambda books: int(books.equity["over_budget"].sum()),
        "budget breaches",
        "count",
        since=5,
    ),
    Figure(
        "longest_budget_cure",
        "BIGINT",
        "sessions",
        "most closes in a row over the risk budget, while something did not trade",
        lambda books: books.longest_cure,
        "longest cure, sessions",
        "count",
        since=5,
    ),
    Figure(
        "n_returns",
        "BIGINT",
        "count",
        "daily returns of the longest episode",
        lambda books: max(part.n_returns for part in books.performances),
        kind="count",
        stored=False,
    ),
    Figure(
        "periods_per_year",
        "DOUBLE",
        "sessions per year",
        "what annual figures assume",
        lambda books: books.performances[0].periods_per_year,
        kind="count",
        stored=False,
    ),
    Figure(
        "final_equity_worst_usd",
        "DOUBLE",
        "USD",
        "final equity of the worst episode",
        lambda books: min(books.final_equity),
        kind="usd",
        stored=False,
    ),
    Figure(
        "n_expiries",
        "BIGINT",
        "count",
        "positions that expired",
        lambda books: round((books.fills.height - books.trades.height) / books.n_episodes),
        kind="count",
        stored=False,
    ),
    Figure(
        "n_ruined",
        "BIGINT",
        "count",
        "episodes that ended in ruin",
        lambda books: int(books.equity["terminated"].sum()),
        kind="count",
        stored=False,
    ),
    Figure(
        "stale_position_share",
        "DOUBLE",
        "fraction",
        "positions that had no quote at their snapshot",
        lambda books: books.share(books.positions["stale"]),
        kind="percent",
        stored=False,
    ),
)
"""In the order of the store's columns; figures of several episodes are their mean where the note says nothing else."""

FIGURE: dict[str, Figure] = {figure.name: figure for figure in FIGURES}
STORED: tuple[Figure, ...] = tuple(figure for figure in FIGURES if figure.stored)

PERFORMANCE = ("total_return", "annual_return", "annual_volatility", "sharpe", "max_drawdown", "final_equity_usd")
COSTS = ("n_fills", "n_size_zero_fills", "fees_usd", "spread_usd", "turnover", "n_liquidations", "max_margin_used")
LIMITS = (
    "largest_net_exposure",
    "largest_gross_exposure",
    "largest_crash_loss",
    "largest_vega",
    "largest_premium_sold",
    "n_budget_breaches",
    "longest_budget_cure",
)
"""Columns of the report's three tables of figures."""

ATTRIBUTION: dict[str, str] = {
    "delta_usd": "delta",
    "gamma_usd": "gamma",
    "vega_usd": "vega",
    "theta_usd": "theta",
    "carry_usd": "carry",
    "settlement_usd": "settlement",
    "spread_usd": "spread paid",
    "fees_usd": "fees",
    "residual_usd": "residual",
}
"""Terms that profit is split into, with their names; costs are negative, and all add up to the profit."""

LARGE_RESIDUAL = 0.25
"""A residual above this share of all movement is flagged: the Greeks then explain too little."""

ROLLING = 63
"""Sessions of a rolling figure: a quarter of a year, and so never annualised."""

MEAN_METRIC, SHARPE_METRIC = "mean_daily_excess_bps", "sharpe"
"""What two policies are compared by: mean log return in basis points per session, and the Sharpe ratio per year."""


def columns(names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Heading and kind of cell of each figure, by its name."""
    return {name: (FIGURE[name].heading or name.replace("_", " "), FIGURE[name].kind) for name in names}
