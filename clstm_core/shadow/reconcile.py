"""Reconciliation: the log of a shadow account against a backtest of the same bundle over the same days and quotes.

The two meet nowhere but in the env's step: the log was written session by session from pairs of snapshots, with the
calendar's knowledge of what settles next; the backtest walks the whole market at once. What the switch
forbade is forbidden to the reference as well; whatever else differs is named, and fails.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BundleManifest
from clstm_core.env.state import Orders
from clstm_core.errors import ShadowError
from clstm_core.evaluation.backtest import BacktestResult, run_backtest
from clstm_core.evaluation.policies import Decided, Lanes
from clstm_core.market.tables.schema import UTC_NS
from clstm_core.market.tensors import MarketTensors
from clstm_core.plural import counted
from clstm_core.shadow.arrival import day_of
from clstm_core.shadow.changes import changed_since
from clstm_core.shadow.columns import DECIDED, REFUSED, nanoseconds
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.mind import Mind
from clstm_core.shadow.pair import snapshots_of
from clstm_core.shadow.runner import account_config
from clstm_core.shadow.switch import ACTIVE, allowed_of
from clstm_core.specs import ACTIONS

LEAST_SESSIONS = 2
"""A backtest takes no decision on its last snapshot."""

CENT = 0.005
"""Half a cent: money that differs by less is the same to the cent."""

TOLD = 3
"""Sessions that changed and are named in the answer; the rows name each that matters."""

COMPARED = ("equity_usd", "cash_usd", "shares", "options_mark_usd", "margin_usd", "fees_usd", "interest_usd")
SCHEMA: dict[str, Any] = {
    "snapshot": UTC_NS,
    "action": pl.String,
    "reference_action": pl.String,  # null for the newest session: a backtest takes no decision on its last snapshot
    "decisions_equal": pl.Boolean,
    "masks_equal": pl.Boolean,
    "equity_usd": pl.Float64,
    "reference_equity_usd": pl.Float64,
    "difference_usd": pl.Float64,  # the largest of COMPARED
    "fills_equal": pl.Boolean,
    "switch": pl.String,
    "explanation": pl.String,
}


class BundlePolicy:
    """A bundle's policy in a backtest, under the switch that a log had at each session."""

    kind, mode, reads, n_episodes = "checkpoint", "argmax", True, 1

    def __init__(self, bundle: Path, switches: Sequence[str] = ()):
        manifest = BundleManifest.read(bundle / FILE)
        self.name, self.label = "bundle", f"Bundle of run {manifest.run}"
        self._mind, self._switches = Mind(bundle, unqualified=True), list(switches)
        self._facts = {
            "sha256": manifest.parents.get("checkpoint"),
            "run": manifest.run,
            "milestone": str(manifest.policy.get("milestone", "")),
        }
        self.reset(1)

    def reset(self, n_envs: int) -> None:
        assert n_envs == 1
        self._mind.forget()
        self.masks: list[np.ndarray] = []
        self.last = Decided.rule(1)

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        at = len(self.masks)
        self.masks.append(mask[0].numpy())
        state = self._switches[at] if self._switches else ACTIVE
        thought = self._mind.decide(obs[0].float().numpy(), allowed_of(self.masks[-1], state))
        self.last = Decided(torch.tensor([thought.action]), torch.tensor([thought.value], dtype=torch.float64))
        return env.orders_for(self.last.action_N)

    def notes(self) -> list[str]:
        return []

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "label": self.label, "kind": self.kind, "mode": self.mode, "checkpoint": self._facts}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What came of a comparison.

    changed: sessions that are others than when they were decided on, in words; empty where none is
    rows: one per session (SCHEMA); reference: the backtest; first: the first session that differs, in words, empty
    where none does
    """

    sessions: int
    decisions_differing: int
    masks_differing: int
    fills_differing: int
    largest_usd: float
    limited: int
    refused: int
    first: str
    changed: str
    reference: BacktestResult
    rows: pl.DataFrame

    @property
    def decisions_equal(self) -> bool:
        """Every decision was the backtest's."""
        return self.decisions_differing == 0

    @property
    def to_the_cent(self) -> bool:
        """Every sum of money was the backtest's to the cent, and every fill."""
        return self.largest_usd < CENT and self.fills_differing == 0

    @property
    def words(self) -> str:
        """The answer in a sentence."""
        outside = f" Sessions under a switch that was not {ACTIVE}: {self.limited}." if self.limited else ""
        outside += f" Sessions that were refused, and are in neither: {self.refused}." if self.refused else ""
        outside += f" Others than when they were decided on: {self.changed}." if self.changed else ""
        if self.decisions_equal and self.to_the_cent:
            return (
                f"All {self.sessions} decisions, fills and sums of money are the backtest's; the largest difference of "
                f"money is {self.largest_usd:.2g}.{outside}"
            )
        return (
            f"{self.decisions_differing} of {self.sessions} decisions differ from the backtest, {self.fills_differing} "
            f"sessions in their fills; the largest difference is {self.largest_usd:,.2f}. First: {self.first}.{outside}"
        )


def reconcile(log: ShadowLog, market: MarketTensors, bundle: Path, out_dir: Path) -> Reconciled:
    """Walk a backtest over the sessions of a log, and compare.

    Args:
        market: the quotes that the log was decided on, as they are known today
        out_dir: folder that the backtest's ledgers are written to

    Raises: ShadowError for fewer than two sessions, or one that the market does not hold
    """
    rows = log.decided
    if len(rows) < LEAST_SESSIONS:
        raise ShadowError(
            f"{counted(len(rows), 'session')} in {log.folder}: expected at least {LEAST_SESSIONS} to compare. Let more "
            "arrive."
        )
    index = {int(at): place for place, at in enumerate(market.snapshot_T.tolist())}
    wanted = [nanoseconds(row["snapshot"]) for row in rows]
    changed = changed_since(log.entries, market)
    if lost := [at for at in wanted if at not in index]:
        raise ShadowError(
            f"session {day_of(lost[0])} of {log.folder} is not in the market: expected its quotes. Give the source "
            f"all of its files again. {_told({at: words for at, words in changed.items() if at in lost})}".rstrip()
        )
    chosen = [index[at] for at in wanted]
    whole = list(range(chosen[0], chosen[-1] + 1))
    same = market if chosen == whole else snapshots_of(market, chosen)
    window = (chosen[0], chosen[-1] + 1) if chosen == whole else (0, len(chosen))
    policy = BundlePolicy(bundle, [row["switch"] for row in rows])
    result = run_backtest(policy, same, account_config(log.facts["account"]), window, out_dir=out_dir)
    found = compared(rows, {name: result.table(name) for name in ("equity", "decisions", "fills")}, policy.masks)
    found = _with_changes(found, changed)
    differing = found.filter(pl.col("explanation") != "")
    actions = found["decisions_equal"].drop_nulls()
    return Reconciled(
        sessions=len(rows),
        decisions_differing=int((~actions).sum()),
        masks_differing=int((~found["masks_equal"].drop_nulls()).sum()),
        fills_differing=int((~found["fills_equal"]).sum()),
        largest_usd=float(found["difference_usd"].max() or 0.0),  # type: ignore[arg-type]
        limited=int((found["switch"] != ACTIVE).sum()),
        refused=sum(entry["kind"] == REFUSED for entry in log.entries),
        first=f"{differing['snapshot'][0]:%Y-%m-%d}: {differing['explanation'][0]}" if differing.height else "",
        changed=_told(changed),
        reference=result,
        rows=found,
    )


def compared(
    rows: Sequence[Mapping[str, Any]], tables: Mapping[str, pl.DataFrame], masks: Sequence[np.ndarray]
) -> pl.DataFrame:
    """One row per session of the log beside the backtest's ledgers (SCHEMA).

    Assumes: step k of the ledgers led to the log's session k; decision k + 1 was taken there
    """
    equity = {row["step"]: row for row in tables["equity"].to_dicts()}
    decisions = {row["step"]: row for row in tables["decisions"].to_dicts()}
    fills: dict[int, list[tuple]] = {}
    for fill in tables["fills"].to_dicts():
        fills.setdefault(fill["step"], []).append(_fill(fill))
    found = []
    for at, row in enumerate(rows):
        assert row["kind"] == DECIDED
        theirs, decision = equity.get(at), decisions.get(at + 1)
        gap = max((_gap(row[name], theirs[name]) for name in COMPARED), default=0.0) if theirs else math.inf
        action = decision["action_name"] if decision else None
        line = {
            "snapshot": row["snapshot"],
            "action": row["action_name"],
            "reference_action": action,
            "decisions_equal": None if action is None else row["action_name"] == action,
            "masks_equal": bool((np.array(row["mask"]) == masks[at]).all()) if at < len(masks) else None,
            "equity_usd": row["equity_usd"],
            "reference_equity_usd": theirs["equity_usd"] if theirs else None,
            "difference_usd": gap,
            "fills_equal": sorted(map(_fill, row["fills"])) == sorted(fills.get(at, [])),
            "switch": row["switch"],
        }
        found.append(line | {"explanation": _explanation(line, row, masks[at] if at < len(masks) else None)})
    return pl.DataFrame(found, schema=SCHEMA)


def _told(changed: Mapping[int, str]) -> str:
    """The first sessions that changed, in words."""
    shown = [f"{day_of(at)}: {words}" for at, words in sorted(changed.items())]
    more = f"; and {len(shown) - TOLD} more" if len(shown) > TOLD else ""
    return "; ".join(shown[:TOLD]) + more


def _with_changes(found: pl.DataFrame, changed: Mapping[int, str]) -> pl.DataFrame:
    """The rows, with what changed as the reason of whatever differs there and after it."""
    said = []
    for row in found.select(pl.col("snapshot").cast(pl.Int64), "explanation").to_dicts():
        before = max((at for at in changed if at <= row["snapshot"]), default=None)
        reason = "" if before is None or not row["explanation"] else f"; since {day_of(before)}: {changed[before]}"
        said.append(f"{row['explanation']}{reason}")
    return found.with_columns(explanation=pl.Series(said, dtype=pl.String))


def _gap(mine: float | None, theirs: float | None) -> float:
    if mine is None or theirs is None:
        return 0.0 if mine is theirs else math.inf
    return abs(mine - theirs) if math.isfinite(mine) and math.isfinite(theirs) else math.inf


def _fill(row: Mapping[str, Any]) -> tuple:
    """A fill to the hundredth of a cent."""
    return (
        nanoseconds(row["snapshot"]),
        row["contract_id"] or "",
        row["reason"],
        row["quantity"],
        round(row["price"], 4),
        round(row["fee_usd"], 4),
    )


def _explanation(line: Mapping[str, Any], row: Mapping[str, Any], mask: np.ndarray | None) -> str:
    """What differs at a session, and why where that can be told; empty where nothing does."""
    said = []
    if line["masks_equal"] is False and mask is not None:
        other = [ACTIONS[at] for at in np.flatnonzero(np.array(row["mask"]) != mask)]
        said.append(f"legal then and not in the backtest, or the other way round: {', '.join(other)}")
    if line["decisions_equal"] is False:
        said.append(f"decided {line['action']}, the backtest {line['reference_action']}")
    if not line["difference_usd"] < CENT:
        said.append(f"money differs by {line['difference_usd']:,.4f}")
    if not line["fills_equal"]:
        said.append("fills differ")
    return "; ".join(said)
