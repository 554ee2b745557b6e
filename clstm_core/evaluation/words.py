"""What a comparison may claim, in plain words: `not distinguishable` whenever it is so, and never without its data."""

from collections.abc import Mapping, Sequence
from typing import Any

from clstm_core.evaluation.statistics import MIN_OBSERVATIONS, PERIODS_PER_YEAR, YEAR_OF_RETURNS
from clstm_core.plural import counted

GENERATED = "worlds"
"""What a checkpoint names as its source that was trained in generated worlds (`market.worlds.training`)."""

BEATS_UNSTRESSED = "is ahead, but not in the stressed world, of"
UNTESTED = "is ahead, untested against luck, of"
UNSTRESSED = "is ahead, further than luck reaches, but was not tried in the stressed world, of"
WITHIN_LUCK = "is ahead, but no further than luck reaches, of"


_SHORT = {
    "put_write": "PUT",
    "buy_write": "BXM",
    "buy_write_30": "BXMD",
    "condor": "CNDR",
    "strangle_half_premium": "strangle to half premium",
    "strangle_early": "strangle closed early",
}
"""Baselines that have a shorter name than their own."""


def fill_rule(facts: Mapping[str, Any]) -> str:
    """`touch`, or `fraction 0.56` (of the half-spread), of a manifest or a configuration."""
    return "touch" if facts["fill_rule"] == "touch" else f"fraction {facts['fill_fraction']:g}"


def data_label(manifest: Mapping[str, Any]) -> str:
    """What the quotes are, e.g. `modelled quotes (sp500_modelled, spread modelled), smile and spreads assumed`."""
    label, source = manifest.get("label") or "quotes of unknown origin", manifest.get("source") or "unnamed source"
    text = f"{label} ({source}, spread {manifest.get('spread') or 'unknown'})"
    if "real" in label:
        return text
    fair = manifest.get("premium") is False
    if "modelled" in label:
        return f"{text}, {'no variance premium' if fair else 'smile and spreads assumed'}"
    return f"{text}, {'no variance premium (P = Q)' if fair else 'premium assumed'}"


def claim(pair: Mapping[str, Any]) -> str:
    """One paired difference with its interval, in percent of log return: `beats cash (+2.5% per year, ...)`.

    Assumes: estimate and interval in basis points per session
    """
    relation = f"{relation_of(pair)} {plain(pair['against'])}"
    low, high = pair["ci_low"], pair["ci_high"]
    if low is None or high is None:
        return f"{relation} ({counted(pair['n_dates'], 'return')})"
    percent, span = percent_of(pair["n_dates"])
    low, high, estimate = (value * percent for value in (low, high, pair["estimate"]))
    said = f"{estimate:+.1f}% {span}, {pair['confidence']:.0%} CI {low:+.1f}% to {high:+.1f}%"
    if pair.get("p_value") is not None:
        said += f", luck p = {pair['p_value']:.1%}"
    return f"{relation} ({said})"


def percent_of(n_returns: int) -> tuple[float, str]:
    """What turns basis points per session into percent, and of what: a year, or a window that is shorter than one."""
    if n_returns >= YEAR_OF_RETURNS:
        return PERIODS_PER_YEAR / 1e4 * 100.0, "per year"
    return n_returns / 1e4 * 100.0, f"over the {n_returns} sessions"


def relation(low: float | None, high: float | None) -> str:
    """`beats`, `trails`, `not distinguishable from`, or `too short to distinguish from`, by the interval alone."""
    if low is None or high is None:
        return "too short to distinguish from"
    return "beats" if low > 0 else "trails" if high < 0 else "not distinguishable from"


def relation_of(pair: Mapping[str, Any]) -> str:
    """The relation of a paired difference.

    `beats` only where fair worlds hold it to be more than luck and the stressed world's interval says so too; where
    neither was asked, the interval stands alone. `unstressed`: of a modelled market's that the stressed world was not
    asked about, so that nothing is called beaten.
    """
    plain_relation = relation(pair["ci_low"], pair["ci_high"])
    if plain_relation != "beats":
        return plain_relation
    if not pair.get("beyond_luck", True):
        return UNTESTED if pair.get("p_value") is None else WITHIN_LUCK
    if pair.get("unstressed"):
        return UNSTRESSED
    if "stressed_ci_low" not in pair:
        return plain_relation
    return "beats" if relation(pair["stressed_ci_low"], pair["stressed_ci_high"]) == "beats" else BEATS_UNSTRESSED


def beats(pair: Mapping[str, Any]) -> bool:
    """Whether it may be said that a policy beats a baseline."""
    return relation_of(pair) == "beats"


def verdict(
    champion: Mapping[str, Any] | None,
    *,
    reason: str,
    qualified: bool = True,
    against: Mapping[str, Mapping[str, Any]],
    cash_return: float | None,
    without_lag: Mapping[str, Any] | None,
    trials: int,
    label: str,
    luck: Mapping[str, Any] | None = None,
) -> str:
    """What the champion's test window shows, and on what evidence, in a few sentences.

    Args:
        champion: manifest of its backtest on the test window; None when no checkpoint was backtested
        reason: why this rung is the champion
        qualified: False where no rung qualifies, and this one is shown all the same
        against: paired differences by baseline, as `claim` takes them
        without_lag: manifest of the same policy filled at the decision's own snapshot
        luck: its place against cash among fair worlds, as `fair_worlds.Placed`
    """
    if champion is None:
        return f"No checkpoint was backtested: baselines only. Data: {label}."
    m, outcome = champion, champion["summary"]
    sessions = f"{m['n_snapshots']} sessions, {m['first_date']} to {m['last_date']}"
    beside = f", cash {cash_return:+.1%}" if cash_return is not None else ""
    why = reason if qualified else "the last one, shown for want of a champion: unqualified"
    earned = f"{_rung(m)} ({why}) returned {outcome['total_return']:+.1%}{beside} over the test window ({sessions})"
    parts = [f"{earned}: {_claims(against)}."]
    if not qualified:
        parts.insert(0, f"{reason[:1].upper()}{reason[1:]}.")
    if outcome["n_fills"] == 0:
        parts.append("It made no trade: it is cash.")
    if outcome["n_ruined"]:
        parts.append("It was ruined.")
    if outcome["n_returns"] < MIN_OBSERVATIONS:
        parts.append(
            f"{counted(outcome['n_returns'], 'daily return is', 'daily returns are')} too few to tell skill from luck "
            f"(no interval below {MIN_OBSERVATIONS})."
        )
    if luck is not None:
        parts.append(_lucky(luck))
    lag = "at the next session's quotes" if m["fill_lag"] else "at the decision's own quotes"
    fills = f"Orders fill {lag}, {fill_rule(m)}"
    if without_lag is not None and m["fill_lag"]:
        fills += f"; at the decision's own quotes it returned {without_lag['summary']['total_return']:+.1%}"
    parts.append(f"{fills}.")
    parts.append(f"Data: {label}. {_training(m)} Policies that looked at this window: {trials}.")
    return " ".join(parts)


def _lucky(placed: Mapping[str, Any]) -> str:
    """How often luck alone looked at least as good."""
    count = round(placed["p"] * (1 + placed["worlds"])) - 1
    return (
        f"In {count} of {placed['worlds']:,} fair worlds of this window, where nothing can be earned before costs, it "
        f"looked at least this good against cash (p = {placed['p']:.1%}; {placed['level']:.1%} is asked)."
    )


def _claims(against: Mapping[str, Mapping[str, Any]]) -> str:
    """Cash and buy and hold with their intervals, then the other baselines by what can be said of them."""
    if not against:
        return "no baseline to compare with"
    first = [name for name in ("cash", "buy_and_hold") if name in against] or list(against)[:1]
    said = [claim(against[name]) for name in first]
    others: dict[str, list[str]] = {}
    for name, pair in against.items():
        if name not in first:
            others.setdefault(relation_of(pair), []).append(plain(name))
    said += [f"{relation_to} {', '.join(names)}" for relation_to, names in others.items()]
    return "; ".join(said)


def overfitting(rows: Sequence[Mapping[str, Any]]) -> str:
    """The answer to `did early checkpoints overfit less?`, from each rung's gap less the last rung's."""
    changes = [row for row in rows if row["gap_less_last"]]
    if not changes:
        return "Did early checkpoints overfit less? Not answered: it takes two rungs and an in-sample window."
    first = changes[0]
    change = first["gap_less_last"]
    low, high = change["low"], change["high"]
    if low is None or high is None:
        return (
            "Did early checkpoints overfit less? Too short to distinguish "
            f"({counted(change['n_returns'], 'return')} per window)."
        )
    percent, span = percent_of(change["n_returns"])
    figures = (
        f"gap of {rung_name(first['milestone'])} less the last rung's {change['estimate'] * percent:+.1f}% {span}, "
        f"{change['confidence']:.0%} CI {low * percent:+.1f}% to {high * percent:+.1f}%"
    )
    told = sum(row["gap_less_last"]["sign"] != 0 for row in changes)
    answer = {1: "No: more", -1: "Yes", 0: "Not distinguishable"}[change["sign"]]
    others = f"{told} of {len(changes)} earlier rungs differ from the last one"
    return f"Did early checkpoints overfit less? {answer} ({figures}; {others})."


def _rung(manifest: Mapping[str, Any]) -> str:
    steps = manifest["trader"]["checkpoint"].get("env_steps")
    return rung_name(manifest["milestone"]).capitalize() + (f" ({steps:,} env steps)" if steps else "")


def rung_name(milestone: object) -> str:
    """A rung of the ladder as a reader knows it: that of folder 060 is `checkpoint 60%`."""
    return f"checkpoint {percent_of_run(milestone)}"


def percent_of_run(milestone: object) -> str:
    """How far into the run a rung is: 060 is `60%`."""
    return f"{int(str(milestone))}%" if str(milestone).isdigit() else str(milestone)


def _training(manifest: Mapping[str, Any]) -> str:
    checkpoint = manifest["trader"]["checkpoint"]
    trained_on, label = checkpoint.get("trained_on"), checkpoint.get("trained_label")
    if not trained_on:
        return "What it was trained on is not recorded."
    if trained_on == GENERATED:
        return f"Trained in generated worlds made of training days ({label})."
    if trained_on == manifest.get("source"):
        return f"Trained on earlier sessions of {trained_on}."
    return f"Trained on {trained_on}" + (f" ({label})" if label else "") + f", never on {manifest.get('source')}."


def plain(name: str) -> str:
    """A policy's name as a reader knows it."""
    return _SHORT.get(name, name.replace("_", " "))
