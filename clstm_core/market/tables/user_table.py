"""A user's table of quotes: the names of its columns, its rows as stated, and as canonical quotes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from clstm_core.errors import MarketDataError
from clstm_core.market.calendars import local_instant, session_close, settlement_minutes
from clstm_core.market.clock import NEW_YORK
from clstm_core.market.tables.accounting import first_reason, row_facts
from clstm_core.market.tables.canonical import settlement_days
from clstm_core.market.tables.cells import dates, instants, numbers, rights
from clstm_core.market.tables.parquet_check import MAX_ROWS, require_harmless
from clstm_core.market.tables.reading import TextTable, normalised, read_table, stripped
from clstm_core.market.tables.schema import QUOTES, QUOTES_OPTIONAL
from clstm_core.market.tables.symbols import contract_id, parse_symbols, same_expiry

ALIASES: dict[str, tuple[str, ...]] = {
    # our name: the names that mean it
    "date": ("date", "session", "session_date", "quote_date", "trade_date", "tradedate", "snapshot"),
    "expiration": (
        "expiration",
        "expiry",
        "expiration_date",
        "expire_date",
        "expirdate",
        "exdate",
        "option_expiration",
    ),
    "strike": ("strike", "strike_price"),
    "right": ("right", "option_type", "type", "call_put", "put_call", "cp", "cp_flag"),
    "bid": ("bid", "bid_price", "best_bid"),
    "ask": ("ask", "ask_price", "best_offer", "offer"),
    "underlying": ("underlying", "underlying_symbol", "act_symbol", "ticker"),
    "contract_id": ("contract_id", "contract_symbol", "contractsymbol", "option_symbol", "contractid", "occ_symbol"),
    "root": ("root",),
    "multiplier": ("multiplier", "contract_size"),
    "exercise": ("exercise", "exercise_style", "style"),
    "settlement": ("settlement",),
    "settles": ("settles",),
    "currency": ("currency",),
    "label": ("label",),
    "spot": ("spot", "underlying_price", "underlying_last", "stock_price", "stock_price_close", "underlying_close"),
    "rate": ("rate", "interest_rate"),
    "dividend_yield": ("dividend_yield", "dividend_rate", "dividend"),
    "bid_size": ("bid_size",),
    "ask_size": ("ask_size",),
    "last": ("last", "last_price", "lastprice", "last_trade_price"),
    "volume": ("volume",),
    "open_interest": ("open_interest", "openinterest"),
    "implied_vol": ("implied_vol", "implied_volatility", "impliedvolatility", "iv"),
    "delta": ("delta",),
}
REQUIRED = ("date", "expiration", "strike", "right", "bid", "ask")
TERMS = ("underlying", "multiplier", "exercise", "settlement", "settles", "currency")
ASSUMED = {"multiplier": "100", "exercise": "european", "settlement": "cash", "settles": "close", "currency": "USD"}
NUMBERS = (
    *("strike", "bid", "ask", "multiplier", "spot", "rate", "dividend_yield"),
    *("bid_size", "ask_size", "last", "volume", "open_interest", "implied_vol", "delta"),
)
FRACTIONS = ("rate", "dividend_yield", "implied_vol")
KINDS = (".csv", ".txt", ".tsv", ".parquet")
PARQUET_MARK = b"PAR1"
HALF_TICK = 0.0005
LONGEST_ID = 32  # bytes that the tensors keep of a contract_id; a longer one is replaced by ours
EXERCISES = {"EUROPEAN": "european", "E": "european", "AMERICAN": "american", "A": "american"}
SETTLEMENTS = {"CASH": "cash", "C": "cash", "PHYSICAL": "physical", "P": "physical"}
SETTLES = {"OPEN": True, "AM": True, "CLOSE": False, "PM": False}
REASON_CELLS = {
    "no_session": "date",
    "unknown_right": "right",
    "no_expiry": "expiration",
    "missing_price": "odd",
    "unknown_terms": "terms",
    "american_exercise": "exercise",
    "physical_settlement": "settlement",
    "symbol_mismatch": "contract_id",
}


def parse_table(path: Path, stated_for_all: Mapping[str, str]) -> pl.DataFrame:
    """Rows of a file with session, expiry, at_open, strike, right, bid, ask, terms as stated, spot, rates, ROW_FACTS.

    `stated_for_all` are the terms and the label that hold of every row which has none of its own.
    """
    table = read_file(path, [*REQUIRED, *(name for names in ALIASES.values() for name in names)], keep_torn=True)
    text = _renamed(table, REQUIRED)
    for name in ALIASES:
        if name not in text.columns:
            stated = stated_for_all.get(name)
            text = text.with_columns(pl.lit(stated, dtype=pl.String).alias(name))
        elif name in stated_for_all:
            text = text.with_columns(pl.col(name).fill_null(stated_for_all[name]))
    # Some vendors call a price `settlement`: a number says nothing of how the contract settles.
    price = pl.col("settlement").cast(pl.Float64, strict=False).is_not_null()
    text = text.with_columns(settlement=pl.when(~price).then("settlement"))
    own = {name: f"{name}_number" for name in NUMBERS}
    frame = numbers(text, own, fractions=FRACTIONS, decimal_comma=table.decimal_comma)
    symbol = parse_symbols(text["contract_id"])
    # One file writes all its dates alike: 8/7/2014 is read where an expiration tells that the month comes first.
    both = dates(pl.concat([text["date"], text["expiration"]]))
    rows = frame.with_columns(
        session=both.head(text.height),
        moment=text["date"].str.slice(10),
        expires=both.tail(text.height).alias("expires"),
        at_open=_at_open(text),
        side=rights(text["right"]),
        symbol=symbol.to_struct(),
        root=pl.coalesce("root", symbol["root"]),
        style=text["exercise"].str.to_uppercase().replace_strict(EXERCISES, default=None, return_dtype=pl.String),
        paid=text["settlement"].str.to_uppercase().replace_strict(SETTLEMENTS, default=None, return_dtype=pl.String),
        terms=pl.concat_str(
            (pl.concat_str(pl.lit(f"{name}="), name) for name in TERMS), separator=" ", ignore_nulls=True
        ),
    )
    reason = _reason()
    cell = pl.coalesce(pl.when(reason == name).then(column) for name, column in REASON_CELLS.items())
    given = [name for name in QUOTES_OPTIONAL if name in NUMBERS]
    return rows.select(
        "session",
        "moment",
        pl.col("expires").alias("expiry"),
        "at_open",
        "settles",
        pl.col("side").alias("right"),
        "root",
        "contract_id",
        "underlying",
        pl.col("style").alias("exercise"),
        pl.col("paid").alias("settlement"),
        "currency",
        "label",
        *[pl.col(own[name]).alias(name) for name in ("strike", "bid", "ask", "multiplier", "spot", "rate")],
        *[pl.col(own[name]).alias(name) for name in ("dividend_yield", *given)],
        *row_facts(path, table.note, reason, cell),
    )


def read_file(path: Path, wanted: Sequence[str], *, keep_torn: bool = False) -> TextTable:
    """A CSV or Parquet file as text; of Parquet the wanted columns alone, its rows numbered from 1."""
    try:
        with path.open("rb") as handle:
            if handle.read(len(PARQUET_MARK)) != PARQUET_MARK and path.suffix.lower() != ".parquet":
                return read_table(path, wanted, keep_torn=keep_torn)
        require_harmless(path)
        lazy = pl.scan_parquet(path)
        schema = lazy.collect_schema()
        height = lazy.select(pl.len()).collect().item()
        if height <= MAX_ROWS:
            kept = [name for name, kind in schema.items() if not kind.is_nested() and normalised(name) in wanted]
            frame = lazy.select(kept).collect()
            texts = [_as_text(column) for column in frame.iter_columns()]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        if isinstance(error, MarketDataError):
            raise
        raise MarketDataError(
            f"unreadable file {path.name}: {str(error).splitlines()[0]}. Expected a whole Parquet file; write it again."
        ) from error
    if not 0 < height <= MAX_ROWS:
        raise MarketDataError(
            f"{height:,} rows in {path.name}: expected 1 to {MAX_ROWS:,}. Write quotes into it, or split it by year."
        )
    names = [column.name for column in texts]
    if twice := {name for name in names if names.count(name) > 1}:
        raise MarketDataError(f"column {', '.join(sorted(twice))} stands twice in {path.name}: rename one of them.")
    empty = pl.Series([None] * height, dtype=pl.String)
    own = [empty.alias("reason"), empty.alias("cell"), pl.int_range(1, height + 1, dtype=pl.Int64, eager=True)]
    table = pl.DataFrame([*texts, *own[:2], own[2].alias("row")])
    header = [normalised(name) for name in schema]
    return TextTable(name=path.name, header=header, frame=stripped(table, names), note="", decimal_comma=False)


def _as_text(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone(NEW_YORK.zone).dt.replace_time_zone(None)
    return column.cast(pl.String).alias(normalised(column.name))


def _renamed(table: TextTable, required: Sequence[str]) -> pl.DataFrame:
    """The text under our names: our own where it is there, else the one alias that is."""
    found: dict[str, str] = {}
    for ours, names in ALIASES.items():
        present = [name for name in names if name in table.frame.columns]
        if ours not in present and len(present) > 1:
            raise MarketDataError(
                f"columns {', '.join(present)} of {table.name} all mean {ours}: expected one. Rename the right one "
                f"{ours}."
            )
        if present:
            found[ours if ours in present else present[0]] = ours
    missing = [name for name in required if name not in found.values()]
    if missing:
        raise MarketDataError(
            f"missing column {', '.join(missing)} in {table.name}: found {', '.join(table.header[:30])}. Expected at "
            f"least {', '.join(required)}; rename or add it (docs/data.md lists the names that are understood)."
        )
    return table.frame.select(*[pl.col(name).alias(ours) for name, ours in found.items()], "row", "reason", "cell")


def _at_open(text: pl.DataFrame) -> pl.Expr:
    """Whether each row settles at the open: as `settles` says, else by the clock of `expiration`; null: unreadable."""
    said = text["settles"].str.to_uppercase().replace_strict(SETTLES, default=None, return_dtype=pl.Boolean)
    zoned = text["expiration"].str.contains(r"(Z|UTC|[+-]\d{2}:?\d{2})$")
    local = text["expiration"].str.extract(r"[T ](\d{2}):").cast(pl.Int64, strict=False)
    utc = instants(text["expiration"]).dt.convert_time_zone(NEW_YORK.zone).dt.hour().cast(pl.Int64)
    hour = pl.when(zoned & utc.is_not_null()).then(utc).otherwise(local)
    morning = hour.is_between(1, 11).fill_null(False)
    return pl.when(text["settles"].is_not_null()).then(said).otherwise(morning)


def _reason() -> pl.Expr:
    symbol = pl.col("symbol").struct
    differs = (
        ~same_expiry(symbol.field("expiry"), pl.col("expires"))
        | (symbol.field("right") != pl.col("side"))
        | ((symbol.field("strike") - pl.col("strike_number")).abs() > HALF_TICK)
    ).fill_null(False)
    unread = (pl.col("multiplier").is_not_null() & ~(pl.col("multiplier_number") > 0).fill_null(False)) | (
        (pl.col("exercise").is_not_null() & pl.col("style").is_null())
        | (pl.col("settlement").is_not_null() & pl.col("paid").is_null())
        | pl.col("at_open").is_null()
    )
    return first_reason(
        {
            "no_session": pl.col("session").is_null(),
            "unknown_right": pl.col("side").is_null(),
            "no_expiry": pl.col("expires").is_null(),
            "missing_price": ~pl.all_horizontal(pl.col(f"{n}_number").is_not_null() for n in ("strike", "bid", "ask")),
            "unknown_terms": unread,
            "american_exercise": (pl.col("style") == "american").fill_null(False),
            "physical_settlement": (pl.col("paid") == "physical").fill_null(False),
            "symbol_mismatch": differs,
        }
    )


def completed(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with every term stated or assumed, and a contract_id."""
    names = rows["underlying"].drop_nulls()
    roots = sorted(rows["root"].drop_nulls().unique().to_list(), key=lambda root: (len(root), root))
    name = names[0] if names.len() else next(iter(roots), "UNDERLYING")
    terms = rows.with_columns(
        pl.col("underlying").fill_null(name),
        pl.col("multiplier").fill_null(float(ASSUMED["multiplier"])),
        *[pl.col(term).fill_null(ASSUMED[term]) for term in ("exercise", "settlement", "currency")],
        pl.col("at_open").fill_null(False),
    )
    bare = pl.col("underlying").str.replace_all(r"[^A-Za-z0-9]", "").str.slice(0, 6)
    rooted = terms.with_columns(root=pl.coalesce("root", bare))
    both = rooted["at_open"].n_unique() > 1
    # Contracts that settle at the open and at the close of one day are two; without roots their ids would be one.
    morning = pl.when(pl.col("at_open") & pl.lit(both)).then(pl.lit("AM")).otherwise(pl.lit(""))
    ours = pl.concat_str(contract_id(), morning)
    short = pl.col("contract_id").str.len_bytes() <= LONGEST_ID
    return rooted.with_columns(contract_id=pl.when(short).then("contract_id").otherwise(ours))


def mark_ambiguous(rows: pl.DataFrame) -> pl.DataFrame:
    """Completed rows with a reason where one contract_id names several contracts."""
    several = pl.struct("expiry", "at_open", "strike", "right", "multiplier").n_unique().over("contract_id") > 1
    return rows.with_columns(
        reason=pl.when(several).then(pl.lit("ambiguous_contract_id")).otherwise("reason"),
        cell=pl.when(several).then("contract_id").otherwise("cell"),
    )


def canonical(rows: pl.DataFrame, *, also: Sequence[str] = ()) -> pl.DataFrame:
    """Canonical quotes of completed rows."""
    days = settlement_days(rows["expiry"])
    settlement, closes = pl.lit(days), pl.lit(settlement_minutes(days))
    minutes = pl.when(pl.col("at_open")).then(NEW_YORK.open_minutes).otherwise(closes)
    optional = [name for name in QUOTES_OPTIONAL if name in rows.columns and rows[name].is_not_null().any()]
    kept = optional if not also else [name for name in QUOTES_OPTIONAL if name in rows.columns]
    others = [(name, rows.schema[name]) for name in also]
    return (
        rows.with_columns(
            snapshot=session_close(pl.col("session")), expiration=local_instant(settlement, minutes, NEW_YORK.zone)
        )
        .select(*QUOTES, *kept, *also)
        .cast(pl.Schema([*QUOTES.items(), *((name, QUOTES_OPTIONAL[name]) for name in kept), *others]))
        .sort("snapshot", "expiration", "root", "strike", "right", maintain_order=True)
    )
