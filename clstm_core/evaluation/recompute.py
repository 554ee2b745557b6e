"""Recompute a backtest's books from what was traded and the canonical tables: the account, audited.

    python -m clstm_core.evaluation.recompute data/backtests/<id> [--quotes quotes.parquet] [--skip-hashes]

Shares nothing with the code that wrote the ledgers: Polars, the standard library and the Parquet files alone. Taken
from the ledgers: which quantity of what was traded when. Recomputed: prices and fees of every fill, settlement values,
interest, dividends, borrow cost, spots, positions, marks (of what nobody quoted from its last quote), cash and equity,
from quotes, underlyings, rates and the account's configuration. Exit status 1 when anything is over a cent
apart, or counts what must not be.
"""

import argparse
import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from clstm_core.evaluation.recompute_market import TABLES, Market, read_market, spots, terms, with_rates
from clstm_core.evaluation.recompute_marks import stale_marks

CENT = 0.01
"""Currency that the books may differ by."""

LEDGERS = ("equity", "fills", "positions")
TAKEN_AS_GIVEN = "stale marks taken as given"
"""Of contracts that no quote before tells a volatility of."""

STEP = ["episode", "step"]
YEAR_NS = 365 * 86_400 * 10**9
EXACT = 1e-9
"""What prices per share, quantities and growth factors may differ by, relative to themselves where beyond 1."""

SOLVED = 1e-6
"""What a mark may differ by where a volatility was solved for it, in currency per share."""

_BY_CONTENT = re.compile("[0-9a-f]{16}")
"""How a folder of canonical tables is called: by the first digits of its manifest's hash."""

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, pl.exceptions.PolarsError)
"""What a folder that is no backtest's, or a manifest of another shape, raises on its way in."""


def facts_of(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a backtest's manifest says of it, whether its facts stand by themselves or at the top."""
    return manifest.get("facts", manifest)


def quotes_path(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Where the quotes of a backtest lie: what its manifest says, below the data root when that is relative.

    Assumes: the folder is <data root>/backtests/<id>
    """
    return folder.resolve().parent.parent / facts_of(manifest)["quotes"]["path"]


def faults(differences: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
    """What `recompute` found that must not be: differences above a cent, and counts that must be zero."""
    apart = {name: difference for name, difference in differences.items() if not difference <= CENT}
    return {**apart, **{name: count for name, count in counts.items() if count and name != TAKEN_AS_GIVEN}}


def largest(frame: pl.DataFrame, left: str, right: str) -> float:
    """The largest |left - right|; a missing number on either side is an infinite difference."""
    difference = (pl.col(left) - pl.col(right)).abs().fill_nan(None).fill_null(float("inf"))
    return float(frame.select(difference.max().fill_null(0.0)).item())


def recompute(
    tables: Mapping[str, pl.DataFrame], market: Market, facts: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, int]]:
    """Largest differences of every sum of money, and counts of what does not fit.

    Args:
        tables: `equity`, `fills` and `positions` of one backtest
        market: the canonical tables that it was traded on
        facts: of its manifest: `env` (the account's configuration), `near_days` (the tenor of its rate) and `source`

    Units: differences in the account's currency (shares apart); `faults` tells which of both must not be
    """
    equity, env = tables["equity"].sort(STEP), facts["env"]
    contracts = terms(market, facts.get("source", ""))
    way = with_rates(equity.join(spots(market.underlyings), on="snapshot", how="left"), market.rates, _near(facts))
    fills = _priced(tables["fills"], way, market, contracts, env)
    books = _account(way, fills, env)
    held = _held(tables["positions"], equity, fills, market, contracts, _near(facts))
    value = held.group_by(STEP).agg(
        own_options=(pl.col("quantity") * pl.col("own_multiplier") * pl.col("own_mark")).sum(),
        unmarked=pl.col("own_mark").is_null().sum(),
    )
    books = books.join(value, on=STEP, how="left").with_columns(pl.col("own_options").fill_null(0.0)).sort(STEP)
    books = books.with_columns(
        own_equity=pl.col("own_cash") + pl.col("own_shares") * pl.col("market_spot") + pl.col("own_options")
    )
    books = _explained(books, fills, held)
    differences = {
        name: largest(books, f"own_{name}", column)
        for name, column in {
            **{name: f"{name}_usd" for name in ("cash", "interest", "dividends", "borrow", "fees", "settlement")},
            "shares": "shares",
            "spread paid": "slippage_usd",
            "options": "options_mark_usd",
            "equity": "equity_usd",
            "share marks": "share_mark_change_usd",
            "option marks": "option_mark_change_usd",
            "attribution": "explained_usd",
        }.items()
    }
    counts = {
        **_odd_steps(books, market),
        **_odd_fills(fills, equity),
        **_odd_positions(held),
        "contracts of two terms": int(contracts["ambiguous"].sum()),
        "contracts that settle at another hour than their root's": int(contracts["odd_hour"].sum()),
        "quoted positions without a quote": int(books["unmarked"].sum() or 0),
        TAKEN_AS_GIVEN: held.filter(pl.col("stale") & pl.col("model_mark").is_null()).height,
    }
    return differences, counts


def _near(facts: Mapping[str, Any]) -> float:
    """Tenor in days of the rate that cash earns: the near target of the market."""
    return float(facts["near_days"])


def _priced(
    fills: pl.DataFrame, way: pl.DataFrame, market: Market, contracts: pl.DataFrame, env: Mapping[str, Any]
) -> pl.DataFrame:
    """Fills beside what they should say: own_price, own_fee, own_bid, own_ask, own_mid, own_multiplier, due.

    `due` is the snapshot at which such an order fills, `early` whether that lies before the time that passes.
    """
    quotes = market.quotes.select("snapshot", "contract_id", quote_bid="bid", quote_ask="ask")
    steps = way.with_columns(
        before=pl.col("snapshot").shift(1).over("episode", order_by="step"), arrived="snapshot"
    ).select(*STEP, "before", "arrived")
    option, expiry = pl.col("kind") == "option", pl.col("reason") == "expiry"
    ordered = pl.col("reason").is_in(["open", "close", "hedge"])
    buys, lag = pl.col("quantity") > 0, int(env["fill_lag"])
    share = 0.5e-4 * env["share_spread_bps"]
    half = (pl.col("own_ask") - pl.col("own_bid")) / 2
    own_mid = (pl.col("own_bid") + pl.col("own_ask")) / 2
    paid = pl.lit(1.0) if env["fill_rule"] == "touch" else pl.lit(float(env["fill_fraction"]))
    side = pl.when(buys).then(1.0).otherwise(-1.0)
    per_contract, per_share = env["commission_per_contract_usd"], env["commission_per_share_usd"]
    return (
        fills.join(steps, on=STEP, how="left")
        .join(quotes, on=["snapshot", "contract_id"], how="left")
        .join(contracts, on="contract_id", how="left")
        .join(spots(market.underlyings), on="snapshot", how="left")
        .with_columns(
            due=pl.when(ordered & pl.lit(lag == 0)).then("before").otherwise("arrived"),
            own_bid=pl.when(expiry)
            .then("settlement")
            .when(option)
            .then("quote_bid")
            .otherwise(pl.col("market_spot") * (1.0 - share)),
            own_ask=pl.when(expiry)
            .then("settlement")
            .when(option)
            .then("quote_ask")
            .otherwise(pl.col("market_spot") * (1.0 + share)),
            own_multiplier=pl.when(option).then("own_multiplier").otherwise(1.0),
            own_fee=pl.when(expiry)
            .then(0.0)
            .otherwise(pl.col("quantity").abs() * pl.when(option).then(per_contract).otherwise(per_share)),
        )
        .with_columns(
            own_mid=own_mid,
            own_price=pl.when(~expiry & option & pl.lit(env["fill_rule"] == "touch"))
            .then(pl.when(buys).then("own_ask").otherwise("own_bid"))
            .otherwise(pl.max_horizontal(own_mid + side * paid * half, 0.0)),
            early=pl.col("due") != pl.col("arrived"),
        )
        .with_columns(own_paid=pl.col("quantity") * pl.col("own_price") * pl.col("own_multiplier") + pl.col("own_fee"))
    )


def _account(way: pl.DataFrame, fills: pl.DataFrame, env: Mapping[str, Any]) -> pl.DataFrame:
    """Each step's cash, shares, interest, dividends and borrow cost, walked from the capital on.

    interest = cash (e^{r dt} - 1); dividends = shares S' (e^{q dt} - 1); borrow = max(-shares, 0) S b dt, with the
    rate, the yield and the spot S of the snapshot that the time begins at.
    """
    bought = pl.col("quantity").filter(pl.col("kind") == "underlying")
    flows = fills.group_by(STEP).agg(
        paid_early=pl.col("own_paid").filter("early").sum(),
        paid_late=pl.col("own_paid").filter(~pl.col("early")).sum(),
        shares_early=bought.filter(pl.col("early").filter(pl.col("kind") == "underlying")).sum(),
        shares_traded=bought.sum(),
        unpriced=pl.col("own_paid").is_null().any(),
        own_fees=pl.col("own_fee").sum(),
        # fills take the mark's place at mid: what was paid beyond it is the spread
        own_spread=((pl.col("own_price") - pl.col("own_mid")) * pl.col("quantity") * pl.col("own_multiplier")).sum(),
    )
    way = way.join(flows, on=STEP, how="left").sort(STEP)
    own: dict[str, list[float]] = {
        name: []
        for name in ("cash", "shares", "interest", "dividends", "borrow", "cash_return", "years", "held_shares")
    }
    cash = shares = 0.0
    last: dict[str, Any] = {}
    for row in way.with_columns(ns=pl.col("snapshot").dt.epoch("ns")).iter_rows(named=True):
        interest = dividends = borrow = growth = years = held = 0.0
        if row["episode"] != last.get("episode"):
            cash, shares = float(env["capital_usd"]), 0.0
        else:
            years = (row["ns"] - last["ns"]) / YEAR_NS
            growth = math.expm1(_number(last["rate"]) * years)
            cash -= row["paid_early"] or 0.0
            shares += row["shares_early"] or 0.0
            held = shares
            interest = cash * growth
            dividends = shares * _number(row["market_spot"]) * math.expm1(_number(last["dividend_yield"]) * years)
            borrow = max(-shares, 0.0) * _number(last["market_spot"]) * env["borrow_rate"] * years
            cash += interest + dividends - borrow - (row["paid_late"] or 0.0)
            shares += (row["shares_traded"] or 0.0) - (row["shares_early"] or 0.0)
        if row["unpriced"]:
            cash = math.nan
        for name, value in (
            ("cash", cash),
            ("shares", shares),
            ("interest", interest),
            ("dividends", dividends),
            ("borrow", borrow),
            ("cash_return", growth),
            ("years", years),
            ("held_shares", held),
        ):
            own[name].append(value)
        last = row
    return way.with_columns(
        pl.col("own_fees", "own_spread").fill_null(0.0),
        *(pl.Series(f"own_{name}", values, dtype=pl.Float64) for name, values in own.items()),
    ).rename({"own_spread": "own_spread paid"})


def _number(value: float | None) -> float:
    """A missing number spoils what is computed from it."""
    return math.nan if value is None else value


def _held(
    positions: pl.DataFrame,
    equity: pl.DataFrame,
    fills: pl.DataFrame,
    market: Market,
    contracts: pl.DataFrame,
    near_days: float,
) -> pl.DataFrame:
    """Positions after each step: what fills add up to beside what the ledger says, at the quotes' mid where quoted.

    What nobody quoted is worth what Black-Scholes says at the volatility of its last quote.
    """
    traded = fills.filter(pl.col("kind") == "option").group_by([*STEP, "contract_id"]).agg(pl.col("quantity").sum())
    held = (
        traded.rename({"step": "traded_at"})
        .join(equity.select([*STEP, "snapshot"]), on="episode")
        .filter(pl.col("step") >= pl.col("traded_at"))
        .group_by([*STEP, "contract_id"])
        .agg(pl.col("quantity").sum())
        .filter(pl.col("quantity").abs() > EXACT)
    )
    said = positions.group_by([*STEP, "contract_id"]).agg(
        pl.col("quantity").sum().alias("said"),
        pl.col("multiplier", "mark", "stale").first(),
        said_at=pl.col("snapshot").first(),
    )
    quotes = market.quotes.select("snapshot", "contract_id", quote_bid="bid", quote_ask="ask")
    quoted = (pl.col("quote_bid") + pl.col("quote_ask")) / 2
    both = held.join(said.filter(pl.col("said") != 0), on=[*STEP, "contract_id"], how="full", coalesce=True)
    both = both.join(equity.select([*STEP, "snapshot"]), on=STEP, how="left")
    stale = stale_marks(both.filter("stale").select("contract_id", "snapshot").unique(), market, near_days)
    return (
        both.join(stale, on=["contract_id", "snapshot"], how="left")
        .join(quotes, on=["snapshot", "contract_id"], how="left")
        .join(contracts, on="contract_id", how="left")
        .with_columns(pl.col("quantity", "said").fill_null(0.0), quoted=quoted)
        .with_columns(own_mark=pl.when("stale").then(pl.coalesce("model_mark", "mark")).otherwise("quoted"))
    )


def _explained(books: pl.DataFrame, fills: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """What settled above its last mark, what marks changed by, and the attribution's terms that must add up to it.

    Profit is marks' change + settlement + interest + dividends - borrow - fees - spread: with all others known, the
    change of option marks is what is left.
    """
    marked = held.select("episode", "contract_id", "own_mark", step=pl.col("step") + 1)
    expired = (
        fills.filter(pl.col("reason") == "expiry")
        # legs that a contract was bought and sold in settle against each other
        .group_by([*STEP, "contract_id"])
        .agg(pl.col("quantity").sum(), pl.col("own_multiplier", "settlement").first())
        .filter(pl.col("quantity").abs() > EXACT)
        .join(marked, on=[*STEP, "contract_id"], how="left")
        # bought in the very step before it settled (orders that fill at once): marked at mid then
        .join(_bought(fills), on=[*STEP, "contract_id"], how="left")
        .with_columns(before=pl.coalesce("own_mark", "bought_at"))
        .group_by(STEP)
        .agg(
            own_settlement=(
                -pl.col("quantity") * pl.col("own_multiplier") * (pl.col("settlement") - pl.col("before"))
            ).sum(),
            unmarked_before=pl.col("before").is_null().any(),
        )
        .with_columns(own_settlement=pl.when("unmarked_before").then(None).otherwise("own_settlement"))
        .drop("unmarked_before")
        .with_columns(expired=pl.lit(value=True))
    )
    books = books.join(expired, on=STEP, how="left").sort(STEP)
    profit = pl.col("own_equity") - pl.col("own_equity").shift(1).over("episode", order_by="step")
    spot_change = pl.col("market_spot") - pl.col("market_spot").shift(1).over("episode", order_by="step")
    flows = pl.col("own_interest") + pl.col("own_dividends") - pl.col("own_borrow")
    costs = pl.col("own_fees") + pl.col("own_spread paid")
    by_greeks = pl.sum_horizontal(f"{name}_usd" for name in ("delta", "gamma", "vega", "theta", "carry", "residual"))
    return (
        books.with_columns(
            own_settlement=pl.when(pl.col("expired").fill_null(value=False)).then("own_settlement").otherwise(0.0)
        )
        .with_columns(**{"own_share marks": (pl.col("own_held_shares") * spot_change).fill_null(0.0)})
        .with_columns(
            **{
                "own_option marks": (profit - flows + costs - pl.col("own_settlement") - pl.col("own_share marks"))
                .fill_null(0.0)
                .fill_nan(float("inf"))
            }
        )
        .with_columns(
            own_attribution=pl.col("own_option marks") + pl.col("own_share marks") + flows, explained_usd=by_greeks
        )
    )


def _bought(fills: pl.DataFrame) -> pl.DataFrame:
    """Mid at which contracts were traded before the time of their step passed."""
    early = fills.filter(pl.col("early") & (pl.col("kind") == "option"))
    return early.group_by([*STEP, "contract_id"]).agg(bought_at=pl.col("own_mid").first())


def _odd_steps(books: pl.DataFrame, market: Market) -> dict[str, int]:
    """Steps that are missing, and what is said of a snapshot that is not so."""
    gaps = books.filter(pl.col("step") != pl.int_range(pl.len()).over("episode", order_by="step")).height
    spans = books.group_by("episode").agg(pl.len(), first=pl.col("snapshot").min(), last=pl.col("snapshot").max())
    between = [
        int(market.snapshots.is_between(first, last).sum()) - count
        for _, count, first, last in spans.select("episode", "len", "first", "last").iter_rows()
    ]
    unknown = books.filter(~pl.col("snapshot").is_in(market.snapshots.implode())).height
    return {
        "steps that are missing or double": gaps,
        "sessions left out or added": sum(map(abs, between)) + unknown,
        "spots that are not the underlying's": _unequal(books, "market_spot", "spot"),
        "cash returns that are not the rates'": _unequal(books, "own_cash_return", "cash_return"),
    }


def _odd_fills(fills: pl.DataFrame, equity: pl.DataFrame) -> dict[str, int]:
    """Fills that do not follow from quotes, settlement values, the lag and the account's configuration."""
    expiry = pl.col("reason") == "expiry"
    options = fills.filter((pl.col("kind") == "option") & ~expiry)
    expiries, shares = fills.filter(expiry), fills.filter(pl.col("kind") == "underlying")
    tradable = (pl.col("own_ask") > pl.col("own_bid")) & ((pl.col("quantity") > 0) | (pl.col("own_bid") > 0))
    due = (pl.col("before") < pl.col("expiration")) & (pl.col("arrived") >= pl.col("expiration"))
    known = (pl.col("kind") == "option") & pl.col("reason").is_in(["open", "close", "liquidation", "expiry"]) | (
        pl.col("kind") == "underlying"
    ) & pl.col("reason").is_in(["open", "close", "hedge", "liquidation"])
    return {
        "fills whose bid or ask is not the quotes'": _either(options, ("own_bid", "bid"), ("own_ask", "ask")),
        "fills without a quote to trade on": options.filter(~tradable.fill_null(value=False)).height,
        "fills at another price than their rule's": _unequal(options, "own_price", "price"),
        "shares at another price than the spot's": _either(
            shares, ("own_price", "price"), ("own_bid", "bid"), ("own_ask", "ask")
        ),
        "expiries at another value than the settlement": _either(
            expiries, ("settlement", "price"), ("settlement", "bid"), ("settlement", "ask")
        ),
        "expiries at another time than their contract's": expiries.filter(~due.fill_null(value=False)).height,
        "fees other than the configuration's": _unequal(fills, "own_fee", "fee_usd"),
        "fills at another snapshot than their lag's": fills.filter(
            ~(pl.col("snapshot") == pl.col("due")).fill_null(value=False)
        ).height,
        "fills with another multiplier than the contract's": _unequal(fills, "own_multiplier", "multiplier"),
        "fills of no known kind or step": fills.filter(~known.fill_null(value=False)).height
        + fills.join(equity, on=STEP, how="anti").height,
    }


def _odd_positions(held: pl.DataFrame) -> dict[str, int]:
    """Positions that do not follow from fills, and marks that are not the quotes'."""
    fresh, owned = held.filter(~pl.col("stale")), held.filter(pl.col("quantity") != 0)
    two_sided = pl.col("stale") & (pl.col("quote_ask") > pl.col("quote_bid"))
    return {
        "positions that differ from fills": held.filter((pl.col("quantity") - pl.col("said")).abs() > EXACT).height,
        "positions at another snapshot than their step's": held.filter(
            (pl.col("said_at") != pl.col("snapshot")).fill_null(value=True) & (pl.col("said") != 0)
        ).height,
        "positions with another multiplier than the contract's": _unequal(owned, "own_multiplier", "multiplier"),
        "marks that are not the quotes' mid": fresh.filter(pl.col("quoted").is_not_null()).pipe(
            _unequal, "quoted", "mark"
        ),
        "stale marks that are not their last volatility's": held.filter(
            pl.col("stale") & ((pl.col("mark") - pl.col("model_mark")).abs() > SOLVED)
        ).height,
        "stale positions that are quoted": held.filter(two_sided).height,
        "contracts held past their expiration": owned.filter(
            ~(pl.col("snapshot") < pl.col("expiration")).fill_null(value=False)
        ).height,
    }


def _unequal(frame: pl.DataFrame, left: str, right: str) -> int:
    """Rows whose two numbers are not the same but for rounding, or of which one is missing."""
    return _either(frame, (left, right))


def _either(frame: pl.DataFrame, *pairs: tuple[str, str]) -> int:
    """Rows in which some pair of numbers is not the same."""
    same = [
        (pl.col(left) - pl.col(right)).abs() <= EXACT * pl.max_horizontal(pl.col(left).abs(), 1.0)
        for left, right in pairs
    ]
    return frame.filter(~pl.all_horizontal(same).fill_null(value=False)).height


def main(arguments: list[str] | None = None) -> int:
    """The program: recompute one backtest's books and say what was found; 0 when they are right to the cent."""
    parser = argparse.ArgumentParser(description="Recompute a backtest's equity from fills and canonical tables.")
    parser.add_argument("folder", type=Path, help="data/backtests/<id>")
    parser.add_argument("--quotes", type=Path, help="quotes.parquet, where it is not where the manifest says")
    parser.add_argument("--skip-hashes", action="store_true", help="compare the numbers even if a file was altered")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        quotes = options.quotes or quotes_path(folder, manifest)
        altered = _altered(folder, manifest, quotes)
        tables = {name: pl.read_parquet(folder / f"{name}.parquet") for name in LEDGERS}
        market = read_market(quotes.parent, tables["fills"], tables["positions"], quotes)
        differences, counts = recompute(tables, market, facts_of(manifest))
    except _UNREADABLE as e:
        print(
            f"cannot recompute {folder}: {type(e).__name__}: {e}. Expected a backtest's folder with its manifest and "
            "ledgers, and its quotes, underlyings and rates. Name another folder, or pass --quotes where these lie "
            "elsewhere.",
            file=sys.stderr,
        )
        return 1
    fills = tables["fills"]
    print(f"{facts_of(manifest).get('name', '?')}: {tables['equity'].height} rows of equity, {fills.height} fills")
    for name, difference in differences.items():
        print(f"  largest difference in {name}: {difference:.9f}")
    for name, count in counts.items():
        print(f"  {name}: {count}")
    for path in altered:
        print(f"  altered since it was written (sha256 differs from the manifest's): {path}")
    passed = not faults(differences, counts) and (not altered or options.skip_hashes)
    print("to the cent" if passed else "NOT to the cent: the ledgers do not follow from fills and canonical tables")
    return 0 if passed else 1


def tables_altered(quotes: Path, sha256: str) -> list[Path]:
    """Canonical tables beside a quotes file that are not those of that hash: by the manifest that names all of them.

    A folder of the cache is called by its manifest's hash, so that a backtest which names quotes names the rest too;
    quotes that lie elsewhere have no manifest, and nobody says which underlyings and rates are theirs.
    """
    wrong = [] if _sha256(quotes) == sha256 else [quotes]
    if not _BY_CONTENT.fullmatch(quotes.parent.name):
        return wrong
    place = quotes.with_name("manifest.json")
    if not place.is_file() or not _sha256(place).startswith(quotes.parent.name):
        return [*wrong, place]
    files = json.loads(place.read_text())["files"]
    named = {quotes.with_name(f"{name}.parquet"): files.get(f"{name}.parquet") for name in TABLES}
    return [path for path, digest in named.items() if not path.is_file() or _sha256(path) != digest] or wrong


def _altered(folder: Path, manifest: Mapping[str, Any], quotes: Path) -> list[Path]:
    """Files that have not the hash of the manifest; each ledger that is read must have one."""
    if unnamed := [name for name in LEDGERS if f"{name}.parquet" not in manifest["files"]]:
        raise ValueError(f"the manifest names no hash of {', '.join(unnamed)}")
    expected = {folder / name: digest for name, digest in manifest["files"].items()}
    tables = tables_altered(quotes, digest) if (digest := facts_of(manifest)["quotes"]["sha256"]) else []
    return [*(path for path, digest in expected.items() if _sha256(path) != digest), *tables]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
