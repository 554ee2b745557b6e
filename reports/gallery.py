"""The gallery: every report in one table, and a page that lays two runs side by side."""

import json
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import write_text
from reports.charts import NOTHING, number
from reports.pages import CSP, template
from reports.shadow_list import challengers_row, champion_row, shadow_accounts
from reports.tiles import facts, signed_percent, two_decimals

WALKS = "walk-forward"
"""Folder of the pages of walk-forwards, beside those of runs."""

SWEEPS = "sweeps"
"""Folder of the pages of sweeps."""

UNTOLD = {"kind": "none", "word": "No verdict yet", "rest": ""}

COMPARED = (
    *("outcome", "excess over cash", "total return", "Sharpe ratio", "largest drawdown"),
    *("fees paid, USD", "spread paid, USD", "checks failed", "data", "window", "sessions", "rendered"),
)


def write_gallery(out_dir: Path) -> Path:
    """`<out_dir>/index.html`: every report and walk-forward, the newest first; `compare.html` for two reports."""
    summaries = summaries_in(out_dir)
    walks = [_walk_row(summary) for summary in summaries_in(out_dir / WALKS)]
    rows = [gallery_row(summary) for summary in summaries]
    index = out_dir / "index.html"
    shadows = shadow_accounts(out_dir)
    sweeps = [_sweep_row(summary) for summary in summaries_in(out_dir / SWEEPS)]
    shown = {
        "rows": rows,
        "walks": walks,
        "folder": WALKS,
        "shadows": shadows,
        "sweeps": sweeps,
        "searched": SWEEPS,
        "champion": champion_row(out_dir),
        "challengers": challengers_row(out_dir),
    }
    write_text(index, template("gallery.html").render(**shown, csp=CSP, inline=None))
    compared = {row["run"]: compared_lines(row, summary) for row, summary in zip(rows, summaries, strict=True)}
    page = template("compare.html").render(runs=compared, csp=CSP, inline=None)
    write_text(out_dir / "compare.html", page)
    return index


def summaries_in(out_dir: Path) -> list[dict[str, Any]]:
    """The summaries of whole reports below a folder, the newest first; what cannot be read is passed over."""
    found = []
    for path in out_dir.glob("*/summary.json"):
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(summary, dict) and (path.parent / "index.html").is_file():
            found.append({**summary, "run": path.parent.name})
    return sorted(found, key=lambda summary: str(summary.get("generated_at") or ""), reverse=True)


def in_short(index: Path) -> list[str]:
    """What came of a run in two lines, the answer and its numbers, from the summary beside a report."""
    summary = json.loads(index.with_name("summary.json").read_text(encoding="utf-8"))
    row = gallery_row({**summary, "run": index.parent.name})
    figures = (
        f"over cash {row['excess']}{' ' if row['span'] else ' per year'}{row['span']}",
        f"Sharpe ratio {row['sharpe']}",
        f"largest drawdown {row['drawdown']}",
        f"checks failed {row['failed']}",
        row["data_label"],
    )
    return [f"{row['outcome']['word']}{row['outcome']['rest']}", f"  {'; '.join(figures)}"]


def gallery_row(summary: dict[str, Any]) -> dict[str, Any]:
    """One run's cells; each number beside the value that it is sorted by."""
    failed, excess = summary.get("checks_failed"), summary.get("excess") or {}
    return {
        "run": summary["run"],
        "date": str(summary.get("generated_at") or "unknown"),
        "kind": str(summary.get("kind") or "unknown"),
        "data_label": str(summary.get("data_label") or "quotes of unknown origin"),
        "recipe": _text(summary.get("recipe")),
        "seed": _text(summary.get("seed")),
        "outcome": summary.get("outcome") or UNTOLD,
        "verdict": str(summary.get("verdict") or ""),
        "excess": _excess(excess),
        "span": _span(excess),
        "excess_by": number(excess.get("estimate")),
        "sharpe": two_decimals(summary.get("sharpe")),
        "sharpe_by": number(summary.get("sharpe")),
        "drawdown": signed_percent(summary.get("max_drawdown")),
        "drawdown_by": number(summary.get("max_drawdown")),
        "failed": NOTHING if failed is None else f"{failed} of {summary.get('checks', 0)}",
        "failed_by": failed,
    }


def _walk_row(summary: dict[str, Any]) -> dict[str, Any]:
    """One walk-forward's cells."""
    names = ("excess", "window", "folds")
    return {
        "run": summary["run"],
        "date": str(summary.get("generated_at") or "unknown"),
        "kind": str(summary.get("kind") or "unknown"),
        "data_label": str(summary.get("data_label") or "quotes of unknown origin"),
        "outcome": summary.get("outcome") or UNTOLD,
        "verdict": str(summary.get("verdict") or ""),
        **{name: _text(summary.get(name)) for name in names},
    }


def _sweep_row(summary: dict[str, Any]) -> dict[str, Any]:
    """One sweep's cells."""
    return {
        "run": summary["run"],
        "date": str(summary.get("generated_at") or "unknown"),
        "kind": str(summary.get("kind") or "unknown"),
        "data_label": str(summary.get("data_label") or "quotes of unknown origin"),
        **{name: _text(summary.get(name)) for name in ("recipe", "trials", "answer")},
    }


def compared_lines(row: dict[str, Any], summary: dict[str, Any]) -> list[list[str]]:
    """What a comparison shows of a run: pairs of name and text, figures first, then where they come from."""
    cells = (
        f"{row['outcome']['word']}{row['outcome']['rest']}",
        f"{row['excess']} {row['span']}".strip(),
        signed_percent(summary.get("total_return")),
        row["sharpe"],
        row["drawdown"],
        *(_usd(summary.get(key)) for key in ("fees_usd", "spread_usd")),
        row["failed"],
        row["data_label"],
        _text(summary.get("window")),
        NOTHING if (count := number(summary.get("sessions_count"))) is None else f"{count:,.0f}",
        row["date"],
    )
    known = facts([(str(name), str(value)) for name, value in summary.get("provenance") or []])
    figures = zip(COMPARED, cells, strict=True)
    return [*map(list, figures), *([fact.name, fact.short or fact.value] for fact in known)]


def _excess(found: dict[str, Any]) -> str:
    estimate, low, high = (number(found.get(key)) for key in ("estimate", "low", "high"))
    if estimate is None:
        return NOTHING
    return f"{estimate:+.1f}%" + ("" if low is None or high is None else f" ({low:+.1f} to {high:+.1f})")


def _span(found: dict[str, Any]) -> str:
    """What the excess is of, where it is not a year."""
    span = str(found.get("span") or "")
    return "" if span == "per year" else span.replace("over the", "in")


def _usd(value: Any) -> str:
    found = number(value)
    return NOTHING if found is None else f"{found:,.0f}"


def _text(value: Any) -> str:
    return NOTHING if value in (None, "") else str(value)
