"""What a proof says, and what all of them say together."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clstm_core.errors import AuditError


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The worst deviation that one check of a proof saw, in units of what it tolerates: above 1 it fails."""

    check: str
    statistic: float
    threshold: float
    detail: str = ""

    @property
    def ratio(self) -> float:
        """Statistic over threshold; infinite for NaN, and for anything above a threshold of zero."""
        if self.statistic != self.statistic:
            return float("inf")
        if self.threshold > 0:
            return self.statistic / self.threshold
        return float("inf") if self.statistic > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ProofResult:
    """One named proof: passed when no check's statistic exceeds its threshold."""

    name: str
    passed: bool
    statistic: float  # of the check nearest to (or furthest beyond) its threshold
    threshold: float
    detail: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; a statistic that is no number becomes None."""
        finite = abs(self.statistic) < float("inf")
        return {
            "name": self.name,
            "passed": self.passed,
            "statistic": self.statistic if finite else None,
            "threshold": self.threshold,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """Every proof's verdict on one market and configuration."""

    proofs: tuple[ProofResult, ...]
    size: str
    market: str  # source and label of the market that proofs 1, 3, 4 and 6 ran on

    @property
    def passed(self) -> bool:
        """Whether training may start."""
        return all(proof.passed for proof in self.proofs)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the proofs that do not hold."""
        return tuple(proof.name for proof in self.proofs if not proof.passed)

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        seconds = sum(proof.seconds for proof in self.proofs)
        if self.passed:
            return f"All {len(self.proofs)} proofs hold on {self.market} ({self.size}, {seconds:.0f} s)."
        return f"The market can be cheated: {', '.join(self.failed)} failed on {self.market} ({self.size})."

    def to_dict(self) -> dict[str, Any]:
        """The whole verdict in plain JSON types."""
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "size": self.size,
            "market": self.market,
            "proofs": [proof.to_dict() for proof in self.proofs],
        }


def prove(name: str, check: Callable[[], list[Finding]]) -> ProofResult:
    """Run one proof and keep the finding nearest to failing, with every failed check named in the detail.

    An exception inside a proof is a failed proof, not a crash: an environment that cannot be stepped is not proven.
    """
    began = time.perf_counter()
    try:
        findings = check()
    except Exception as error:
        detail = f"could not be run: {type(error).__name__}: {error}"
        seconds = time.perf_counter() - began
        return ProofResult(
            name=name, passed=False, statistic=float("inf"), threshold=0.0, detail=detail, seconds=seconds
        )
    if not findings:
        raise AuditError(f"proof {name} checked nothing: expected at least one finding. Give it a longer market.")
    worst = max(findings, key=lambda finding: finding.ratio)
    failed = [finding for finding in findings if finding.ratio > 1.0]
    lines = [
        f"{f.check}: {f.statistic:.3g} (limit {f.threshold:.3g}){' ' + f.detail if f.detail else ''}"
        for f in (failed or [worst])
    ]
    return ProofResult(
        name=name,
        passed=not failed,
        statistic=float(worst.statistic),
        threshold=float(worst.threshold),
        detail=("" if failed else f"{len(findings)} checks, nearest: ") + "; ".join(lines[:8]),
        seconds=time.perf_counter() - began,
    )
