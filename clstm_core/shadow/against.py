"""Two shadow accounts on the same sessions: whether one does harm beside the other, or may take its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from clstm_core.errors import ShadowError
from clstm_core.evaluation.e_process import ENOUGH, Evidence, harm, non_inferiority
from clstm_core.plural import counted
from clstm_core.shadow.log import ShadowLog

BPS, LEAST = 1e4, 21
MOST = 1e6  # evidence beyond it is shown as this


@dataclass(frozen=True, kw_only=True, slots=True)
class Against:
    """What daily differences of growth say of an account beside a reference.

    sessions: steps that both lived from the same session to the same session
    mean_bps: growth of the account less the reference's, per session
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
    Raises: ShadowError for a negative margin, or too few sessions that both were decided on
    """
    if not margin_bps >= 0.0:
        raise ShadowError(f"margin {margin_bps:g} bp: expected at least 0. Pass another --margin.")
    mine, theirs = (
        _growth([row for row in one.decided if str(row["snapshot"])[:10] > after]) for one in (log, reference)
    )
    common = sorted(set(mine) & set(theirs))
    if len(common) < LEAST:
        raise ShadowError(
            f"{counted(len(common), 'session')} that {log.folder.name} and {reference.folder.name} have in common: "
            f"expected at least {LEAST}. Let both see more of the same sessions."
        )
    difference = np.array([mine[step] - theirs[step] for step in common])
    return Against(
        name=log.folder.name,
        reference=reference.folder.name,
        sessions=len(common),
        mean_bps=BPS * float(difference.mean()),
        margin_bps=margin_bps,
        harm=harm(difference),
        non_inferior=non_inferiority(difference, margin_bps / BPS),
    )


def _growth(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, Any], float]:
    """Log growth by the sessions that it leads from and to; what a ruined account has left grows no more."""
    equity = np.log(np.maximum([row["equity_usd"] for row in rows], 1e-9))
    at = [row["snapshot"] for row in rows]
    return {step: float(grown) for step, grown in zip(pairwise(at), np.diff(equity), strict=True)}
