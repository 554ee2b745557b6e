"""What a report is made from: plain lists and dicts, so that any source can fill it and any test can make one up."""

from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One account through the held-out window.

    Units: dates as ISO text, equity in USD at mid marks, None where unknown
    """

    name: str
    dates: list[str]
    equity: list[float | None]
    is_policy: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportData:
    """Everything one report shows. Every list may be empty and every value None: its panel then says so in a sentence.

    label:       "real quotes", "modelled quotes" or "simulated quotes"; shown in every figure
    spread:      "quoted" or "modelled"
    backtests:   rows of the store's `backtests`: the judged policy, the ladder and the baselines, both fill lags
    attribution: one row a month: month, delta_usd, gamma_usd, ..., residual_usd
    actions:     action, count, share
    ladder:      rows of the store's `comparisons`
    overfitting: a row a rung: milestone, in_sample_bps, held_out_bps, gap, gap_low, gap_high; the answer in words
    training:    rows of the store's `training_metrics`, in order
    gates, exports: rows of `gate_results` and `exports`; parity: a row a runtime; quality: rows of findings
    """

    run: str
    generated_at: str = ""
    label: str | None = None
    spread: str | None = None
    trained_on: str | None = None
    trained_label: str | None = None
    n_sessions: int | None = None
    first_date: str | None = None
    last_date: str | None = None
    policy_name: str = "policy"
    verdict: str | None = None
    verdict_points: list[str] = field(default_factory=list)
    provenance: list[tuple[str, str]] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    backtests: Rows = field(default_factory=list)
    attribution: Rows = field(default_factory=list)
    actions: Rows = field(default_factory=list)
    ladder: Rows = field(default_factory=list)
    overfitting: Rows = field(default_factory=list)
    overfitting_answer: str = ""
    trial_count: int | None = None
    training: Rows = field(default_factory=list)
    gates: Rows = field(default_factory=list)
    quality: Rows = field(default_factory=list)
    exports: Rows = field(default_factory=list)
    parity: Rows = field(default_factory=list)

    @property
    def data_label(self) -> str:
        """For example `modelled quotes, modelled spread`."""
        label = self.label or "quotes of unknown origin"
        return f"{label}, {self.spread} spread" if self.spread else label
