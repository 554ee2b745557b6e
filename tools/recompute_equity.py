"""Recompute a backtest's cash, positions and equity from its fills and the quotes: the account's books, audited.

    python tools/recompute_equity.py data/backtests/<id> [--quotes quotes.parquet] [--skip-hashes]

Shares nothing with the code that wrote the ledgers: Polars and the Parquet files alone. Taken from `equity`: spot,
interest, dividends and borrow cost, the first row's cash. Recomputed: every position from fills, every mark of a quoted
position as the mid of its row in `quotes`, cash, options' value, equity. Exit status 1 when anything is over a cent
apart, a position differs, or a fill's bid and ask are not the quotes'.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import polars as pl

CENT = 0.01
STEP = ["episode", "step"]


def sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def largest(frame: pl.DataFrame, left: str, right: str) -> float:
    """The largest |left - right|; a missing number on either side is an infinite difference."""
    difference = (pl.col(left) - pl.col(right)).abs().fill_nan(None).fill_null(float("inf"))
    return float(frame.select(difference.max().fill_null(0.0)).item())


def recompute(
    equity: pl.DataFrame, fills: pl.DataFrame, positions: pl.DataFrame, quotes: pl.DataFrame
) -> tuple[dict[str, float], dict[str, int]]:
    """Differences in currency, and counts of what does not fit (all must be zero but `stale marks taken as given`)."""
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
    same = ((pl.col("bid") - pl.col("quote_bid")).abs() < 1e-9) & ((pl.col("ask") - pl.col("quote_ask")).abs() < 1e-9)
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
        "fills whose bid or ask is not the quotes'": trades.filter(~same.fill_null(False)).height,
        "touch fills not at touch": trades.filter(~at_touch.fill_null(False)).height,
        "stale marks taken as given": held.filter(pl.col("stale")).height,
    }
    return differences, counts


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Recompute a backtest's equity from fills and quotes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quotes", type=Path, help="quotes.parquet, where it has moved since")
    parser.add_argument("--skip-hashes", action="store_true", help="compare the numbers even if a file was altered")
    options = parser.parse_args(arguments)
    try:
        manifest = json.loads((options.folder / "manifest.json").read_text())
        quotes_path = options.quotes or Path(manifest["quotes"]["path"])
        expected = {options.folder / name: digest for name, digest in manifest["files"].items()}
        altered = [str(path) for path, digest in expected.items() if sha256(path) != digest]
        if (digest := manifest["quotes"]["sha256"]) and sha256(quotes_path) != digest:
            altered.append(str(quotes_path))
        tables = [pl.read_parquet(options.folder / f"{name}.parquet") for name in ("equity", "fills", "positions")]
        ids = pl.concat([tables[1]["contract_id"], tables[2]["contract_id"]]).drop_nulls().unique().implode()
        wanted = pl.scan_parquet(quotes_path).select("snapshot", "contract_id", "bid", "ask")
        differences, counts = recompute(*tables, wanted.filter(pl.col("contract_id").is_in(ids)).collect())
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        print(
            f"cannot recompute {options.folder}: {error}. Expected a backtest's folder and its quotes.", file=sys.stderr
        )
        return 1
    print(f"{manifest.get('name', '?')}: {tables[0].height} rows of equity, {tables[1].height} fills")
    for name, difference in differences.items():
        print(f"  largest difference in {name}: {difference:.9f}")
    for name, count in counts.items():
        print(f"  {name}: {count}")
    for path in altered:
        print(f"  altered since it was written (sha256 differs from the manifest's): {path}")
    faults = sum(count for name, count in counts.items() if name != "stale marks taken as given")
    passed = max(differences.values()) <= CENT and not faults and (not altered or options.skip_hashes)
    print("to the cent" if passed else "NOT to the cent: the ledgers do not follow from fills and quotes")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
