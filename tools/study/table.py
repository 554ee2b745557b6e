"""A study's rows as Markdown tables: the last rung of each cell, seeds averaged."""

from collections.abc import Sequence
from typing import Any

KINDS = {
    "training_worlds": "training worlds",
    "training_dates": "training dates",
    "fresh_worlds": "fresh worlds",
    "validation_worlds": "worlds of validation days",
    "validation_dates": "validation dates",
}
DATES = ("training_dates", "validation_dates")
HEAD = (
    "Growth in basis points per session beyond cash, means over seeds, with standard errors. Seeds have worlds of "
    "their own, so that the spread s between n of them is the error of what is earned there: s / sqrt(n). All share "
    "dates: there, and of a gap to them, it is sqrt(s^2 / n + mean(own error)^2). One seed has its own error."
)
OF = ("market", "code", "episodes")
SHOWN = 12  # digits of an identity


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """One table for each market, code and number of episodes: what differs in these is never averaged."""
    parts = [HEAD]
    for made_by in dict.fromkeys(tuple(row.get(name) for name in OF) for row in rows):
        market, code, episodes = made_by
        of_these = [row for row in rows if tuple(row.get(name) for name in OF) == made_by]
        # of two rows of a cell and seed, whose settings then differ, the later one stands
        mine = list({(row["cell"], row["steps"], row["seed"]): row for row in of_these}.values())
        parts.append(f"Market {str(market)[:SHOWN]}, code {str(code)[:SHOWN]}, {episodes} episodes per kind of market.")
        parts.append(table(mine))
    return "\n\n".join(parts)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line per cell and number of steps, of one market and code; its figures as `HEAD` says."""
    head = ["cell", "steps", "seeds", *KINDS.values(), "gap to fresh", "per risk, fresh", "KL", "clipped", "entropy"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cell, steps in dict.fromkeys((row["cell"], row["steps"]) for row in rows):
        found = [row for row in rows if (row["cell"], row["steps"]) == (cell, steps)]
        last = [_last_rung(row) for row in found]
        cells = [cell, f"{steps:,}", str(len(found))]
        cells += [
            _mean([each.get(kind) for each in last], "growth_bps", "error_bps", shared=kind in DATES) for kind in KINDS
        ]
        fresh = [each.get("fresh_worlds") for each in last]
        at_dates = not any("training_worlds" in each for each in last)  # the gap is to where the cell was trained
        cells += [_mean(fresh, "gap_bps", "gap_error_bps", shared=at_dates), _mean(fresh, "per_risk", None, "+.3f")]
        cells += [f"{sum(row[name] for row in found) / len(found):{form}}" for name, form in _TRAINING]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def edges(rows: Sequence[dict[str, Any]]) -> str:
    """What was found in worlds whose edge is known: one line per row, beside the best fixed rules there."""
    head = ["world", "steps", "seed", "nothing held", "growth", "per risk"]
    head += ["best rule per risk", "share", "best rule by growth", "share"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["cell"], f"{row['steps']:,}", str(row["seed"]), f"{row['idle']:.1%}"]
        cells += [f"{row['growth_bps']:+.2f} ± {row['error_bps']:.2f}", f"{row['per_risk']:.3f}"]
        for name, figure, form in (("rule_per_risk", "per_risk", ".3f"), ("rule_growth", "growth_bps", "+.2f")):
            if rule := row.get(name):
                cells += [f"{rule['rule']}, {rule[figure]:{form}}", _share(row[figure], rule[figure])]
            else:
                cells += ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _share(mine: float, best: float) -> str:
    """A share of what the best rule earns; in words where that loses, of which there is no share."""
    if best > 0:
        return f"{mine / best:.0%}"
    return "the rule loses" if mine > best else "less than the rule, which loses"


def _last_rung(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures of a row's last rung and likeliest action, by kind."""
    return {f["kind"]: f for f in row["figures"] if (f["milestone"], f["mode"]) == ("100", "argmax")}


_TRAINING = (("kl", ".4f"), ("clip_fraction", ".0%"), ("entropy_pct", ".0f"))


def _mean(
    figures: Sequence[dict[str, Any] | None],
    name: str,
    error: str | None,
    form: str = "+.2f",
    *,
    shared: bool = False,
) -> str:
    """Mean over seeds with its standard error, as `HEAD` says.

    Args:
        error: the figure's own error; None where it has none
        shared: whether all seeds were judged by the same draws, whose error no number of seeds makes smaller
    """
    known = [figure for figure in figures if figure is not None and figure[name] is not None]
    if not known:
        return ""
    values = [figure[name] for figure in known]
    mean = sum(values) / len(values)
    own = [figure[error] for figure in known if error is not None and figure[error] is not None]
    spread = 0.0
    if len(values) > 1:
        spread = sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
    if (len(values) == 1 or shared) and not own:
        return f"{mean:{form}}"
    if len(values) == 1 or shared:
        spread += (sum(own) / len(own)) ** 2
    return f"{mean:{form}} ± {spread**0.5:{form.lstrip('+')}}"
