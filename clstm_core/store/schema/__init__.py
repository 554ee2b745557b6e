"""The tables of the metrics store, once: the DuckDB schema, its migrations and `docs/metrics.md` are derived from here.

A new column or table carries `since` = the next SCHEMA_VERSION; stores made before are migrated when next written.
Nothing is ever renamed or dropped, so an old store plus its migrations equals a fresh one.
"""

from clstm_core.store.schema.column import TYPES, Column, Table
from clstm_core.store.schema.evidence import BACKTESTS, COMPARISONS, CONVENTION_SWEEPS, TILT_AND_TIMING, TRIALS
from clstm_core.store.schema.feedback import CHALLENGERS, PROMOTION_RULES, PROMOTIONS
from clstm_core.store.schema.runs import CHECKPOINTS, EXPORTS, GATE_RESULTS, REPORTS, RUNS, TRAINING_METRICS
from clstm_core.store.schema.shadow import SHADOW_ACCOUNTS, SHADOW_DRIFT, SHADOW_RECONCILIATIONS, SHADOW_SESSIONS
from clstm_core.store.schema.sweeps import SWEEP_TRIALS, SWEEPS
from clstm_core.store.schema.walk_forward import WALK_FORWARDS
from clstm_core.store.schema.worlds import CONTROLS, GENERALISATION

__all__ = [
    "BACKTESTS",
    "CHALLENGERS",
    "CHECKPOINTS",
    "COMPARISONS",
    "CONTROLS",
    "CONVENTION_SWEEPS",
    "EXPORTS",
    "GATE_RESULTS",
    "GENERALISATION",
    "PROMOTIONS",
    "PROMOTION_RULES",
    "REPORTS",
    "RUNS",
    "SCHEMA_VERSION",
    "SHADOW_ACCOUNTS",
    "SHADOW_DRIFT",
    "SHADOW_RECONCILIATIONS",
    "SHADOW_SESSIONS",
    "SWEEPS",
    "SWEEP_TRIALS",
    "TABLES",
    "TILT_AND_TIMING",
    "TRAINING_METRICS",
    "TRIALS",
    "TYPES",
    "WALK_FORWARDS",
    "Column",
    "Table",
    "migrations",
]

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        RUNS,
        TRAINING_METRICS,
        CHECKPOINTS,
        GENERALISATION,
        GATE_RESULTS,
        BACKTESTS,
        COMPARISONS,
        CONVENTION_SWEEPS,
        TILT_AND_TIMING,
        EXPORTS,
        TRIALS,
        REPORTS,
        CONTROLS,
        SHADOW_ACCOUNTS,
        SHADOW_SESSIONS,
        SHADOW_DRIFT,
        SHADOW_RECONCILIATIONS,
        SWEEPS,
        SWEEP_TRIALS,
        CHALLENGERS,
        PROMOTIONS,
        PROMOTION_RULES,
        WALK_FORWARDS,
    )
}


SCHEMA_VERSION = max(max(table.since, *(column.since for column in table.columns)) for table in TABLES.values())


def _definition(table: Table, column: Column, *, adding: bool = False) -> str:
    parts = [f'"{column.name}"', column.type]
    if column.default is not None:
        parts.append(f"DEFAULT '{column.default}'")
    if column.name in table.key and not adding:
        parts.append("NOT NULL")
    return " ".join(parts)


def migrations(tables: dict[str, Table], *, after: int, upto: int) -> list[str]:
    """DDL that brings a store of version `after` (0: an empty file) to version `upto`, in order."""
    statements = []
    for version in range(after + 1, upto + 1):
        for table in tables.values():
            if table.since == version:
                first = [column for column in table.columns if column.since <= version]
                body = ", ".join(_definition(table, column) for column in first)
                key = ", ".join(f'"{name}"' for name in table.key)
                statements.append(f'CREATE TABLE "{table.name}" ({body}, PRIMARY KEY ({key}))')
            elif table.since < version:
                statements += [
                    f'ALTER TABLE "{table.name}" ADD COLUMN {_definition(table, column, adding=True)}'
                    for column in table.columns
                    if column.since == version
                ]
    return statements
