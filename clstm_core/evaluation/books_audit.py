"""Every account of some backtests recomputed from the canonical tables, and every summary from the ledgers."""

from collections.abc import Sequence

import polars as pl

from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.places import Places
from clstm_core.errors import EvaluationError
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.recompute import LEDGERS, faults, recompute, tables_altered
from clstm_core.evaluation.recomputed.market import Market, read_market
from clstm_core.evaluation.summary import summarise

TABLES = (*LEDGERS, "decisions")


def audit_books(results: Sequence[Backtest], places: Places) -> tuple[list[str], float]:
    """What does not follow, in words, and the largest difference found.

    Units:  the account's currency
    Raises: EvaluationError when the canonical tables that were traded on are missing or altered
    """
    wrong, worst = [], 0.0
    by_quotes: dict[tuple[str, str], list[Backtest]] = {}
    for result in results:
        quotes = result.manifest["quotes"]
        by_quotes.setdefault((quotes["path"], quotes["sha256"]), []).append(result)
    for (path, sha256), members in by_quotes.items():
        market = _market(members, places, path, sha256)
        for result in members:
            tables = {name: result.table(name) for name in TABLES}
            own = market.of(tables["fills"], tables["positions"])
            differences, counts = recompute(tables, own, result.manifest)
            worst = max(worst, *differences.values())
            if found := faults(differences, counts):
                wrong.append(f"{result.name} ({result.id}): {max(differences.values()):.2f} USD apart, {found}")
            capital = result.manifest["env"]["capital_usd"]
            if json_sha256(summarise(tables, capital=capital)) != json_sha256(result.manifest["summary"]):
                wrong.append(f"{result.name} ({result.id}): its summary does not follow from its ledgers")
    return wrong, worst


def _market(members: Sequence[Backtest], places: Places, path: str, sha256: str) -> Market:
    """The tables that these backtests traded on, verified, with the quotes of all their contracts."""
    quotes = places.root / path
    altered = tables_altered(quotes, sha256) if quotes.is_file() else [quotes]
    if altered:
        raise EvaluationError(
            f"canonical tables that backtests were traded on are missing or altered: {altered[0]}, expected the one "
            f"beside quotes of sha256 {str(sha256)[:12]}. Materialize market_quotes and market_tensors again."
        )
    names = ("contract_id",)
    fills, positions = (
        pl.concat([member.table(table).select(names) for member in members]).unique() for table in LEDGERS[1:]
    )
    return read_market(quotes.parent, fills, positions, quotes)
