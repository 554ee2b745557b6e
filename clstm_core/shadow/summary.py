"""A shadow account as it stands, made of its log: figures, drift, what the critic foresaw, evidence of harm."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from clstm_core.artifacts.manifests import ReconciliationManifest, ShadowManifest
from clstm_core.artifacts.places import Places
from clstm_core.config import RunConfig
from clstm_core.evaluation.calibration import calibration
from clstm_core.evaluation.e_process import BOUND, ENOUGH, harm
from clstm_core.evaluation.regimes import TERCILES
from clstm_core.plural import counted
from clstm_core.shadow.columns import CHANGED, DECIDED, REFUSED, SWITCHED
from clstm_core.shadow.drift import drift, flagged_words
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.reconcile import Reconciled
from clstm_core.shadow.runner import switch_of
from clstm_core.specs import MARKET_FEATURES

ACCOUNT, RECONCILIATION = "account.json", "reconciliation.json"
SHOWN = (
    *(
        "sequence",
        "kind",
        "snapshot",
        "switch",
        "regime",
        "action_name",
        "value",
        "reward",
        "equity_usd",
        "cash_return",
    ),
    *("margin_usd", "net_exposure", "hedge_ratio", "dollar_gamma_per_percent", "book_vega_per_point", "quote_age_s"),
    *("missing_sessions", "observation_sha256"),
)


def training_features(places: Places, identity: str | None) -> np.ndarray | None:
    """Market features [M, F] of the dates that a policy was trained on; None where its tensors are not at hand."""
    from clstm_core.errors import ArtifactError
    from clstm_core.market.tensors import load_market

    if not identity:
        return None
    try:
        market = load_market(places.tensors(identity), identity=identity)
        start, stop = market.split("train")
    except ArtifactError:
        return None
    os.utime(places.tensors(identity))  # `prune` counts days since a folder was last used
    return np.asarray(market.features_TF[start:stop].numpy(), dtype=float)


def summarise(log: ShadowLog, trained: np.ndarray | None) -> ShadowManifest:
    """Everything that a page or a query asks of an account, written beside its log.

    Args:
        trained: `training_features`
    """
    rows = log.decided
    seen = np.array([row["observation"][: len(MARKET_FEATURES)] for row in rows], dtype=float)
    found = drift(seen, trained) if trained is not None and len(rows) else []
    figures = _figures(log, rows)
    watched = _harm(rows)
    flagged = [row["feature"] for row in found if row["flagged"]]
    return ShadowManifest(
        name=log.folder.name,
        facts=log.facts,
        answer=_answer(log, figures, watched),
        switch=switch_of(log),
        figures=figures,
        sessions=[_session(row) for row in log.entries if row["kind"] in (DECIDED, REFUSED)],
        switches=_switches(log.entries),
        drift=found,
        drift_words=flagged_words(found),
        drift_flagged=flagged,
        regimes=_regimes(rows),
        calibration=_calibration(rows, log.facts.get("discount", RunConfig().ppo.gamma)),
        harm=watched,
        log_sha256=log.last_sha256,
        entries=len(log.entries),
        changed=_changed(log.entries),
    ).write(log.folder / ACCOUNT)


def keep(found: Reconciled, log: ShadowLog) -> ReconciliationManifest:
    """Write a comparison beside the log, every session of it as Parquet."""
    from clstm_core.artifacts.manifest import files_of

    found.rows.write_parquet(log.folder / "reconciliation.parquet", compression="zstd")
    names = (
        "sessions",
        "decisions_differing",
        "masks_differing",
        "fills_differing",
        "largest_usd",
        "limited",
        "refused",
    )
    differing = found.rows.filter(pl.col("explanation") != "").head(50)
    return ReconciliationManifest(
        name=log.folder.name,
        answer=found.words,
        decisions_equal=found.decisions_equal,
        to_the_cent=found.to_the_cent,
        figures={name: getattr(found, name) for name in names},
        reference=found.reference.id,
        differing=differing.with_columns(pl.col("snapshot").dt.to_string()).to_dicts(),
        files=files_of(log.folder, "reconciliation.parquet"),
        parents={"log": log.last_sha256},
    ).write(log.folder / RECONCILIATION)


def _figures(log: ShadowLog, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    refused = sum(entry["kind"] == REFUSED for entry in log.entries)
    if not rows:
        return {"decided": 0, "refused": refused}
    equity = np.array([row["equity_usd"] for row in rows])
    return {
        "decided": len(rows),
        "refused": refused,
        "first": rows[0]["snapshot"].isoformat(),
        "last": rows[-1]["snapshot"].isoformat(),
        "equity_usd": float(equity[-1]),
        "total_return": float(equity[-1] / equity[0] - 1.0),
        "cash_total_return": float(np.prod([1.0 + row["cash_return"] for row in rows]) - 1.0),
        "max_drawdown": float((1.0 - equity / np.maximum.accumulate(equity)).max()),
        "fees_usd": float(sum(row["fees_usd"] for row in rows)),
    }


def _session(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: row[name] for name in SHOWN} | {"snapshot": row["snapshot"].isoformat()}
    decided = row["kind"] == DECIDED
    return shown | {
        "reasons": "; ".join(row["reasons"] or []),
        "probability": row["probabilities"][row["action"]] if decided else None,
        "fills": len(row["fills"] or []) if decided else None,
    }


def _switches(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries after which the switch stands otherwise, and those that a person made."""
    found, before = [], None
    for entry in entries:
        if entry["switch"] != before or entry["kind"] == SWITCHED:
            at = entry["snapshot"] or entry["seen_at"]
            found.append(
                {
                    "at": at.isoformat() if at else "beginning",
                    "switch": entry["switch"],
                    "by": "a person" if entry["kind"] == SWITCHED else "the opening" if before is None else "a limit",
                    "reasons": "; ".join(entry["reasons"] or []),
                }
            )
        before = entry["switch"]
    return found


def _changed(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sessions that are others than when they were decided on: what changed, and when that was seen."""
    return [
        {
            "snapshot": row["snapshot"].isoformat(),
            "seen_at": row["seen_at"].isoformat(),
            "files": row["session_files"],
            "reasons": "; ".join(row["reasons"]),
        }
        for row in entries
        if row["kind"] == CHANGED
    ]


def _excess(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """Growth beyond cash of each step [T - 1]."""
    equity = np.maximum([row["equity_usd"] for row in rows], 1e-9)
    cash = np.array([row["cash_return"] for row in rows[1:]])
    return np.diff(np.log(equity)) - np.log1p(cash)


def _harm(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The e-process of an account against cash."""
    if len(rows) < 2:
        return {"wealth": None, "reached": None, "path": [], "words": "Watched from the second session on."}
    found = harm(_excess(rows))
    now = float(found.wealth[-1])
    words = (
        f"Evidence that it does worse than cash stands at {now:.2f}; {ENOUGH:.0f} is enough, and by luck alone it gets "
        "there once in twenty accounts at most, however often one looks."
    )
    if found.reached is not None:
        words = (
            f"Worse than cash: evidence reached {ENOUGH:.0f} on {rows[found.reached + 1]['snapshot']:%Y-%m-%d}. "
            + words
        )
    return {
        "wealth": now,
        "reached": found.reached,
        "bound": BOUND,
        "truncated": found.truncated,
        "path": found.wealth.tolist(),
        "words": words,
    }


def _regimes(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean growth beyond cash per session by the regime known at the session before."""
    if len(rows) < 2 or rows[0]["regime"] is None:
        return []
    excess, known = _excess(rows), [row["regime"] for row in rows[:-1]]
    found = []
    for name in TERCILES:
        mine = excess[[regime == name for regime in known]]
        error = float(mine.std(ddof=1) / np.sqrt(len(mine))) if len(mine) > 1 else None
        mean = float(mine.mean()) if len(mine) else None
        found.append({"regime": name, "sessions": len(mine), "excess": mean, "error": error})
    return found


def _calibration(rows: Sequence[dict[str, Any]], discount: float) -> list[dict[str, Any]]:
    """What the critic foresaw against what came (`evaluation.calibration`): a step's reward came after its decision."""
    if len(rows) < 2:
        return []
    table = pl.DataFrame(
        {
            "step": range(1, len(rows)),
            "value": [row["value"] for row in rows[:-1]],
            "reward": [row["reward"] for row in rows[1:]],
        }
    )
    return calibration(table, discount)


def _answer(log: ShadowLog, figures: dict[str, Any], watched: dict[str, Any]) -> str:
    state = switch_of(log)
    if not figures["decided"]:
        refused = counted(figures["refused"], "was", "were")
        return f"No session was decided on yet; {refused} refused. The switch is {state}."
    refused = f", {figures['refused']} refused" if figures["refused"] else ""
    days = sorted({f"{row['snapshot']:%Y-%m-%d}" for row in log.entries if row["kind"] == CHANGED})
    named = ", ".join(days[:3]) + (f" and {len(days) - 3} more" if len(days) > 3 else "")
    changed = f" Changed after it was decided on: {named}." if days else ""
    harmed = " Evidence says that it does worse than cash." if watched["reached"] is not None else ""
    return (
        f"In {counted(figures['decided'], 'session')}{refused}, {figures['first'][:10]} to {figures['last'][:10]}, it "
        f"made {figures['total_return']:+.2%} in simulated fills; cash made {figures['cash_total_return']:+.2%}. The "
        f"switch is {state}.{harmed}{changed}"
    )
