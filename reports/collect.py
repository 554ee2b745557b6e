"""Gather a run's report from the metrics store, the backtests' Parquet ledgers and the run's files. Never torch."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from reports.data import Curve, ReportData, Rows

_log = logging.getLogger(__name__)
HEADLINE_LAG = 1
_WINDOWS = ("test", "validation", "in_sample")
_PROVENANCE = {
    "recipe": "recipe",
    "seed": "seed",
    "env_steps": "env steps",
    "data_sha256": "market tensors",
    "training_data_sha256": "training market",
    "quotes_sha256": "quotes file",
    "config_sha256": "configuration",
    "git_commit": "git commit",
    "champion_milestone": "checkpoint judged, % of the run",
}


class Store(Protocol):
    """The part of MetricsStore that is read here."""

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Rows of a query."""
        ...


def collect(run: str, store: Store, data_dir: Path) -> ReportData:
    """Everything there is about `run`; what is missing stays empty, and the report says so.

    Args:
        data_dir: the folder of runs/, backtests/ and bundles/
    """
    facts = _one(store.query("SELECT * FROM runs WHERE run = ?", [run]))
    backtests = _current(_backtests(run, facts, store), data_dir / "runs" / run)
    headline, judged = _headline(backtests, facts)
    folders = {row["backtest_id"]: _folder(row, data_dir) for row in backtests}
    mine = folders.get(judged.get("backtest_id"))
    window = {**judged, **{key: value for key, value in facts.items() if value is not None}}
    bundle = _json(data_dir / "bundles" / run / "manifest.json")
    comparison = _json(data_dir / "runs" / run / "comparison.json")
    overfitting = comparison.get("overfitting") or {}
    curves = [_curve(row, folders[row["backtest_id"]], row is judged) for row in headline]
    ladder = store.query("SELECT * FROM comparisons WHERE run = ? ORDER BY milestone, against, metric, mode", [run])
    return ReportData(
        run=run,
        generated_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        label=judged.get("label") or window.get("label"),
        spread=window.get("spread"),
        trained_on=facts.get("trained_on"),
        trained_label=facts.get("trained_label"),
        n_sessions=judged.get("n_snapshots") or facts.get("heldout_snapshots"),
        first_date=_day(judged.get("first_date")),
        last_date=_day(judged.get("last_date")),
        policy_name=judged.get("name") or "policy",
        verdict=facts.get("verdict") or comparison.get("verdict"),
        verdict_points=[str(note) for note in comparison.get("notes") or []],
        provenance=_provenance(window),
        curves=[curve for curve in curves if curve],
        backtests=[
            _costed(row, folders[row["backtest_id"]], row in headline) for row in _same_window(backtests, judged)
        ],
        attribution=_attribution(mine),
        actions=_actions(mine),
        ladder=ladder,
        overfitting=[_gap(row) for row in overfitting.get("rows") or []],
        overfitting_answer=str(overfitting.get("answer") or ""),
        trial_count=_trials(facts, judged, store) or comparison.get("trials"),
        training=store.query("SELECT * FROM training_metrics WHERE run = ? ORDER BY iteration", [run]),
        gates=_gates(run, facts, store),
        quality=_quality(facts, judged),
        exports=store.query("SELECT * FROM exports WHERE run = ? ORDER BY file", [run]),
        parity=_parity(bundle),
    )


def _one(rows: Rows) -> dict[str, Any]:
    return rows[0] if rows else {}


def _backtests(run: str, facts: dict[str, Any], store: Store) -> Rows:
    """The run's own, and baselines of the same market that belong to no run."""
    rows = store.query(
        "SELECT * FROM backtests WHERE run = ? OR (coalesce(run, '') = '' AND data_sha256 = ?) ORDER BY created_at",
        [run, facts.get("data_sha256") or ""],
    )
    for row in rows:
        row["name"] = row["name"] or "_".join(filter(None, (row["policy"], row["milestone"], row["mode"])))
    return rows


def _current(backtests: Rows, run_dir: Path) -> Rows:
    """Without those that an earlier training of the same run left, where the run says which ones count."""
    ids: set[str] = set()
    for name in ("policy_backtests", "baseline_backtests"):
        ids.update(_json(run_dir / f"{name}.json").get("ids") or [])
    return [row for row in backtests if row["backtest_id"] in ids] or backtests


def _headline(backtests: Rows, facts: dict[str, Any]) -> tuple[Rows, dict[str, Any]]:
    """The curves to draw and, among them, the judged policy's: one a name, held out, at the headline's fill."""
    for window in _WINDOWS:
        at = [row for row in backtests if row["window"] == window and row["fill_rule"] in (None, "touch")]
        rows = [row for row in at if row["fill_lag"] == HEADLINE_LAG] or at
        if rows:
            break
    else:
        rows = backtests
    newest = {row["name"]: row for row in rows}  # ordered by time: a later one of the same name replaces the former
    rungs = [row for row in newest.values() if row["milestone"]]
    if not rungs:
        return list(newest.values()), {}
    champion = facts.get("champion_milestone") or max(row["milestone"] for row in rungs)
    judged = sorted(rungs, key=lambda row: (row["milestone"] != champion, row["mode"] != "argmax"))[0]
    return [judged, *(row for row in newest.values() if not row["milestone"])], judged


def _same_window(backtests: Rows, judged: dict[str, Any]) -> Rows:
    window = judged.get("window")
    return [row for row in backtests if not window or row["window"] == window]


def _folder(row: dict[str, Any], data_dir: Path) -> Path | None:
    """Where the backtest's files lie now: under `data_dir` by its id, else where the store says."""
    candidates = [data_dir / "backtests" / row["backtest_id"]]
    if row.get("folder"):
        candidates.append(Path(row["folder"]))
    return next((path for path in candidates if path.is_dir()), None)


def _parquet(folder: Path | None, name: str) -> pl.DataFrame | None:
    if folder is None:
        return None
    path = folder / f"{name}.parquet"
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        _log.warning("left %s out of the report: %s", path, error)
        return None
    if "episode" in frame.columns and frame.height:
        frame = frame.filter(pl.col("episode") == pl.col("episode").min())
    return frame


def _curve(row: dict[str, Any], folder: Path | None, is_policy: bool) -> Curve | None:
    equity = _parquet(folder, "equity")
    if equity is None or equity.is_empty():
        return None
    equity = equity.sort("step")
    return Curve(
        name=row["name"],
        dates=equity["snapshot"].dt.date().cast(pl.String).to_list(),
        equity=equity["equity_usd"].to_list(),
        is_policy=is_policy,
    )


def _costed(row: dict[str, Any], folder: Path | None, headline: bool) -> dict[str, Any]:
    """The backtest's row, with fills, fees, spread and turnover from its ledger where the store has none."""
    out = {**row, "headline": headline}
    missing = [key for key in ("n_fills", "fees_usd", "spread_usd", "turnover") if out.get(key) is None]
    fills = _parquet(folder, "fills") if missing else None
    if fills is None:
        return out
    trades = fills.filter(pl.col("reason") != "expiry")
    size = pl.col("quantity") * pl.col("multiplier")
    mid = (pl.col("bid") + pl.col("ask")) / 2
    sums = trades.select(
        n_fills=pl.len(),
        fees_usd=pl.col("fee_usd").sum(),
        spread_usd=(size * (pl.col("price") - mid)).sum(),
        traded=(size * pl.col("price")).abs().sum(),
    ).row(0, named=True)
    start = out.get("start_equity_usd")
    sums["turnover"] = sums.pop("traded") / start if start else None
    return {**out, **{key: sums[key] for key in missing}}


def _attribution(folder: Path | None) -> Rows:
    """Attribution columns of `equity` summed a month; costs as negative numbers, slippage as spread."""
    equity = _parquet(folder, "equity")
    if equity is None:
        return []
    gains = ["delta_usd", "gamma_usd", "vega_usd", "theta_usd", "carry_usd", "settlement_usd", "residual_usd"]
    columns = [pl.col(name).sum() for name in gains if name in equity.columns]
    costs = {"spread_usd": "slippage_usd", "fees_usd": "fees_usd"}
    columns += [(-pl.col(source)).sum().alias(name) for name, source in costs.items() if source in equity.columns]
    if not columns or "delta_usd" not in equity.columns:
        return []
    steps = equity.filter(pl.col("step") > 0).with_columns(month=pl.col("snapshot").dt.strftime("%Y-%m"))
    return steps.group_by("month").agg(columns).sort("month").to_dicts()


def _actions(folder: Path | None) -> Rows:
    decisions = _parquet(folder, "decisions")
    if decisions is None or decisions.is_empty():
        return []
    counts = decisions.group_by("action_name").len().sort("len", "action_name", descending=[True, False])
    return [{"action": name, "count": n, "share": n / decisions.height} for name, n in counts.iter_rows()]


def _trials(facts: dict[str, Any], judged: dict[str, Any], store: Store) -> int | None:
    """Checkpoints ever tried on this window of this data, in whatever run; fill rules of one count once."""
    found = store.query(
        "SELECT count(DISTINCT (run, milestone, mode, seed, config_sha256)) AS n FROM trials "
        "WHERE policy = 'checkpoint' AND (data_sha256 = $data OR $data = '') "
        "AND (\"window\" = $window OR $window = '')",
        {
            "data": judged.get("data_sha256") or facts.get("data_sha256") or "",
            "window": judged.get("window") or "",
        },
    )
    return found[0]["n"] or None


def _gap(row: dict[str, Any]) -> dict[str, Any]:
    """A rung's in-sample and held-out profit, its interval of the difference laid flat."""
    gap = row.get("gap") or {}
    return {**row, "gap": gap.get("estimate"), "gap_low": gap.get("low"), "gap_high": gap.get("high")}


def _gates(run: str, facts: dict[str, Any], store: Store) -> Rows:
    return store.query(
        "SELECT * FROM gate_results WHERE run = ? OR (run = '' AND data_sha256 IN (?, ?)) ORDER BY gate, name",
        [run, facts.get("data_sha256") or "?", facts.get("training_data_sha256") or "?"],
    )


def _quality(facts: dict[str, Any], judged: dict[str, Any]) -> Rows:
    """Findings beside the quotes, the gravest first."""
    folders = [facts.get("quotes_dir"), judged.get("quotes_path") and Path(judged["quotes_path"]).parent]
    for folder in filter(None, folders):
        findings = _parquet(Path(folder), "findings")
        if findings is not None:
            order = {"error": 0, "warning": 1, "info": 2}
            return sorted(findings.to_dicts(), key=lambda row: order.get(str(row.get("severity")), 3))
    return []


def _parity(bundle: dict[str, Any]) -> Rows:
    """Parity rows of a bundle's manifest with each runtime's latency."""
    latency = {row.get("runtime"): row for row in bundle.get("latency") or [] if isinstance(row, dict)}
    rows = [row for row in bundle.get("parity") or [] if isinstance(row, dict)]
    return [{**latency.get(row.get("runtime"), {}), **row} for row in rows]


def _provenance(facts: dict[str, Any]) -> list[tuple[str, str]]:
    return [(words, str(facts[key])) for key, words in _PROVENANCE.items() if facts.get(key) not in (None, "")]


def _day(value: Any) -> str | None:
    return None if value is None else str(value)[:10]


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        _log.warning("left %s out of the report: %s", path, error)
        return {}
    return content if isinstance(content, dict) else {}
