"""The tables that a market was built from, as they are kept: what the reference reads instead of the tensors."""

from pathlib import Path

import numpy as np

from clstm_core.audit.reference.terms import Tables
from clstm_core.errors import AuditError
from clstm_core.market.tensors import MarketTensors

QUOTES_DIR = "quotes_dir"
"""Fact of a market that is about to be audited: the folder of its tables on this machine. Written nowhere."""

_COLUMNS = ("snapshot", "contract_id", "root", "expiration", "strike", "right", "bid", "ask", "multiplier")


def kept_tables(market: MarketTensors, part: MarketTensors) -> Tables | None:
    """Every quote of the contracts in `part`, the first one of every other contract of `market`, and all else.

    Returns: None where the market does not say where its tables are: it was never kept
    Raises:  AuditError where they are not those that it was built from; MarketDataError where they are not whole
    """
    folder = market.info.get(QUOTES_DIR)
    if folder is None:
        return None
    import polars as pl

    from clstm_core.artifacts.manifest import FILE
    from clstm_core.artifacts.manifests import QuotesManifest
    from clstm_core.market.cache import to_columns

    place = Path(folder)
    manifest = QuotesManifest.read(place / FILE)
    found, expected = manifest.files["quotes.parquet"], market.info.get("quotes_sha256")
    if found != expected:
        raise AuditError(
            f"the tables at {place} are not those that the market was built from: quotes.parquet is {found[:12]}, "
            f"expected {str(expected)[:12]}. Materialize market_tensors again."
        )
    ids = pl.Series("contract_id", [part.contract_id(k) for k in range(len(part.strike_K))], dtype=pl.String)
    quotes = pl.read_parquet(place / "quotes.parquet", columns=list(_COLUMNS))
    wanted = quotes.filter(pl.col("contract_id").is_in(ids.implode()) | pl.col("contract_id").is_first_distinct())
    columns = to_columns(wanted)
    for name in ("contract_id", "root", "right"):
        columns[name] = np.asarray(columns[name], dtype=object)
    underlyings, rates = (pl.read_parquet(place / f"{name}.parquet") for name in ("underlyings", "rates"))
    return columns, to_columns(underlyings), to_columns(rates)
