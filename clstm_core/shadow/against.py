"""Two shadow accounts on the same sessions: whether one does harm beside the other, or may take its place."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm_core.errors import ShadowError
from clstm_core.evaluation.e_process import ENOUGH, Evidence, harm, non_inferiority
from clstm_core.plural import counted
from clstm_core.shadow.log import ShadowLog

BPS, LEAST = 1e4, 21
MOST = 1e6  # evidence beyond it is shown as this


class TooFew(ShadowError):
    """Two accounts have too few sessions in common to say anything."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """What daily differences of growth say of an account beside a reference.

    sessions: steps from one session that both were decided on to the next such one: what happened while a session was
              refused in either belongs to the step over it, and is not lost
    mean_bps: growth of the account less the reference's, per step
    """

    name: str
    reference: str
    sessions: int
    mean_bps: float
    margin_bps: float
    harm: Evidence
    non_inferior: Evidence

    @property
    def words(self) -> str:
        """The answer first."""
        if self.harm.reached is not None:
            answer = f"{self.name} does worse than {self.reference}"
        elif self.non_inferior.reached is not None:
            answer = f"{self.name} is no worse than {self.reference} by more than {self.margin_bps:g} bp per session"
        else:
            answer = f"{self.name} and {self.reference} cannot be told apart yet"
        worse, safe = (f"{min(found.wealth[-1], MOST):,.2f}" for found in (self.harm, self.non_inferior))
        return (
            f"{answer}: {self.mean_bps:+.2f} bp per session over {self.sessions}; evidence of harm {worse}, of no harm "
            f"beyond the margin {safe} ({ENOUGH:.0f} is enough, whenever one looks). Both in simulated fills."
        )


def against(log: ShadowLog, reference: ShadowLog, margin_bps: float, *, after: str = "") -> Against:
    """Judge an account beside a reference by their daily growth.

    Args:
        after: ISO date of the last day that does not count, e.g. of training; all sessions when empty

    Units:  margin_bps basis points of growth per session, stated before one looks
    Raises: ShadowError for a negative margin, or equity that is no number; TooFew for too few sessions that both were
            decided on
    """
    if not margin_bps >= 0.0:
        raise ShadowError(f"margin {margin_bps:g} bp: expected at least 0. Pass another --margin.")
    mine, theirs = (_equity(one, after) for one in (log, reference))
    common = sorted(set(mine) & set(theirs))
    if len(common) <= LEAST:
        raise TooFew(
            f"{counted(max(0, len(common) - 1), 'session')} that {log.folder.name} and {reference.folder.name} have in "
            f"common: expected at least {LEAST}. Let both see more of the same sessions."
        )
    difference = np.diff([mine[at] - theirs[at] for at in common])
    return Against(
        name=log.folder.name,
        reference=reference.folder.name,
        sessions=len(difference),
        mean_bps=BPS * float(difference.mean()),
        margin_bps=margin_bps,
        harm=harm(difference),
        non_inferior=non_inferiority(difference, margin_bps / BPS),
    )


def _equity(log: ShadowLog, after: str) -> dict[Any, float]:
    """Logarithm of equity by the session that was decided on; what a ruined account has left grows no more."""
    rows = [row for row in log.decided if str(row["snapshot"])[:10] > after]
    found = {row["snapshot"]: row["equity_usd"] for row in rows}
    if strange := [at for at, equity in found.items() if equity is None or not math.isfinite(equity)]:
        raise ShadowError(
            f"shadow account {log.folder.name} has equity {found[strange[0]]} at {strange[0]}: expected US dollars. "
            "Begin a new shadow account."
        )
    return {at: math.log(max(equity, 1e-9)) for at, equity in found.items()}
