"""Canonical tables whose future is another one: the same up to a moment, and something else after it."""

import numpy as np

from clstm_core.audit.reference.terms import Tables

TABLE_FUTURES = ("ends", "crash", "shuffled")


def with_other_future(tables: Tables, cut_ns: int, kind: str, seed: int) -> Tables:
    """The same tables up to the cut; after it none, prices of a tenth, or each row's prices taken from another."""
    quotes, underlyings, rates = ({name: column.copy() for name, column in table.items()} for table in tables)
    cut_date = np.datetime64(cut_ns, "ns").astype("datetime64[D]")
    after = (quotes["snapshot"] > cut_ns, underlyings["snapshot"] > cut_ns, rates["date"] > cut_date)
    if kind == "ends":
        kept = [
            {name: column[~late] for name, column in table.items()}
            for table, late in zip((quotes, underlyings, rates), after, strict=True)
        ]
        return kept[0], kept[1], kept[2]
    rng = np.random.default_rng(seed)
    for table, late, prices in (
        (quotes, after[0], (("bid", "ask"),)),
        (underlyings, after[1], (("open", "high", "low", "close"),)),
        (rates, after[2], (("rate",), ("dividend_yield",))),
    ):
        order = rng.permutation(np.flatnonzero(late))
        for group in prices:
            for name in group:
                table[name][late] = 0.1 * table[name][late] if kind == "crash" else table[name][order]
    return quotes, underlyings, rates
