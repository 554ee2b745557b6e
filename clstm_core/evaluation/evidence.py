"""The evidence for a run's verdict, computed once and kept beside the run; a report draws it and computes nothing.

    runs/<run>/evidence/evidence.json      what was judged, its rows and words, and the hashes of the tables
    runs/<run>/evidence/curves.parquet     one row per account and date: curve, name, is_policy, date, equity_usd
    runs/<run>/evidence/training.parquet   one row per iteration
    runs/<run>/evidence/sessions.parquet   one row per date of the judged account (`judged.judged_account`)

Plain lists and dicts, so that any test can make one up and any page can draw it; Polars is loaded for the files alone.
"""

import json
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import file_sha256, whole_folder, write_json
from clstm_core.errors import EvaluationError

if typing.TYPE_CHECKING:
    import polars as pl

EVIDENCE_VERSION = 8
MANIFEST = "evidence.json"
TABLES = ("curves", "training", "sessions")
"""Fields that are Parquet files; all others stand in the JSON."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One account through the headline's window.

    Units: dates as ISO text, equity in USD at mid marks, None where unknown
    Raises: EvaluationError when there is no date, or not one equity per date
    """

    name: str
    dates: list[str]
    equity: list[float | None]
    is_policy: bool = False

    def __post_init__(self) -> None:
        if not self.dates or len(self.dates) != len(self.equity):
            raise EvaluationError(
                f"curve {self.name} has {len(self.dates)} dates and {len(self.equity)} equities: expected at least one "
                "date, and one equity per date. Take both from one ledger."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything that one report shows. Every list may be empty and every value None: its panel then says so.

    label:          "real quotes", "modelled quotes" or "simulated quotes"; shown in every figure
    spread:         "quoted" or "modelled"
    backtests:      one row per backtest of the headline's window, both fill lags: what it was, its figures
                    (`figures.FIGURES`), and whether its curve is drawn (`headline`)
    twin, stressed: the same rows of the accounts in the zero-premium twin and in the stressed world
    worlds:         one row per drawn policy and world (`worlds.across_worlds`); empty for quotes that no model made
    attribution:    one row per month: month, pnl_usd, cash_usd, excess_usd, delta_usd, gamma_usd, ..., residual_usd,
                    residual_share, large
    residual_share: how much of the movement attribution leaves unexplained
    actions:        action, count, share
    glossary:       name, kind (action or baseline), meaning
    sessions:       the judged account by date: excess over cash with its band, returns, exposures, Greeks; caps: its
                    risk budget, by column of those
    tear_sheet:     its figures, each with how it is worked out; years, months, drawdowns: what it earned and lost when
    trades:         its packages of options, one row each; trade_figures: by the action that opened them; worst_trades
    regimes:        what it earned by third of volatility (regimes_words says which); crises: in named crises
    calibration:    what the critic foresaw on it and what came, bin by bin
    ladder:         the comparison's paired differences
    statistics:     how sure one may be of the comparison (`sureness.Statistics`)
    overfitting:    one row per rung: milestone, in_sample_bps, held_out_bps, gap, gap_low, gap_high
    training:       the iterations' metrics, in order
    realism:        the outside judge's bands; realism_indices, realism_volatility: its figures by year
    critic:         what the champion's critic foresees, one row per window and span
    luck:           the champion's place among fair worlds, one row per baseline; luck_ratios: its own in each world
    generalisation: what each rung earns in each kind of market, one row per rung, kind and mode; its answer in words
    habits:         what the judged rung does on fresh worlds: an action per row, its share in calm, middle and wild
                    markets; habits_words says it in a sentence
    controls:       what the recipe finds in worlds whose edge is known, one row per world; controls_words says it
    rules:          the best fixed rules on fresh worlds; rules_words says how much of the best the judged rung earns
    sins:           what each convention that nobody may judge by would have bought, the clean walk first; delays: the
                    same orders filled at other dates; costs: what is earned beyond cash by the spread that is paid,
                    with break_evens; tilt, tilt_months: average Greeks held constant against varying them. None of
                    these is a result; .._words says each in a few sentences
    gates, exports: results of checks, files of the bundle; parity: one row per runtime; quality: findings in the data
    """

    run: str
    generated_at: str = ""
    label: str | None = None
    spread: str | None = None
    trained_on: str | None = None
    trained_label: str | None = None
    n_sessions: int | None = None
    first_date: str | None = None
    last_date: str | None = None
    policy_name: str = "policy"
    verdict: str | None = None
    verdict_points: list[str] = field(default_factory=list)
    provenance: list[tuple[str, str]] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    backtests: Rows = field(default_factory=list)
    twin: Rows = field(default_factory=list)
    stressed: Rows = field(default_factory=list)
    worlds: Rows = field(default_factory=list)
    attribution: Rows = field(default_factory=list)
    residual_share: float | None = None
    actions: Rows = field(default_factory=list)
    glossary: Rows = field(default_factory=list)
    sessions: Rows = field(default_factory=list)
    caps: dict[str, float] = field(default_factory=dict)
    tear_sheet: Rows = field(default_factory=list)
    years: Rows = field(default_factory=list)
    months: Rows = field(default_factory=list)
    drawdowns: Rows = field(default_factory=list)
    trades: Rows = field(default_factory=list)
    trade_figures: Rows = field(default_factory=list)
    worst_trades: Rows = field(default_factory=list)
    regimes: Rows = field(default_factory=list)
    regimes_words: str = ""
    crises: Rows = field(default_factory=list)
    calibration: Rows = field(default_factory=list)
    ladder: Rows = field(default_factory=list)
    overfitting: Rows = field(default_factory=list)
    overfitting_answer: str = ""
    trial_count: int | None = None
    statistics: dict[str, Any] = field(default_factory=dict)
    training: Rows = field(default_factory=list)
    gates: Rows = field(default_factory=list)
    quality: Rows = field(default_factory=list)
    realism_verdict: str | None = None
    realism: Rows = field(default_factory=list)
    realism_indices: Rows = field(default_factory=list)
    realism_volatility: Rows = field(default_factory=list)
    critic: Rows = field(default_factory=list)
    luck: Rows = field(default_factory=list)
    luck_ratios: list[float] = field(default_factory=list)
    generalisation: Rows = field(default_factory=list)
    generalisation_answer: str = ""
    habits: Rows = field(default_factory=list)
    habits_words: str = ""
    controls: Rows = field(default_factory=list)
    controls_words: str = ""
    rules: Rows = field(default_factory=list)
    rules_words: str = ""
    sins: Rows = field(default_factory=list)
    sins_words: str = ""
    delays: Rows = field(default_factory=list)
    delays_words: str = ""
    costs: Rows = field(default_factory=list)
    costs_words: str = ""
    break_evens: Rows = field(default_factory=list)
    tilt: Rows = field(default_factory=list)
    tilt_months: Rows = field(default_factory=list)
    tilt_words: str = ""
    exports: Rows = field(default_factory=list)
    parity: Rows = field(default_factory=list)

    @property
    def data_label(self) -> str:
        """For example `modelled quotes, modelled spread`."""
        label = self.label or "quotes of unknown origin"
        return f"{label}, {self.spread} spread" if self.spread else label


def save_evidence(evidence: Evidence, folder: Path) -> dict[str, str]:
    """Write the evidence as `folder`, whole, in place of what is there; the files and their sha256.

    Raises: EvaluationError when a column of a table mixes types or holds NaN
    """
    curves = [
        {"curve": number, "name": c.name, "is_policy": c.is_policy, "date": date, "equity_usd": equity}
        for number, c in enumerate(evidence.curves)
        for date, equity in zip(c.dates, c.equity, strict=True)
    ]
    with whole_folder(folder) as place:
        for name, rows in (("curves", curves), ("training", evidence.training), ("sessions", evidence.sessions)):
            frame = _frame(rows)
            if frame is None:
                raise EvaluationError(
                    f"cannot write {name} of the evidence for {evidence.run}: found a column that mixes types or "
                    "holds NaN. Expected one type per column, and None where a value is unknown."
                )
            frame.write_parquet(place / f"{name}.parquet", compression="zstd")
        tables = {f"{name}.parquet": file_sha256(place / f"{name}.parquet") for name in TABLES}
        plain = {name: getattr(evidence, name) for name in _hints() if name not in TABLES}
        write_json(place / MANIFEST, {"version": EVIDENCE_VERSION, "files": tables, **plain})
        written = {MANIFEST: file_sha256(place / MANIFEST), **tables}
    return written


def load_evidence(folder: Path) -> Evidence:
    """The evidence that `save_evidence` left in `folder`.

    Raises: EvaluationError when a file is missing, altered, or of another shape than this version writes
    """
    import polars as pl

    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("version") != EVIDENCE_VERSION:
            raise _unusable(folder, f"{MANIFEST} is not of version {EVIDENCE_VERSION}")
        files = content.get("files")
        if not isinstance(files, dict) or set(files) != {f"{name}.parquet" for name in TABLES}:
            raise _unusable(folder, f"{MANIFEST} does not name its tables {', '.join(TABLES)}")
        if altered := [name for name, digest in files.items() if file_sha256(folder / name) != digest]:
            raise _unusable(folder, f"{', '.join(altered)} differ from the sha256 that {MANIFEST} names")
        curves, training, sessions = (pl.read_parquet(folder / f"{name}.parquet") for name in TABLES)
        values = {name: value for name, value in content.items() if name not in ("version", "files")}
        values |= {"curves": list(_curves(curves.to_dicts())), "training": training.to_dicts()}
        values["sessions"] = sessions.to_dicts()
    except (OSError, ValueError, LookupError, TypeError, RecursionError, pl.exceptions.PolarsError) as error:
        if isinstance(error, EvaluationError):
            raise
        raise _unusable(folder, f"{type(error).__name__}: {error}") from error
    hints = _hints()
    if wrong := sorted(values.keys() ^ hints.keys()):
        raise _unusable(folder, f"{', '.join(wrong)} missing or unknown in {MANIFEST}")
    if isinstance(pairs := values["provenance"], list):
        values["provenance"] = [tuple(pair) if isinstance(pair, list) else pair for pair in pairs]
    if wrong := [name for name, hint in hints.items() if not _fits(values[name], hint)]:
        raise _unusable(folder, f"{', '.join(wrong)} in {MANIFEST} are not {', '.join(str(hints[n]) for n in wrong)}")
    return Evidence(**values)


def _frame(rows: Rows) -> "pl.DataFrame | None":
    """Rows as a table; None where it would give back other values: Polars makes one type of a column that mixes."""
    import polars as pl

    try:
        frame = pl.DataFrame(rows, infer_schema_length=None)
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        return None
    return frame if [dict.fromkeys(frame.columns) | row for row in rows] == frame.to_dicts() else None


def _unusable(folder: Path, what: str) -> EvaluationError:
    return EvaluationError(
        f"unusable evidence {folder}: {what}. Expected the files that a finished run has there. Make it again from the "
        "run's backtests."
    )


def _curves(rows: Iterable[dict[str, Any]]) -> Iterable[Curve]:
    accounts: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        accounts.setdefault(row["curve"], []).append(row)
    for points in accounts.values():
        yield Curve(
            name=points[0]["name"],
            dates=[point["date"] for point in points],
            equity=[point["equity_usd"] for point in points],
            is_policy=points[0]["is_policy"],
        )


def _hints() -> dict[str, Any]:
    """The type of each field of `Evidence`, by its name."""
    hints = typing.get_type_hints(Evidence)
    return {item.name: hints[item.name] for item in fields(Evidence)}


def _fits(value: Any, hint: Any) -> bool:
    """Whether plain content is of a field's type: str, numbers, None, and lists, dicts or tuples of them."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is types.UnionType:
        return any(_fits(value, choice) for choice in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(key, inner[0]) and _fits(v, inner[1]) for key, v in value.items())
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint) and not (isinstance(value, bool) and hint is int)
