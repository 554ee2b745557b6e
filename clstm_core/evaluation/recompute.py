"""Recompute a backtest's cash, positions and equity from its fills and the quotes: the account's books, audited.

    python -m clstm_core.evaluation.recompute data/backtests/<id> [--quotes quotes.parquet] [--skip-hashes]

Shares nothing with the code that wrote the ledgers: Polars, the standard library and the Parquet files alone. Taken
from `equity`: spot, interest, dividends and borrow cost, the first row's cash. Recomputed: every position from fills,
every mark of a quoted position as the mid of its row in `quotes`, cash, options' value, equity. Exit status 1 when
anything is over a cent apart, a position differs, or a fill's bid and ask are not the quotes'.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

CENT = 0.01
"""Currency that the books may differ by."""

LEDGERS = ("equity", "fills", "positions")
QUOTE_COLUMNS = ("snapshot", "contract_id", "bid", "ask")
TAKEN_AS_GIVEN = "stale marks taken as given"
STEP = ["episode", "step"]
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


def quotes_of(quotes: pl.LazyFrame, fills: pl.DataFrame, positions: pl.DataFrame) -> pl.DataFrame:
    """The rows of canonical quotes that an account's contracts have, in the columns that `recompute` needs."""
    ids = pl.concat([fills["contract_id"], positions["contract_id"]]).drop_nulls().unique()
    return quotes.select(QUOTE_COLUMNS).filter(pl.col("contract_id").is_in(ids.implode())).collect()


def faults(differences: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
    """What `recompute` found that must not be: differences above a cent, and counts that must be zero."""
    apart = {name: difference for name, difference in differences.items() if not difference <= CENT}
    return {**apart, **{name: count for name, count in counts.items() if count and name != TAKEN_AS_GIVEN}}


def largest(frame: pl.DataFrame, left: str, right: str) -> float:
    """The largest |left - right|; a missing number on either side is an infinite difference."""
    difference = (pl.col(left) - pl.col(right)).abs().fill_nan(None).fill_null(float("inf"))
    return float(frame.select(difference.max().fill_null(0.0)).item())


def recompute(
    equity: pl.DataFrame, fills: pl.DataFrame, positions: pl.DataFrame, quotes: pl.DataFrame
) -> tuple[dict[str, float], dict[str, int]]:
    """Largest differences of cash, shares, options' value and equity, and counts of what does not fit.

    Args:
        equity, fills, positions: the ledgers of one backtest
        quotes: `snapshot, contract_id, bid, ask` of at least the contracts that were traded or held

    Units: differences in the account's currency (shares apart); `faults` tells which of both must not be
    """
    equity = equity.sort(STEP)
    mid = quotes.select("snapshot", "contract_id", quote_bid="bid", quote_ask="ask")

    # cash: what flowed in and out, accumulated from the first row
    flows = fills.group_by(STEP).agg(
        paid=(pl.col("quantity") * pl.col("price") * pl.col("multiplier")).sum() + pl.col("fee_usd").sum(),
        share_change=pl.col("quantity").filter(pl.col("kind") == "underlying").sum(),
    )
    books = (
        equity.join(flows, on=STEP, how="left").with_columns(pl.col("paid", "share_change").fill_null(0.0)).sort(STEP)
    )
    change = pl.col("interest_usd") + pl.col("dividends_usd") - pl.col("borrow_usd") - pl.col("paid")
    books = books.with_columns(
        cash=pl.col("cash_usd").first().over("episode") + change.cum_sum().over("episode"),
        own_shares=pl.col("share_change").cum_sum().over("episode"),
    )

    # positions: fills accumulated over every later step of the episode
    traded = (
        fills.filter(pl.col("kind") == "option")
        .group_by([*STEP, "contract_id"])
        .agg(pl.col("quantity").sum(), pl.col("multiplier").first())
    )
    held = (
        traded.rename({"step": "traded_at"})
        .join(equity.select([*STEP, "snapshot"]), on="episode")
        .filter(pl.col("step") >= pl.col("traded_at"))
        .group_by([*STEP, "snapshot", "contract_id"])
        .agg(pl.col("quantity").sum(), pl.col("multiplier").first())
        .filter(pl.col("quantity").abs() > 1e-9)
    )
    said = positions.group_by([*STEP, "contract_id"]).agg(
        pl.col("quantity").sum().alias("said"), pl.col("mark", "stale").first()
    )
    both = held.join(said.filter(pl.col("said") != 0), on=[*STEP, "contract_id"], how="full", coalesce=True)
    wrong = both.filter((pl.col("quantity").fill_null(0) - pl.col("said").fill_null(0)).abs() > 1e-9).height

    # value: mid of the quotes where quoted, the ledger's mark where stale
    held = held.join(said, on=[*STEP, "contract_id"], how="left").join(mid, on=["snapshot", "contract_id"], how="left")
    quoted = (pl.col("quote_bid") + pl.col("quote_ask")) / 2
    fresh = held.filter(~pl.col("stale"))
    two_sided = pl.col("stale") & (pl.col("quote_ask") > pl.col("quote_bid"))
    held = held.with_columns(own_mark=pl.when("stale").then("mark").otherwise(quoted))
    value = held.group_by(STEP).agg(
        options=(pl.col("quantity") * pl.col("multiplier") * pl.col("own_mark")).sum(),
        unmarked=pl.col("own_mark").is_null().sum(),
    )
    books = books.join(value, on=STEP, how="left").with_columns(pl.col("options").fill_null(0.0)).sort(STEP)
    books = books.with_columns(own_equity=pl.col("cash") + pl.col("own_shares") * pl.col("spot") + pl.col("options"))

    # fills: bid and ask must be the quotes', and a fill at touch pays the far side
    trades = fills.filter((pl.col("kind") == "option") & (pl.col("reason") != "expiry"))
    trades = trades.join(mid, on=["snapshot", "contract_id"], how="left")
    as_quoted = ((pl.col("bid") - pl.col("quote_bid")).abs() < 1e-9) & (
        (pl.col("ask") - pl.col("quote_ask")).abs() < 1e-9
    )
    touch = pl.when(pl.col("quantity") > 0).then("quote_ask").otherwise("quote_bid")
    at_touch = (pl.col("fill_rule") != "touch") | ((pl.col("price") - touch).abs() < 1e-9)
    differences = {
        "cash": largest(books, "cash", "cash_usd"),
        "shares": largest(books, "own_shares", "shares"),
        "options": largest(books, "options", "options_mark_usd"),
        "equity": largest(books, "own_equity", "equity_usd"),
    }
    counts = {
        "positions that differ from fills": wrong,
        "marks that are not the quotes' mid": fresh.filter((quoted - pl.col("mark")).abs() > 1e-9).height,
        "stale positions that are quoted": held.filter(two_sided).height,
        "quoted positions without a quote": int(books["unmarked"].sum() or 0),
        "fills whose bid or ask is not the quotes'": trades.filter(~as_quoted.fill_null(False)).height,
        "touch fills not at touch": trades.filter(~at_touch.fill_null(False)).height,
        TAKEN_AS_GIVEN: held.filter(pl.col("stale")).height,
    }
    return differences, counts


def main(arguments: list[str] | None = None) -> int:
    """The program: recompute one backtest's books and say what was found; 0 when they are right to the cent."""
    parser = argparse.ArgumentParser(description="Recompute a backtest's equity from fills and quotes.")
    parser.add_argument("folder", type=Path, help="data/backtests/<id>")
    parser.add_argument("--quotes", type=Path, help="quotes.parquet, where it is not where the manifest says")
    parser.add_argument("--skip-hashes", action="store_true", help="compare the numbers even if a file was altered")
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        quotes = options.quotes or quotes_path(folder, manifest)
        altered = _altered(folder, manifest, quotes)
        equity, fills, positions = (pl.read_parquet(folder / f"{name}.parquet") for name in LEDGERS)
        differences, counts = recompute(equity, fills, positions, quotes_of(pl.scan_parquet(quotes), fills, positions))
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
        pl.exceptions.PolarsError,
    ) as e:
        print(
            f"cannot recompute {folder}: {type(e).__name__}: {e}. Expected a backtest's folder with its manifest and "
            "ledgers, and its quotes. Name another folder, or pass --quotes where the quotes lie elsewhere.",
            file=sys.stderr,
        )
        return 1
    print(f"{facts_of(manifest).get('name', '?')}: {equity.height} rows of equity, {fills.height} fills")
    for name, difference in differences.items():
        print(f"  largest difference in {name}: {difference:.9f}")
    for name, count in counts.items():
        print(f"  {name}: {count}")
    for path in altered:
        print(f"  altered since it was written (sha256 differs from the manifest's): {path}")
    passed = not faults(differences, counts) and (not altered or options.skip_hashes)
    print("to the cent" if passed else "NOT to the cent: the ledgers do not follow from fills and quotes")
    return 0 if passed else 1


def _altered(folder: Path, manifest: Mapping[str, Any], quotes: Path) -> list[Path]:
    """Files that have not the hash of the manifest; each ledger that is read must have one."""
    if unnamed := [name for name in LEDGERS if f"{name}.parquet" not in manifest["files"]]:
        raise ValueError(f"the manifest names no hash of {', '.join(unnamed)}")
    expected = {folder / name: digest for name, digest in manifest["files"].items()}
    if digest := facts_of(manifest)["quotes"]["sha256"]:
        expected[quotes] = digest
    return [path for path, digest in expected.items() if _sha256(path) != digest]


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
