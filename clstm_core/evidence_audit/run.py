"""The whole audit of a run's evidence, check by check."""

from collections.abc import Callable, Iterator

import polars as pl

from clstm_core.errors import ClstmError
from clstm_core.evidence_audit.account import account_recomputed
from clstm_core.evidence_audit.case import Case
from clstm_core.evidence_audit.choice import champion_on_validation, costs_charged, headline_fills_later
from clstm_core.evidence_audit.figures import figures_recomputed
from clstm_core.evidence_audit.finding import Finding
from clstm_core.evidence_audit.fits import fits_on_training_dates
from clstm_core.evidence_audit.names import CHECKS
from clstm_core.evidence_audit.observations import observations_rebuilt
from clstm_core.evidence_audit.superiority import superiority_recomputed
from clstm_core.evidence_audit.sureness import statistics_recomputed
from clstm_core.evidence_audit.windows import training_dates, windows_disjoint

AUDITS: dict[str, Callable[[Case], Finding]] = {
    "windows_disjoint": windows_disjoint,
    "training_dates": training_dates,
    "fits_on_training_dates": fits_on_training_dates,
    "observations_rebuilt": observations_rebuilt,
    "champion_on_validation": champion_on_validation,
    "headline_fills_later": headline_fills_later,
    "costs_charged": costs_charged,
    "figures_recomputed": figures_recomputed,
    "account_recomputed": account_recomputed,
    "statistics_recomputed": statistics_recomputed,
    "superiority_recomputed": superiority_recomputed,
}
"""Each check by its name, in the order of `names.CHECKS`."""


def audit_evidence(case: Case, progress: Callable[[int, int], None] | None = None) -> Iterator[Finding]:
    """Each check's finding, one by one.

    Evidence of a shape that a check cannot read is no evidence: that check fails, and says so.
    """
    for done, name in enumerate(CHECKS, start=1):
        yield _asked(name, case)
        if progress is not None:
            progress(done, len(CHECKS))


def _asked(name: str, case: Case) -> Finding:
    try:
        return AUDITS[name](case)
    except ClstmError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, pl.exceptions.PolarsError) as error:
        said = f"{name} could not be asked: {type(error).__name__}: {error}"
        return Finding(name=name, counted=1, wrong=[said], words="")
