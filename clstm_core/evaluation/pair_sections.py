"""The tables of two runs side by side, as text: outcome, data, figures, intervals, and the settings that differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clstm_core.artifacts.places import DIGITS
from clstm_core.evaluation import words
from clstm_core.evaluation.figures import COSTS, FIGURE, LIMITS, PERFORMANCE
from clstm_core.evaluation.generalisation import ARGMAX, growth, home_of, words_of
from clstm_core.evaluation.headline import judged_pairs
from clstm_core.evaluation.judged_run import JudgedRun
from clstm_core.evaluation.run_list import champion_words, outcome_words


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A table of two runs: what it is of, and rows of a name and the text of either run."""

    title: str
    rows: list[tuple[str, str, str]]
    note: str = ""


def sections_of(one: JudgedRun, other: JudgedRun) -> list[Section]:
    """Every table, the one that matters most first."""
    return [
        Section(title="Outcome", rows=_outcome(one, other)),
        Section(title="Data", rows=_data(one, other)),
        Section(title="Figures of the judged account", rows=_figures(one, other)),
        Section(
            title="Against the baselines",
            rows=_against(one, other),
            note="Growth beyond each baseline on the run's own test window, with its 95% interval.",
        ),
        Section(
            title="Growth beyond cash by kind of market",
            rows=_earned(one, other),
            note="Basis points per session with their 95% intervals, of the likeliest action.",
        ),
        Section(
            title="Settings that differ",
            rows=settings_that_differ(one.inputs.config, other.inputs.config),
            note="All other settings are the same.",
        ),
    ]


def settings_that_differ(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Settings of two configurations that differ, rooms within by their path, e.g. `env.horizon`."""
    left, right = dict(_flat(a)), dict(_flat(b))
    names = [name for name in {**left, **right} if left.get(name) != right.get(name)]
    return [(name, _text(left.get(name)), _text(right.get(name))) for name in names]


def window_words(m: Mapping[str, Any]) -> str:
    return f"{m['first_date']} to {m['last_date']} ({m['n_snapshots']:,} sessions)"


def fill_words(m: Mapping[str, Any]) -> str:
    return f"{'at the next session' if m['fill_lag'] else 'at the decision'}, {words.fill_rule(m)}"


def _outcome(*sides: JudgedRun) -> list[tuple[str, str, str]]:
    rows = {
        "outcome": [outcome_words(side.comparison) for side in sides],
        "champion": [champion_words(side.champion) for side in sides],
        "its env steps": [_text(side.champion.get("env_steps")) for side in sides],
        "chosen because": [str(side.champion.get("reason", "")) for side in sides],
        "policies that looked at the window": [_text(side.comparison.get("trials")) for side in sides],
        "verdict": [str(side.comparison["verdict"]) for side in sides],
    }
    return [(name, a, b) for name, (a, b) in rows.items()]


def _data(*sides: JudgedRun) -> list[tuple[str, str, str]]:
    facts = [
        {
            "judged on": words.data_label(side.manifest),
            "window": window_words(side.manifest),
            "fills": fill_words(side.manifest),
            "market tensors": str(side.inputs.data_sha256 or "")[:DIGITS],
            "trained on": str(side.inputs.facts.get("trained_on", "")),
            "training tensors": str(side.inputs.training_data_sha256 or "")[:DIGITS],
            "git commit": side.inputs.git_commit[:DIGITS],
        }
        for side in sides
    ]
    return [(name, facts[0][name], facts[1][name]) for name in facts[0]]


def _figures(*sides: JudgedRun) -> list[tuple[str, str, str]]:
    rows = []
    for name in (*PERFORMANCE, *COSTS, *LIMITS):
        figure = FIGURE[name]
        a, b = (_cell(side.manifest["summary"].get(name), figure.kind) for side in sides)
        rows.append((figure.heading or name.replace("_", " "), a, b))
    return rows


def _against(*sides: JudgedRun) -> list[tuple[str, str, str]]:
    said = [
        {pair["against"]: _beyond(pair) for pair in judged_pairs(side.comparison["pairs"], side.champion)}
        for side in sides
    ]
    names = dict.fromkeys(name for claims in said for name in claims)
    return [(words.plain(name), said[0].get(name, ""), said[1].get(name, "")) for name in names]


def _beyond(pair: Mapping[str, Any]) -> str:
    """A paired difference in percent with its interval and what follows: `+0.8% per year (-1.6 to +3.0): ...`."""
    relation, low, high = words.relation_of(pair).removesuffix(" of"), pair["ci_low"], pair["ci_high"]
    percent, span = words.percent_of(pair["n_dates"])
    mean = f"{pair['estimate'] * percent:+.1f}% {span}"
    if low is None or high is None:
        return f"{mean}: too short to distinguish"
    return f"{mean} ({low * percent:+.1f} to {high * percent:+.1f}): {relation.removesuffix(' from')}"


def _earned(one: JudgedRun, other: JudgedRun) -> list[tuple[str, str, str]]:
    """Growth beyond cash of the judged rungs in each kind of market, of runs that were walked through them."""
    said = []
    for side in (one, other):
        rows = side.generalisation
        mine = [row for row in rows if (row["milestone"], row["mode"]) == (side.champion["milestone"], ARGMAX)]
        said.append({words_of(row["kind"], home_of(rows)): str(growth(row)) for row in mine})
    names = dict.fromkeys(name for found in said for name in found)
    return [(name, said[0].get(name, "not measured"), said[1].get(name, "not measured")) for name in names]


def _flat(room: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in room.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _cell(value: Any, kind: str) -> str:
    """A figure as a person reads it."""
    if value is None:
        return "unknown"
    if kind == "percent":
        return f"{value:.2%}"
    return f"{value:,.0f}" if kind in ("usd", "count") else f"{value:.3g}"
