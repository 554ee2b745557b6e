"""Every kind of manifest that passes between stages, what each says, and the rows it has in the metrics store.

quotes <- tensors <- audit verdict <- run inputs <- checkpoint <- backtest <- backtest set <- comparison
                                             set of backtests <- luck <- comparison <- bundle, evidence <- report
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifest import Manifest, Rows
from clstm_core.errors import ArtifactError, BundleError, CheckpointError, EvaluationError, MarketDataError
from clstm_core.specs import RUNGS

JsonObject = Mapping[str, Any]
_FORMATS = {".safetensors": "safetensors", ".ts": "torchscript", ".onnx": "onnx", ".json": "json", ".md": "markdown"}


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


@dataclass(frozen=True, kw_only=True)
class RunInputs(Manifest):
    """What a training run is made from: its configuration, its market and the verdict that let it begin."""

    kind: ClassVar[str] = "run_inputs"
    words: ClassVar[str] = "run inputs"
    remedy: ClassVar[str] = "Materialize warm_critic for this run first."
    error: ClassVar[type[ArtifactError]] = ArtifactError

    run: str
    config: JsonObject  # RunConfig
    config_sha256: str
    git_commit: str
    facts: JsonObject = field(default_factory=dict)  # source, label, spread, trained_on, quotes_sha256, ...

    @property
    def data_sha256(self) -> str | None:
        """Identity of the tensors that backtests trade."""
        return self.parents.get("tensors")

    @property
    def training_data_sha256(self) -> str | None:
        """Identity of the tensors trained on."""
        return self.parents.get("training_tensors")

    def rows(self) -> Rows:
        config = self.config
        row = {
            "run": self.run,
            "folder": f"runs/{self.run}",
            **{name: config.get(name) for name in ("recipe", "seed", "device", "timesteps")},
            **self.facts,
            "data_sha256": self.data_sha256,
            "training_data_sha256": self.training_data_sha256,
            "config": config,
            "config_sha256": self.config_sha256,
            "git_commit": self.git_commit,
        }
        return {"runs": [row]}


@dataclass(frozen=True, kw_only=True)
class RunStatus(Manifest):
    """How far a training run came: running, stopped, failed or finished."""

    kind: ClassVar[str] = "run_status"
    words: ClassVar[str] = "run status"
    remedy: ClassVar[str] = "Materialize trained_policy for this run again."

    run: str
    status: str
    started_at: str | None = None
    finished_at: str | None = None
    env_steps: int | None = None
    iterations: int | None = None
    seconds: float | None = None
    reason: str = ""

    def rows(self) -> Rows:
        names = ("run", "status", "started_at", "finished_at", "env_steps", "iterations", "seconds")
        return {"runs": [{name: getattr(self, name) for name in names}]}


@dataclass(frozen=True, kw_only=True)
class CheckpointManifest(Manifest):
    """One rung of a run's ladder, or the place that a killed run goes on from."""

    kind: ClassVar[str] = "checkpoint"
    words: ClassVar[str] = "checkpoint"
    remedy: ClassVar[str] = "Delete it and resume the run from another checkpoint."
    error: ClassVar[type[ArtifactError]] = CheckpointError
    version: ClassVar[int] = 2

    run: str
    milestone: str
    env_steps: int
    iteration: int
    git_commit: str
    memory_sessions: int | None = None  # decisions after which the policy forgets; None: as its configuration says

    def rows(self) -> Rows:
        if self.milestone not in RUNGS:
            return {}
        row = {
            **{name: getattr(self, name) for name in ("run", "milestone", "env_steps", "iteration", "git_commit")},
            "memory_sessions": self.memory_sessions,
            "folder": f"runs/{self.run}/checkpoints/{self.milestone}",
            "model_sha256": self.files.get("model.safetensors"),
            "manifest_sha256": self.identity,
            "data_sha256": self.parents.get("training_tensors"),
        }
        return {"checkpoints": [row]}


@dataclass(frozen=True, kw_only=True)
class GateResults(Manifest):
    """The results of one asset's checks for one run."""

    kind: ClassVar[str] = "gate_results"
    words: ClassVar[str] = "check results"
    remedy: ClassVar[str] = "Materialize the asset again."

    run: str
    gate: str
    data_sha256: str
    results: Sequence[JsonObject]
    recorded_at: str

    def rows(self) -> Rows:
        shared = {name: getattr(self, name) for name in ("run", "gate", "data_sha256", "recorded_at")}
        return {"gate_results": [{**result, **shared} for result in self.results]}


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

    run: str
    comparison: JsonObject  # evaluation's Comparison

    @property
    def champion(self) -> dict[str, Any]:
        """The chosen rung; empty where no checkpoint was backtested."""
        return self.comparison["champion"] or {}

    def rows(self) -> Rows:
        run = {
            "run": self.run,
            "verdict": self.comparison["verdict"],
            "champion_milestone": self.champion.get("milestone"),
        }
        pairs = [{**pair, "run": self.run} for pair in self.comparison["pairs"]]
        return {"comparisons": pairs, "runs": [run]}


@dataclass(frozen=True, kw_only=True)
class EvidenceManifest(Manifest):
    """What a report shows, computed once."""

    kind: ClassVar[str] = "evidence"
    words: ClassVar[str] = "evidence"
    remedy: ClassVar[str] = "Materialize backtest_report for this run again."
    error: ClassVar[type[ArtifactError]] = EvaluationError

    run: str


@dataclass(frozen=True, kw_only=True)
class BundleManifest(Manifest):
    """A policy to deploy: its graphs, its schema, and the proof that it is the policy that was judged.

    The ONNX files carry `facts_sha256`, and the manifest carries the hashes of the ONNX files: neither can be altered
    alone.
    """

    kind: ClassVar[str] = "bundle"
    words: ClassVar[str] = "bundle"
    remedy: ClassVar[str] = "Materialize policy_bundle again."
    error: ClassVar[type[ArtifactError]] = BundleError
    version: ClassVar[int] = 3

    run: str
    created: str
    made_from: str
    policy: JsonObject
    provenance: JsonObject
    schema: JsonObject
    schema_sha256: str
    memory_sessions: int  # decisions after which the policy forgets
    graphs: JsonObject
    shapes: JsonObject
    opset: int
    versions: Mapping[str, str]
    parity: Sequence[JsonObject]
    latency: Sequence[JsonObject]
    golden: JsonObject
    bytes: Mapping[str, int]

    @property
    def facts_sha256(self) -> str:
        """Hash of all that it says but hashes and sizes of the ONNX files, which carry this hash."""
        content = self.content()
        for name in ("files", "bytes"):
            content[name] = {file: fact for file, fact in content[name].items() if not file.endswith(".onnx")}
        return json_sha256(content)

    def rows(self) -> Rows:
        latency = {row["runtime"]: row for row in self.latency}
        rows = []
        for name, digest in self.files.items():
            runtime = {"policy.onnx": "onnx", "policy.ts": "torchscript"}.get(name)
            row = {
                "run": self.run,
                "file": name,
                "format": _FORMATS.get(Path(name).suffix),
                "milestone": self.policy.get("milestone"),
                "folder": f"bundles/{self.run}",
                "sha256": digest,
                "bytes": self.bytes.get(name),
                "created_at": self.created,
                "memory_sessions": self.memory_sessions,
                "manifest_sha256": self.identity,
            }
            compared = [row for row in self.parity if row["runtime"] == runtime]
            if compared:
                row |= {
                    "parity_passed": all(item["passed"] for item in compared),
                    "parity_steps": max(item["steps"] for item in compared),
                    "parity_action_differences": sum(item["actions_differing"] for item in compared),
                    "parity_max_logit_difference": max(item["max_logit_difference"] for item in compared),
                    "latency_p50_us": latency.get(str(runtime), {}).get("p50_us"),
                    "latency_p99_us": latency.get(str(runtime), {}).get("p99_us"),
                }
            rows.append(row)
        return {"exports": rows}


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


def proves(verdict: AuditVerdict, tensors: str, env: JsonObject, code: str) -> bool:
    """Whether a verdict says that exactly this market is proven: these tensors, this account, this code."""
    same = (verdict.parents.get("tensors"), json_sha256(verdict.env), verdict.code) == (tensors, json_sha256(env), code)
    return same and verdict.passed and all(proof["passed"] for proof in verdict.proofs)
