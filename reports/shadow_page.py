"""The page of a shadow account: the answer, the switch, decisions, foresight, hedges, drift. It runs no script."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import read_json, write_json, write_text
from clstm_core.errors import ReportError
from reports.charts import NOTHING, number, text
from reports.gallery import write_gallery
from reports.pages import policy, template
from reports.render import label_kind, write_shared
from reports.shadow_list import ROOM, SUMMARY
from reports.svg import both_widths, stacked_chart

NO_BREAK = "\u2011"  # a hyphen that does not break a date over two lines
NEWEST = 30
"""Sessions in the table that is open; all of them are behind it."""

Rows = Sequence[Mapping[str, Any]]

SESSIONS = {
    "session": "snapshot",
    "decision": "action_name",
    "probability": "probability",
    "simulated fills": "fills",
    "equity": "equity_usd",
    "net exposure": "net_exposure",
    "hedge ratio": "hedge_ratio",
    "value": "value",
    "reward": "reward",
    "regime": "regime",
    "switch": "switch",
    "why": "reasons",
}
DRIFT = {
    "feature": "feature",
    "regime": "regime",
    "sessions": "sessions",
    "PSI": "psi",
    "band": "band",
    "PSI by chance": "by_chance",
    "KS": "ks",
    "Wasserstein": "wasserstein",
    "chance": "chance",
    "flagged": "flagged",
}
_KINDS = {"probability": "percent", "equity_usd": "usd", "net_exposure": "percent", "excess": "bps", "error": "bps"}


def draw_account(folder: Path, out_dir: Path) -> Path:
    """The page of the account in `folder` as its files say that it stands, and the gallery that links it.

    Raises: ReportError where there is no account
    """
    account = read_json(folder / "account.json")
    if not isinstance(account, dict):
        raise ReportError(f"no account in {folder}: expected account.json. `clstm shadow show --name NAME` makes it.")
    page = render_shadow(account, read_json(folder / "reconciliation.json"), out_dir)
    write_gallery(out_dir)
    return page


def render_shadow(account: Mapping[str, Any], reconciliation: Mapping[str, Any] | None, out_dir: Path) -> Path:
    """Write `<out_dir>/shadow/<name>/index.html` and what it shares with all pages; the page's path.

    Args:
        account: content of a `ShadowManifest`; reconciliation: of a `ReconciliationManifest`, None where none was made
    """
    facts = account["facts"]
    decided = [row for row in account["sessions"] if row["kind"] == "decided"]
    page = template("shadow.html").render(
        name=account["name"],
        facts=facts,
        kind=label_kind(facts["label"]),
        answer=account["answer"],
        switch=account["switch"],
        unqualified="" if facts["qualified"] else facts["standing"],
        tiles=_tiles(account, reconciliation),
        reconciled=_reconciled(account, reconciliation),
        sections=[
            _decisions(account, decided),
            _realised(account, decided),
            _hedges(decided, facts["label"]),
            _drift(account),
            _regimes(account),
            _harm(account, decided),
            _switches(account),
            *_changed(account),
        ],
        csp=policy(["'none'"]),
        inline=None,
    )
    write_shared(out_dir)
    index = out_dir / ROOM / account["name"] / "index.html"
    index.parent.mkdir(parents=True, exist_ok=True)
    write_text(index, page)
    told = {"name": account["name"], "answer": account["answer"], "label": facts["label"], "switch": account["switch"]}
    write_json(index.parent / SUMMARY, told | {"standing": facts["standing"], "kind": label_kind(facts["label"])})
    return index


def _tiles(account: Mapping[str, Any], reconciliation: Mapping[str, Any] | None) -> list[tuple[str, str, str]]:
    figures = account["figures"]
    same = "not compared yet"
    if reconciliation is not None:
        good = reconciliation["decisions_equal"] and reconciliation["to_the_cent"]
        same = "the same, to the cent" if good else "differs"
    return [
        ("switch", account["switch"], ""),
        ("sessions decided", text(figures["decided"]), f"{figures['refused']} refused"),
        (
            "return, simulated",
            text(figures.get("total_return"), "percent"),
            f"cash {text(figures.get('cash_total_return'), 'percent')}",
        ),
        ("largest fall", text(figures.get("max_drawdown"), "percent"), "from a peak"),
        ("beside its backtest", same, ""),
        (
            "features that drifted",
            text(len(account["drift_flagged"])),
            ", ".join(account["drift_flagged"]).replace("_", " "),
        ),
    ]


def _reconciled(account: Mapping[str, Any], found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "It has not been compared with a backtest of the same days yet: `clstm shadow reconcile` does that."
    later = "" if found["parents"]["log"] == account["log_sha256"] else " Sessions were added since."
    return f"{found['answer']}{later}"


def _section(
    id: str,
    title: str,
    words: str,
    rows: Rows,
    columns: Mapping[str, str],
    *,
    chart: Callable[..., str] | None = None,
    alt: str = "",
    open: int = 0,
    newest: int = 0,
) -> dict[str, Any]:
    """One section: words, a picture, a table, and all rows behind it.

    Args:
        chart: draws the picture at a width
        open: rows that the table shows, in order; newest: or so many of the last ones, the newest first
    """
    cells = _cells(rows, columns)
    return {
        "id": id,
        "title": title,
        "words": words,
        "picture": both_widths(chart) if chart else None,
        "alt": alt,
        "columns": [{"text": name, "kind": _kind([row.get(key) for row in rows])} for name, key in columns.items()],
        "shown": cells[-newest:][::-1] if newest else cells[:open],
        "rows": cells,
    }


def _cells(rows: Rows, columns: Mapping[str, str]) -> list[list[dict[str, str]]]:
    """Text of every cell, and whether its column holds numbers: those stand to the right."""
    kinds = {key: _kind([row.get(key) for row in rows]) for key in columns.values()}
    return [[{"text": _cell(row.get(key), key), "kind": kinds[key]} for key in columns.values()] for row in rows]


def _kind(values: Sequence[Any]) -> str:
    return "number" if any(number(value) is not None for value in values) else ""


def _cell(value: Any, key: str) -> str:
    if key in ("snapshot", "at"):
        return str(value)[:10].replace("-", NO_BREAK) if value else NOTHING
    if key in ("feature", "action_name") and value:
        return str(value).replace("_", " ")
    if isinstance(value, float) and key in ("hedge_ratio", "value", "reward", "psi", "by_chance", "ks", "wasserstein"):
        return text(value, decimals=3)
    if key == "chance" and isinstance(value, float):
        return "under 0.0001" if value < 1e-4 else text(value, decimals=4)
    if _KINDS.get(key) == "bps" and isinstance(value, float):
        return f"{text(1e4 * value, decimals=2)} bp"
    return text(value, _KINDS.get(key, ""))


def _dates(rows: Rows) -> list[datetime]:
    return [datetime.fromisoformat(row["snapshot"]) for row in rows]


def _decisions(account: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    chart = None
    if len(rows) > 1:
        cash = [1.0]
        for row in rows[1:]:
            cash.append(cash[-1] * (1.0 + row["cash_return"]))
        first = rows[0]["equity_usd"]
        growth = {
            "account (simulated fills)": [
                (at, row["equity_usd"] / first) for at, row in zip(_dates(rows), rows, strict=True)
            ],
            "cash": list(zip(_dates(rows), cash, strict=True)),
        }
        chart = partial(stacked_chart, {"": growth}, "Growth of 1", subtitle=account["facts"]["label"])
    return _section(
        "decisions",
        "Decisions",
        "A decision fills in the simulator at the next session's quotes. A refused one leaves the account as it was.",
        account["sessions"],
        SESSIONS,
        chart=chart,
        alt="Growth of 1 of the account and of cash by session",
        newest=NEWEST,
    )


def _realised(account: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    found = account["calibration"]
    columns = {
        "bin": "bin",
        "sessions": "sessions",
        "foreseen": "foreseen",
        "realised": "seen",
        "realised, 95% from": "low",
        "to": "high",
    }
    if not found:
        return _section(
            "critic", "Foreseen and realised", "Too few sessions to lay the critic beside what came.", [], columns
        )
    lines = {
        name: [(row["foreseen"], row[key]) for row in sorted(found, key=lambda row: row["foreseen"])]
        for name, key in (("realised", "seen"), ("foreseen = realised", "foreseen"))
    }
    return _section(
        "critic",
        "Foreseen and realised",
        "Rewards of the next five sessions: what the change of the critic's value foresaw, and what came, in bins of "
        "equal count. A critic that is right lies on the line; one that knows nothing lies level.",
        found,
        columns,
        chart=partial(
            stacked_chart,
            {"reward realised": lines},
            "Foreseen and realised",
            subtitle=account["facts"]["label"],
            x_label="reward foreseen",
        ),
        alt="Rewards realised by rewards foreseen",
    )


def _hedges(rows: Rows, label: str) -> dict[str, Any]:
    columns = {
        "session": "snapshot",
        "hedge ratio": "hedge_ratio",
        "net exposure": "net_exposure",
        "vega per point": "book_vega_per_point",
    }
    chart = None
    if len(rows) > 1:
        panels = {
            "hedge ratio": {
                "shares over the options' delta": [
                    (at, row["hedge_ratio"]) for at, row in zip(_dates(rows), rows, strict=True)
                ]
            },
            "of equity": {
                "net exposure": [(at, row["net_exposure"]) for at, row in zip(_dates(rows), rows, strict=True)]
            },
        }
        chart = partial(stacked_chart, panels, "Hedge ratio and net exposure", subtitle=label, height=420)
    words = "At 1, shares offset the whole delta of the options; empty where these have less than a share's worth."
    return _section(
        "hedges", "Hedge ratios", words, rows, columns, chart=chart, alt="Hedge ratio and net exposure by session"
    )


def _drift(account: Mapping[str, Any]) -> dict[str, Any]:
    rows = account["drift"]
    whole = sorted(
        (row for row in rows if row["regime"] == "all"), key=lambda row: (not row["flagged"], row["chance"] or 0.0)
    )
    words = (
        f"{account['drift_words']} PSI below 0.1 is steady, from 0.25 on moved. PSI by chance: what one in twenty of "
        "training's own stretches of this length reaches. Chance: how likely one more such stretch is to lie "
        "as far off."
    )
    section = _section("drift", "Drift by feature", words, rows, DRIFT)
    measured = any(row["psi"] is not None for row in whole)
    return section | {"shown": _cells(whole, DRIFT) if measured else []}


def _regimes(account: Mapping[str, Any]) -> dict[str, Any]:
    columns = {
        "regime": "regime",
        "sessions": "sessions",
        "beyond cash per session": "excess",
        "standard error": "error",
    }
    rows = account["regimes"]
    words = "Sessions in thirds by the implied volatility known at the session before; training sets the limits."
    if not rows:
        words = "Training's dates are not at hand: its terciles of volatility are unknown."
    return _section("regimes", "Stability across regimes", words, rows, columns, open=3)


def _harm(account: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    found, columns = account["harm"], {"session": "snapshot", "wealth": "wealth"}
    path = found["path"]
    dates = _dates(rows)[1:]
    table = [{"snapshot": at.isoformat(), "wealth": wealth} for at, wealth in zip(dates, path, strict=False)]
    chart = None
    if path:
        lines = {"evidence": list(zip(dates, path, strict=False)), "enough": [(dates[0], 20.0), (dates[-1], 20.0)]}
        chart = partial(
            stacked_chart,
            {"wealth": lines},
            "Evidence that it does worse than cash",
            subtitle=account["facts"]["label"],
        )
    return _section(
        "harm", "Is it doing harm?", found["words"], table, columns, chart=chart, alt="Evidence of harm by session"
    )


def _switches(account: Mapping[str, Any]) -> dict[str, Any]:
    columns = {"since": "at", "switch": "switch", "by": "by", "why": "reasons"}
    words = (
        "ACTIVE: every legal action. REDUCING: hold, close and hedge. HALTED: hold. Limits tighten it, a person alone "
        "loosens it."
    )
    return _section("switch", "Switch history", words, account["switches"], columns, newest=NEWEST)


def _changed(account: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Sessions that became others after they were decided on; no section where none did."""
    rows = account.get("changed") or []
    columns = {"session": "snapshot", "seen": "at", "files": "files", "what changed": "reasons"}
    words = "Files that changed, vanished or came after their session was decided on. Its decision stands."
    rows = [row | {"at": row["seen_at"]} for row in rows]
    return [_section("changed", "Changed since", words, rows, columns, newest=NEWEST)] if rows else []
