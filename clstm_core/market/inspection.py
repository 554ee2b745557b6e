"""What a data folder or table holds, before anything is trained on it: what was understood, and what is wrong where."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl

from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.calendars import session_date
from clstm_core.market.file_source import FileSource
from clstm_core.market.source import SourceTables
from clstm_core.market.sources import default_config, open_source
from clstm_core.market.tables.quality import blocking
from clstm_core.market.tables.quality import inspect as judge
from clstm_core.plural import counted

MIN_SESSIONS = 2  # with one there is no step to trade over


@dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """What a source understood of its files.

    usable: whether a market can be made of it; answer: that in one sentence; facts: what was understood, by name;
    reasons: rows in quarantine by reason; problems: one sentence per fault, the worst first, with file, row and cell.
    """

    usable: bool
    answer: str
    facts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report as text, the answer first."""
        out = [self.answer]
        width = max(map(len, self.facts), default=0)
        out += [f"  {name:<{width}}  {value}" for name, value in self.facts.items()]
        if self.reasons:
            out += ["Rows in quarantine:", *(f"  {count:>9,}  {reason}" for reason, count in self.reasons.items())]
        if self.problems:
            out += ["What was found:", *(f"  {problem}" for problem in self.problems)]
        return out


def inspect_data(path: str | Path, source: str = "table") -> DataReport:
    """Read `path` as `source` would and say what came out; what cannot be read is in the report, not raised."""
    try:
        config = default_config(source, data_dir=str(path))
        opened = open_source(config)
        if not isinstance(opened, FileSource):
            raise ConfigError(
                f"source {source} reads no files: expected one that does, e.g. table. Pass it as --source."
            )
        files = opened.raw_files()
        read = opened.parse_all(files)
        tables = judge(read)
    except (ConfigError, MarketDataError) as error:
        return DataReport(usable=False, answer=f"Not usable: {error}")
    sessions = _sessions(tables)
    stopped = blocking(tables.findings)
    facts = _facts(tables, read, len(files), sessions) | {
        "tenors": f"near {config.near_days:g} and far {config.far_days:g} days to expiry",
        "label": f"{opened.label}, spread {opened.spread}",
    }
    counts = tables.quarantine.group_by("reason").len().sort("len", "reason", descending=[True, False])
    reasons = dict(counts.iter_rows())
    if stopped:
        usable, answer = False, f"Not usable: {stopped[0]}"
    elif len(sessions) < MIN_SESSIONS:
        answer = (
            f"Not usable: found {counted(len(sessions), 'session')}, expected at least {MIN_SESSIONS}. Add sessions."
        )
        usable = False
    else:
        usable, answer = True, f"Usable: {facts['quotes']} quotes on {counted(len(sessions), 'session')}."
    return DataReport(usable=usable, answer=answer, facts=facts, reasons=reasons, problems=_problems(tables.findings))


def _sessions(tables: SourceTables) -> list[date]:
    return tables.quotes.select(session_date(pl.col("snapshot").unique())).to_series().sort().to_list()


def _facts(tables: SourceTables, read: SourceTables, files: int, sessions: list[date]) -> dict[str, str]:
    quotes = tables.quotes
    expiries = quotes.select(session_date(pl.col("expiration")).unique()).to_series().sort()
    days = (pl.col("expiration") - pl.col("snapshot")).dt.total_hours() / 24
    nearest, farthest = quotes.select(days.min().alias("low"), days.max().alias("high")).row(0)
    optional = [name for name in quotes.columns if name not in ("snapshot", "contract_id", "expiration")]
    spot = read.findings.filter(pl.col("check") == "spot_source")["detail"]
    price = tables.underlyings.filter(pl.col("snapshot").is_in(quotes["snapshot"].unique().implode()))["close"]
    source = spot[0] if spot.len() else "closes of the index file, parity of each session"
    first = quotes.row(0, named=True)
    terms = f"{first['exercise']}, {first['settlement']}"
    horizon = f"{nearest:.0f} to {farthest:.0f} days out"
    return {
        "files": f"{files:,}",
        "rows read": f"{read.quotes.height + read.quarantine.height:,}",
        "quotes": f"{quotes.height:,}",
        "quarantined": f"{tables.quarantine.height:,}",
        "sessions": f"{len(sessions):,}, {sessions[0]} to {sessions[-1]}",
        "expiries": f"{expiries.len():,}, {expiries.min()!s} to {expiries.max()!s} ({horizon})",
        "contracts": f"{quotes['contract_id'].n_unique():,}, strikes {_span(quotes['strike'])}",
        "underlying": f"{first['underlying']}, in {first['currency']}, {first['multiplier']:g} per contract, {terms}",
        "spot": f"{_span(price)}; {source}",
        "columns": ", ".join(optional),
    }


def _span(values: pl.Series) -> str:
    low, high = values.min(), values.max()
    return f"{low:,.2f} to {high:,.2f}" if isinstance(low, float) and isinstance(high, float) else "unknown"


def _problems(findings: pl.DataFrame) -> list[str]:
    """Sentences of errors, then warnings, then what was only noted of the source."""
    rank = {"error": 0, "warning": 1}
    rows = [row for row in findings.to_dicts() if row["severity"] in rank and row["count"]]
    rows.sort(key=lambda row: rank[row["severity"]])
    return [f"{row['severity']}: {row['check']} {row['count']:,}: {row['detail']}" for row in rows]
