"""What the evaluation of a run leaves behind: backtests, figures of its critic and its luck, comparison, report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
from clstm_core.errors import ArtifactError, EvaluationError


@dataclass(frozen=True, kw_only=True)
class BacktestManifest(Manifest):
    """One policy's account over one window: what was traded on what, and what came of it."""

    kind: ClassVar[str] = "backtest"
    words: ClassVar[str] = "backtest"
    remedy: ClassVar[str] = "Run it again."
    error: ClassVar[type[ArtifactError]] = EvaluationError
    version: ClassVar[int] = 2

    id: str
    created_at: str
    facts: JsonObject
    summary: JsonObject

    def flat(self) -> dict[str, Any]:
        """Facts, summary and files as one object, as readers of a backtest know it."""
        return {
            **self.facts,
            "id": self.id,
            "created_at": self.created_at,
            "files": dict(self.files),
            "parents": dict(self.parents),
            "summary": dict(self.summary),
        }

    def rows(self) -> Rows:
        facts = self.facts
        row = {
            **self.summary,
            **facts,
            "backtest_id": self.id,
            "created_at": self.created_at,
            "window": facts["window"]["name"],
            "folder": f"backtests/{self.id}",
            "quotes_path": facts["quotes"]["path"],
            "quotes_sha256": facts["quotes"]["sha256"],
        }
        found: Rows = {"backtests": [row]}
        if row.get("run"):
            variant = f"{facts['fill_rule']}/{facts['fill_lag']}"
            found["trials"] = [{**row, "variant": variant, "recorded_at": self.created_at}]
        return found


@dataclass(frozen=True, kw_only=True)
class BacktestSet(Manifest):
    """The backtests that one asset left for a run; its parents are they, by id."""

    kind: ClassVar[str] = "backtest_set"
    words: ClassVar[str] = "set of backtests"
    remedy: ClassVar[str] = "Materialize the backtests of this run again."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    run: str
    made_from: str
    ids: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class CriticManifest(Manifest):
    """What the champion's critic foresees of rewards that come, by window and span."""

    kind: ClassVar[str] = "critic"
    words: ClassVar[str] = "critic's figures"
    remedy: ClassVar[str] = "Materialize critic_foresight for this run again."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    run: str
    made_from: str
    milestone: str
    rows_by_window: Sequence[JsonObject]  # train.critic's Foresight


@dataclass(frozen=True, kw_only=True)
class FairWalkManifest(Manifest):
    """The baselines walked through fair worlds of a market."""

    kind: ClassVar[str] = "fair_walk"
    words: ClassVar[str] = "baselines in fair worlds"
    remedy: ClassVar[str] = "Materialize baseline_luck again."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    made_from: str
    worlds: int


@dataclass(frozen=True, kw_only=True)
class LuckManifest(Manifest):
    """The champion's place among fair worlds of its test window, and the proof that they are fair."""

    kind: ClassVar[str] = "luck"
    words: ClassVar[str] = "fair-world test"
    remedy: ClassVar[str] = "Materialize fair_worlds for this run again."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    run: str
    made_from: str
    luck: JsonObject | None  # evaluation's Luck; None where the window cannot be judged
    proof: JsonObject | None
    why_not: str = ""


@dataclass(frozen=True, kw_only=True)
class ComparisonManifest(Manifest):
    """The ladder against the baselines, and what may be said of it."""

    kind: ClassVar[str] = "comparison"
    words: ClassVar[str] = "comparison"
    remedy: ClassVar[str] = "Materialize checkpoint_comparison for this run first."
    error: ClassVar[type[ArtifactError]] = EvaluationError
    version: ClassVar[int] = 2

    run: str
    comparison: JsonObject  # evaluation's Comparison

    @property
    def champion(self) -> dict[str, Any]:
        """The rung that is judged; empty where no checkpoint was backtested. It is a champion where it `qualified`."""
        return self.comparison["champion"] or {}

    @property
    def qualified(self) -> bool:
        """Whether the judged rung is a champion: False where no rung qualifies, or none is said to."""
        return bool(self.champion.get("qualified", False))

    def rows(self) -> Rows:
        run = {
            "run": self.run,
            "verdict": self.comparison["verdict"],
            "champion_milestone": self.champion.get("milestone") if self.qualified else None,
        }
        pairs = [{**pair, "run": self.run} for pair in self.comparison["pairs"]]
        return {"comparisons": pairs, "runs": [run]}


@dataclass(frozen=True, kw_only=True)
class ConventionsManifest(Manifest):
    """What conventions that nobody may judge by would have bought the judged policy, and how it bears delay and spread.

    sins, delays, costs, break_evens: `evaluation.conventions.rows`; tilt, tilt_months: `evaluation.tilt`; answers: what
    they say, by subject; apart, wrong, worst_usd: what the checks found, which accounts that nobody wrote cannot tell
    """

    kind: ClassVar[str] = "conventions"
    words: ClassVar[str] = "convention sweeps"
    remedy: ClassVar[str] = "Materialize convention_sweeps for this run again."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    run: str
    made_from: str
    policy: str
    label: str | None
    sins: Sequence[JsonObject]
    delays: Sequence[JsonObject]
    costs: Sequence[JsonObject]
    break_evens: Sequence[JsonObject]
    tilt: Sequence[JsonObject]
    tilt_months: Sequence[JsonObject]
    answers: Mapping[str, str]
    apart: Sequence[str]
    wrong: Sequence[str]
    worst_usd: float

    def rows(self) -> Rows:
        shared = {"run": self.run, "label": self.label}
        sins = [
            {
                **row,
                **shared,
                "sweep": "sin",
                "variant": row["sin"],
                "possible": row["sin"] == "clean",
                "metric": f"sharpe per {row['per']}",
                "estimate": row["inflation"],
            }
            for row in self.sins
        ]
        delays = [
            {
                **row,
                **shared,
                "sweep": "delay",
                "variant": str(row["fill_lag"]),
                "metric": f"log growth less the clean walk's, percent {row['span']}",
                "estimate": row["growth_less_clean"],
            }
            for row in self.delays
        ]
        costs = [{**row, **shared, "sweep": "spread", "variant": row["paid"], "possible": True} for row in self.costs]
        evens = [
            {**row, **shared, "sweep": "break_even", "variant": "break_even", "possible": True}
            for row in self.break_evens
        ]
        tilts = [{**row, **shared, "policy": self.policy, "month": ""} for row in self.tilt]
        months = [{**row, **shared, "policy": self.policy} for row in self.tilt_months]
        return {"convention_sweeps": [*sins, *delays, *costs, *evens], "tilt_and_timing": [*tilts, *months]}


@dataclass(frozen=True, kw_only=True)
class EvidenceManifest(Manifest):
    """What a report shows, computed once."""

    kind: ClassVar[str] = "evidence"
    words: ClassVar[str] = "evidence"
    remedy: ClassVar[str] = "Materialize backtest_report for this run again."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    run: str


@dataclass(frozen=True, kw_only=True)
class ReportManifest(Manifest):
    """A rendered page."""

    kind: ClassVar[str] = "report"
    words: ClassVar[str] = "report"
    remedy: ClassVar[str] = "Materialize backtest_report for this run again."

    run: str
    path: str  # relative to the data folder
    sha256: str  # of the page
    url: str
    label: str | None
    verdict: str | None
    figures: int
    bytes: int
    created_at: str

    def rows(self) -> Rows:
        names = ("run", "path", "url", "label", "verdict", "figures", "bytes", "created_at")
        return {"reports": [{name: getattr(self, name) for name in names}]}
