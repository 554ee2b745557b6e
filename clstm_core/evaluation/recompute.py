"""Recompute a backtest's books from what was traded and the canonical tables: the account, audited.

    python -m clstm_core.evaluation.recompute data/backtests/<id> [--quotes quotes.parquet] [--skip-hashes]

Shares nothing with the code that wrote the ledgers: Polars, the standard library and the Parquet files alone. Taken
from the ledgers: which quantity of what was traded when. Recomputed: prices and fees of every fill, settlement values,
interest, dividends, borrow cost, spots, positions, marks (of what nobody quoted from its last quote), cash, equity and
what the book takes of its risk budget, from quotes, underlyings, rates and the account's configuration. Exit status 1
when anything is over a cent apart, or counts what must not be.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from clstm_core.evaluation.recomputed.account import account, explained, odd_steps
from clstm_core.evaluation.recomputed.budget import odd_budgets
from clstm_core.evaluation.recomputed.equal import STEP
from clstm_core.evaluation.recomputed.fills import odd_fills, priced
from clstm_core.evaluation.recomputed.market import TABLES, Market, read_market, spots, terms, with_rates
from clstm_core.evaluation.recomputed.positions import held, odd_positions

CENT = 0.01
"""Currency that the books may differ by."""

LEDGERS = ("equity", "fills", "positions")
TAKEN_AS_GIVEN = "stale marks taken as given"
"""Of contracts that no quote before tells a volatility of."""

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


def largest(frame: pl.DataFrame, pairs: Mapping[str, tuple[str, str]]) -> dict[str, float]:
    """The largest |left - right| of each pair of columns; a number missing on a side is an infinite difference."""
    differences = {
        name: (pl.col(left) - pl.col(right)).abs().fill_nan(None).fill_null(float("inf")).max().fill_null(0.0)
        for name, (left, right) in pairs.items()
    }
    return {name: float(found) for name, found in frame.select(**differences).row(0, named=True).items()}


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
    equity, env, near = tables["equity"].sort(STEP), facts["env"], float(facts["near_days"])
    contracts = terms(market, facts.get("source", ""))
    way = with_rates(equity.join(spots(market.underlyings), on="snapshot", how="left"), market.rates, near)
    fills = priced(tables["fills"], way, market, contracts, env)
    books = account(way, fills, env)
    owned = held(tables["positions"], equity, fills, market, contracts, near)
    value = owned.group_by(STEP).agg(
        own_options=(pl.col("quantity") * pl.col("own_multiplier") * pl.col("own_mark")).sum(),
        unmarked=pl.col("own_mark").is_null().sum(),
    )
    books = books.join(value, on=STEP, how="left").with_columns(pl.col("own_options").fill_null(0.0)).sort(STEP)
    books = books.with_columns(
        own_equity=pl.col("own_cash") + pl.col("own_shares") * pl.col("market_spot") + pl.col("own_options")
    )
    books = explained(books, fills, owned)
    said = {
        **{name: f"{name}_usd" for name in ("cash", "interest", "dividends", "borrow", "fees", "settlement")},
        "shares": "shares",
        "spread paid": "slippage_usd",
        "options": "options_mark_usd",
        "equity": "equity_usd",
        "share marks": "share_mark_change_usd",
        "option marks": "option_mark_change_usd",
        "attribution": "explained_usd",
    }
    differences = largest(books, {name: (f"own_{name}", column) for name, column in said.items()})
    counts = {
        **odd_steps(books, market),
        **odd_fills(fills, equity),
        **odd_positions(owned),
        **odd_budgets(books, owned, tables["positions"], fills, market, env, near),
        "contracts of two terms": int(contracts["ambiguous"].sum()),
        "contracts that settle at another hour than their root's": int(contracts["odd_hour"].sum()),
        "quoted positions without a quote": int(books["unmarked"].sum() or 0),
        TAKEN_AS_GIVEN: owned.filter(pl.col("stale") & pl.col("model_mark").is_null()).height,
    }
    return differences, counts


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
