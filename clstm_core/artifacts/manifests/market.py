"""What a market leaves behind: quotes, tensors, and the verdicts on both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
from clstm_core.errors import ArtifactError, MarketDataError


@dataclass(frozen=True, kw_only=True)
class QuotesManifest(Manifest):
    """Canonical tables of one source: what was read, what it is called, how much was kept."""

    kind: ClassVar[str] = "quotes"
    words: ClassVar[str] = "canonical quotes"
    remedy: ClassVar[str] = "Materialize market_quotes again."
    error: ClassVar[type[ArtifactError]] = MarketDataError

    source: str
    label: str
    spread: str
    notes: Sequence[str]
    settings: JsonObject  # of the market, where they differ from the defaults; never where the files lie
    raw_files: Mapping[str, str]  # sha256 by path below the vendor's folder
    counts: JsonObject


@dataclass(frozen=True, kw_only=True)
class TensorsManifest(Manifest):
    """Market tensors: the facts that `MarketTensors.info` holds."""

    kind: ClassVar[str] = "tensors"
    words: ClassVar[str] = "market tensors"
    remedy: ClassVar[str] = "Materialize market_tensors again."
    error: ClassVar[type[ArtifactError]] = MarketDataError
    version: ClassVar[int] = 2

    info: JsonObject


@dataclass(frozen=True, kw_only=True)
class AuditVerdict(Manifest):
    """What the audit proved: on which tensors, for which account, by which code."""

    kind: ClassVar[str] = "audit_verdict"
    words: ClassVar[str] = "audit verdict"
    remedy: ClassVar[str] = "Materialize environment_audit again."
    error: ClassVar[type[ArtifactError]] = ArtifactError

    env: JsonObject  # EnvConfig
    code: str
    size: str
    passed: bool
    verdict: str
    market: str
    proofs: Sequence[JsonObject]
    recorded_at: str

    def rows(self) -> Rows:
        shared = {
            "data_sha256": self.parents["tensors"],
            "gate": "environment_audit",
            "blocking": True,
            "recorded_at": self.recorded_at,
        }
        return {"gate_results": [{**proof, **shared} for proof in self.proofs]}


@dataclass(frozen=True, kw_only=True)
class RealismVerdict(Manifest):
    """What the outside judge found in a market's quotes: ours beside what others published.

    judged: False where it failed: nothing was found, and `verdict` says why
    """

    kind: ClassVar[str] = "realism"
    words: ClassVar[str] = "realism verdict"
    remedy: ClassVar[str] = "Materialize market_realism again."

    source: str
    label: str
    verdict: str
    checks: Sequence[JsonObject]  # name, passed, asked, detail
    bands: Sequence[JsonObject]  # check, name, unit, ours, outside, within, difference, holds
    indices: Sequence[JsonObject]  # index, year, ours, published
    volatility: Sequence[JsonObject]  # year, bias, rmse, vix, sessions
    recorded_at: str
    judged: bool = True

    @property
    def passed(self) -> bool:
        """Whether every band holds that something was asked of."""
        return all(check["passed"] for check in self.checks)

    def rows(self) -> Rows:
        shared = {
            "data_sha256": self.parents["quotes"],
            "gate": "market_realism",
            "blocking": False,
            "recorded_at": self.recorded_at,
        }
        names = ("name", "passed", "detail")
        return {"gate_results": [{**{name: check[name] for name in names}, **shared} for check in self.checks]}


def proves(verdict: AuditVerdict, tensors: str, env: JsonObject, code: str) -> bool:
    """Whether a verdict says that exactly this market is proven: these tensors, this account, this code."""
    same = (verdict.parents.get("tensors"), json_sha256(verdict.env), verdict.code) == (tensors, json_sha256(env), code)
    return same and verdict.passed and all(proof["passed"] for proof in verdict.proofs)
