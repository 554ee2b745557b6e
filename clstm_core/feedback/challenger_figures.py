"""What a challenger showed, as its page has it: stages with their units, growth beyond cash, regime by regime."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clstm_core.artifacts.manifests import ChallengerManifest
from clstm_core.evaluation.regimes import TERCILES
from clstm_core.evaluation.statistics import Floats, paired_mean
from clstm_core.feedback.rules_evidence import Pairs

BPS = 1e4
ALL = "all judged days"
STRESS = "stress: "

FIGURES = {
    "gate": ("gain", "variance", "above"),
    "kl": ("kl", "nats", "at most"),
    "golden decisions": ("figure", "share", "at most"),
    f"{STRESS}planted crash (simulated)": ("figure", "bp per session", "at least"),
    "old regimes": ("figure", "bp per session", "at least"),
}
"""By stage: the name of its figure, the figure's unit, and on which side of the limit it has to lie."""

CRISIS = ("figure", "growth", "at least")
"""The same for a named stress window."""

NONE = ("", "", "")


def stage_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's row: name, passed, figure, limit, unit, side, words; None where it has no number.

    Units: unit is "variance" (a share of it), "nats" (per decision), "share", "growth" (logarithm), "bp per session"
    """
    name = str(row["name"])
    key, unit, side = FIGURES.get(name, CRISIS if name.startswith(STRESS) else NONE)
    figure, limit = (_number(row.get(which)) for which in (key, "limit"))
    if name == "kl" and (beyond := _number(row.get("beyond"))) is not None:
        figure = beyond  # the distance that ended it, not that of the weights which were put back
    return {
        "name": name,
        "passed": row["passed"] is True,
        "figure": figure,
        "limit": limit if unit else None,
        "unit": unit,
        "side": side,
        "words": str(row["words"]),
    }


def account_figures(manifest: ChallengerManifest, pairs: Pairs) -> dict[str, dict[str, float | None]]:
    """Figures of the judged days by account: challenger, champion (without one: {}), cash.

    Units: growth, beyond_cash in logarithms of equity; max_drawdown, expected_shortfall as fractions, negative;
           luck_p a probability
    """
    told = manifest.figures

    def of(growth: Floats, prefix: str) -> dict[str, float | None]:
        names = ("max_drawdown", "expected_shortfall", "luck_p")
        return {
            "growth": float(growth.sum()),
            "beyond_cash": float((growth - pairs.cash).sum()),
            **{name: _number(told.get(f"{prefix}{name}")) for name in names},
        }

    return {
        "challenger": of(pairs.challenger, "") | {"latency_p50_us": _number(told.get("latency_p50_us"))},
        "champion": of(pairs.reference, "champion_") if manifest.champion else {},
        "cash": {"growth": float(pairs.cash.sum()), "beyond_cash": 0.0},
    }


def regime_rows(pairs: Pairs) -> list[dict[str, Any]]:
    """Growth of the challenger less the champion's, or cash's, over all judged days and in each tercile of volatility.

    Units: estimate, low, high: basis points per session, at 95%; low and high are None where sessions are too few
    """
    names = np.array(pairs.regime)
    rows = []
    for name in (ALL, *TERCILES):
        at = names == name if name != ALL else np.ones(names.size, dtype=bool)
        row: dict[str, Any] = {"regime": name, "sessions": int(at.sum()), "estimate": None, "low": None, "high": None}
        if at.any():
            found = paired_mean(pairs.challenger[at], pairs.reference[at], scale=BPS)
            row |= {"estimate": found.estimate, "low": found.low, "high": found.high}
        rows.append(row)
    return rows


def days_of(manifest: ChallengerManifest, pairs: Pairs) -> dict[str, list[Any]]:
    """The judged sessions, column by column: date, log growth of challenger, champion and cash, regime.

    Without a champion there is no such column.
    """
    growth = {"challenger": pairs.challenger, "champion": pairs.reference, "cash": pairs.cash}
    if not manifest.champion:
        del growth["champion"]
    return {"date": pairs.dates, **{name: found.tolist() for name, found in growth.items()}, "regime": pairs.regime}


def _number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        return None
    return float(value)
