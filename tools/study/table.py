"""A study's rows as a Markdown table: the last rung of each cell, seeds averaged."""

from collections.abc import Sequence
from typing import Any

KINDS = {
    "training_worlds": "training worlds",
    "training_dates": "training dates",
    "fresh_worlds": "fresh worlds",
    "validation_worlds": "worlds of validation days",
    "validation_dates": "validation dates",
}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line per cell and number of steps; growth in basis points per session beyond cash, with standard errors."""
    head = ["cell", "steps", "seeds", *KINDS.values(), "gap to fresh", "per risk, fresh", "KL", "clipped", "entropy"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    order = dict.fromkeys((row["cell"], row["steps"]) for row in rows)
    for cell, steps in order:
        found = [row for row in rows if (row["cell"], row["steps"]) == (cell, steps)]
        last = [_last_rung(row) for row in found]
        cells = [cell, f"{steps:,}", str(len(found))]
        cells += [_mean([each.get(kind) for each in last], "growth_bps", "error_bps") for kind in KINDS]
        fresh = [each.get("fresh_worlds") for each in last]
        cells += [_mean(fresh, "gap_bps", "gap_error_bps"), _mean(fresh, "per_risk", None, "+.3f")]
        cells += [f"{sum(row[name] for row in found) / len(found):{form}}" for name, form in _TRAINING]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _last_rung(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures of a row's last rung and likeliest action, by kind."""
    return {f["kind"]: f for f in row["figures"] if (f["milestone"], f["mode"]) == ("100", "argmax")}


_TRAINING = (("kl", ".4f"), ("clip_fraction", ".0%"), ("entropy_pct", ".0f"))


def _mean(figures: Sequence[dict[str, Any] | None], name: str, error: str | None, form: str = "+.2f") -> str:
    """Mean over seeds with its standard error: between seeds where there are several, else the figure's own."""
    known = [figure for figure in figures if figure is not None and figure[name] is not None]
    if not known:
        return ""
    values = [figure[name] for figure in known]
    mean = sum(values) / len(values)
    if len(values) > 1:
        spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)) ** 0.5
        return f"{mean:{form}} ± {spread:.2f}"
    own = known[0][error] if error else None
    return f"{mean:{form}}" + (f" ± {own:.2f}" if own is not None else "")
