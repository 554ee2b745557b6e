"""The answer first: the outcome against cash in a few words, the numbers beside it, and every check that failed."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.figures import MEAN_METRIC
from clstm_core.evaluation.words import percent_of, relation, relation_of
from reports.charts import NOTHING, number
from reports.names import policy_name

CASH = "cash"
_WINDOWS = ("test", "validation", "in_sample")
_HASH = re.compile(r"[0-9a-f]{40,64}(-dirty)?")
HASH_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict as a reader takes it in: a kind that has a colour, its word, and the rest of the line after it.

    kind: beats, worse, level, ahead, unqualified, short or none
    """

    kind: str
    word: str
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """One number: what it is, its value, what goes with it, and the panel that says more."""

    name: str
    value: str
    note: str = ""
    panel: str = ""
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that did not hold, and the panel that shows it."""

    name: str
    detail: str
    panel: str
    blocking: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of provenance; `short` where the value is a hash."""

    name: str
    value: str
    short: str = ""


def outcome(data: Evidence) -> Outcome:
    """What may be said of the judged policy against cash, as `words.relation_of` says it."""
    pair = cash_pair(data)
    if pair is None:
        return Outcome("none", "No verdict yet")
    found = against_cash(relation_of(pair))
    if pair.get("champion") is False:
        said = ("" if found.kind in ("beats", "worse") else "is ") + _lower(found.word + found.rest)
        return Outcome("unqualified", "Unqualified", f": no champion; the last rung {said}")
    return found


def others(data: Evidence) -> str:
    """The other baselines in a line, as `Of 9 other baselines it beats random and trails none.`; empty without any."""
    pairs = [pair for pair in _judged(data) if pair.get("against") != CASH and pair.get("baseline", True)]
    if not pairs or all(_interval(pair) is None for pair in pairs):
        return ""
    found = {
        verb: [policy_name(str(pair["against"])) for pair in pairs if relation_of(pair) == verb]
        for verb in ("beats", "trails")
    }
    said = " and ".join(f"{verb} {', '.join(names) if names else 'none'}" for verb, names in found.items())
    return f"Of {len(pairs)} other baselines it {said}." if len(pairs) > 1 else f"It {said}."


def cash_pair(data: Evidence) -> dict[str, Any] | None:
    """The judged policy's mean difference from cash on the headline's window; None where there is none."""
    return next((pair for pair in _judged(data) if pair.get("against") == CASH), None)


def tiles(data: Evidence) -> list[Tile]:
    """The numbers that a reader looks for first."""
    row, failed = policy_row(data), failures(data)
    fees, spread = (number(row.get(key)) for key in ("fees_usd", "spread_usd"))
    paid = None if fees is None and spread is None else (fees or 0.0) + (spread or 0.0)
    window = f"{data.first_date} to {data.last_date}" if data.first_date and data.last_date else ""
    checked = sum(1 for gate in data.gates if gate.get("passed") is not None) + len(data.parity)
    cash = next((other for other in data.backtests if other.get("headline") and other.get("name") == CASH), {})
    beside = f"cash {signed_percent(cash.get('total_return'))}" if cash else ""
    return [
        Tile("total return", signed_percent(row.get("total_return")), beside, "equity"),
        _excess_tile(data),
        _sharpe_tile(data),
        Tile("largest drawdown", signed_percent(row.get("max_drawdown")), "from its own peak", "equity"),
        Tile(
            "spread and fees paid",
            NOTHING if paid is None else f"{paid:,.0f} USD",
            "" if paid is None else f"spread {spread or 0:,.0f}, fees {fees or 0:,.0f}",
            "trading",
        ),
        Tile("sessions", NOTHING if data.n_sessions is None else f"{data.n_sessions:,}", window),
        Tile("data", data.label or "unknown origin", f"{data.spread} spread" if data.spread else "", "quality"),
        Tile("checks failed", f"{len(failed)} of {checked}" if checked else NOTHING, "", "gates", bool(failed)),
    ]


def failures(data: Evidence) -> list[Failure]:
    """Every gate and parity check that did not pass, those that block first."""
    gates = [
        Failure(str(row.get("name")), str(row.get("detail") or ""), "gates", bool(row.get("blocking")))
        for row in data.gates
        if row.get("passed") is False
    ]
    parity = [
        Failure(f"parity of {row.get('runtime')}", f"batch {row.get('batch')}", "bundle", True)
        for row in data.parity
        if row.get("passed") is False
    ]
    return sorted([*gates, *parity], key=lambda failure: not failure.blocking)


def facts(pairs: list[tuple[str, str]]) -> list[Fact]:
    """Provenance with hashes cut to their first digits and counts written with commas."""
    return [_fact(name, value) for name, value in pairs]


def policy_row(data: Evidence) -> Mapping[str, Any]:
    """The judged policy's backtest in the headline; empty where there is none."""
    rows = [row for row in data.backtests if row.get("name") == data.policy_name]
    return next((row for row in rows if row.get("headline")), {})


def excess(data: Evidence) -> dict[str, Any]:
    """Excess over cash in percent with its interval, and of what: a year, or the sessions of a shorter window."""
    pair = cash_pair(data)
    estimate = number(pair.get("estimate")) if pair else None
    if pair is None or estimate is None:
        return {}
    percent, span = percent_of(int(number(pair.get("n_dates")) or 0))
    found = {"estimate": estimate * percent, "span": span, "low": None, "high": None}
    if interval := _interval(pair):
        found |= {"low": interval[0] * percent, "high": interval[1] * percent}
    return found


def summary(data: Evidence) -> dict[str, Any]:
    """What a gallery shows of a run, as plain JSON."""
    row, known = policy_row(data), dict(data.provenance)
    checks = len(data.gates) + len(data.parity)
    return {
        "outcome": asdict(outcome(data)),
        "excess": excess(data),
        **{key: number(row.get(key)) for key in ("total_return", "sharpe", "max_drawdown", "fees_usd", "spread_usd")},
        "sessions_count": data.n_sessions,
        "window": f"{data.first_date} to {data.last_date}" if data.first_date else None,
        "checks_failed": len(failures(data)) if checks else None,
        "checks": checks,
        "recipe": known.get("recipe"),
        "seed": known.get("seed"),
        "provenance": [list(pair) for pair in data.provenance],
    }


def _judged(data: Evidence) -> list[dict[str, Any]]:
    """The judged policy's mean differences in the headline: of the first window there is, at the later fill."""
    rows = [
        row
        for row in data.ladder
        if row.get("policy_name") == data.policy_name
        and row.get("metric") in (None, MEAN_METRIC)
        and number(row.get("estimate")) is not None
    ]
    if any("headline" in row for row in rows):
        rows = [row for row in rows if row.get("headline")]
    window = next((name for name in _WINDOWS if any(row.get("window") == name for row in rows)), None)
    rows = [row for row in rows if window is None or row.get("window") == window]
    latest = max((row["fill_lag"] for row in rows if row.get("fill_lag") is not None), default=None)
    return [_with_ends(row) for row in rows if row.get("fill_lag") == latest]


def _with_ends(row: Mapping[str, Any]) -> dict[str, Any]:
    """The pair with the ends of its intervals as numbers or None, as `relation_of` takes them."""
    ends = ("ci_low", "ci_high", *(key for key in ("stressed_ci_low", "stressed_ci_high") if key in row))
    return {**row, **{key: number(row.get(key)) for key in ends}}


def _interval(pair: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = number(pair.get("ci_low")), number(pair.get("ci_high"))
    return None if low is None or high is None else (low, high)


def against_cash(said: str) -> Outcome:
    """A relation to cash, as `words.relation_of` says it, as a reader takes it in."""
    known = {
        "beats": Outcome("beats", "Beats cash"),
        "trails": Outcome("worse", "Does worse than cash"),
        relation(-1.0, 1.0): Outcome("level", "Not distinguishable", " from cash"),
        relation(None, None): Outcome("short", "Too short to tell", " from cash"),
    }
    # ahead of cash by its interval, with a reason why that does not count
    reason = said.removeprefix("is ahead, ").removeprefix("but ").removesuffix(" of").removesuffix(",")
    return known.get(said) or Outcome("ahead", "Ahead of cash, not proven", f": {reason}")


def _excess_tile(data: Evidence) -> Tile:
    found = excess(data)
    if not found:
        return Tile("over cash", NOTHING, "not compared yet", "ladder")
    confidence = number((cash_pair(data) or {}).get("confidence"))
    interval = f"{confidence:.0%} interval" if confidence else "interval"
    note = "too few returns for an interval"
    if found["low"] is not None:
        note = f"{interval} {found['low']:+.1f}% to {found['high']:+.1f}%"
    span = found["span"].replace("over the ", "in ")
    return Tile(f"over cash {span}", f"{found['estimate']:+.1f}%", note, "ladder")


def _sharpe_tile(data: Evidence) -> Tile:
    """The ratio and its interval as the tear sheet has them."""
    row = next((row for row in data.tear_sheet if row.get("figure") == "Sharpe ratio"), {})
    value, low, high = (number(row.get(key)) for key in ("value", "low", "high"))
    if value is None:
        return Tile("Sharpe ratio", NOTHING, "not told of less than a year", "equity")
    note = f"95% interval {low:.2f} to {high:.2f}" if low is not None and high is not None else "per year, beyond cash"
    return Tile("Sharpe ratio", two_decimals(value), note, "excess")


def signed_percent(value: Any) -> str:
    """A fraction as `+1.2%`; a dash for what is no number."""
    found = number(value)
    return NOTHING if found is None else f"{100 * found:+.1f}%"


def two_decimals(value: Any) -> str:
    """A ratio as `0.29`; a dash for what is no number."""
    found = number(value)
    return NOTHING if found is None else f"{found:.2f}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _fact(name: str, value: str) -> Fact:
    if _HASH.fullmatch(value):
        return Fact(name, value, value[:HASH_SHOWN] + ("-dirty" if value.endswith("-dirty") else ""))
    if value.isdigit() and name != "seed":
        return Fact(name, f"{int(value):,}")
    return Fact(name, value)
