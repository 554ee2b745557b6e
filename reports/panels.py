"""The panels of a report, top to bottom: charts and tables where there is something to show, a sentence where not."""

from typing import Any

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.figures import COSTS, LIMITS, PERFORMANCE, columns
from clstm_core.plural import counted
from reports import figures
from reports.account_panels import (
    attribution_panel,
    book_panel,
    excess_panel,
    present,
    regimes_panel,
    returns_panel,
    trips_panel,
)
from reports.charts import NOTHING, Panel, Table, table
from reports.convention_panels import costs_panel, delay_panel, sins_panel, tilt_panel
from reports.critic_figures import calibration_chart
from reports.generalisation_figures import NOTHING as UNMEASURED
from reports.generalisation_figures import (
    figures_table,
    generalisation_charts,
    habits_table,
    rules_table,
)
from reports.ladder_figures import ladder_chart, overfitting_chart, with_rung
from reports.luck_figures import CONTROLS_TITLE, controls_table, luck_chart, luck_sentence, luck_span
from reports.realism_figures import realism_charts
from reports.sureness_figures import sureness_panel
from reports.training_figures import PUBLISHED_NOTE, training_charts
from reports.worlds_figures import worlds_chart, worlds_table

AUDIT, EVIDENCE_AUDIT = "environment_audit", "evidence_audit"
NAME = {"name": ("policy", "")}


def panels_of(data: Evidence) -> list[Panel]:
    """Every panel below the verdict box."""
    return [
        excess_panel(data),
        _equity(data),
        sureness_panel(data),
        _luck(data),
        _worlds(data),
        sins_panel(data),
        costs_panel(data),
        delay_panel(data),
        attribution_panel(data),
        tilt_panel(data),
        returns_panel(data),
        regimes_panel(data),
        book_panel(data),
        _trading(data),
        trips_panel(data),
        _fill_lag(data),
        _ladder(data),
        _generalisation(data),
        _training(data),
        _critic(data),
        _realism(data),
        _gates(data),
        _quality(data),
        _bundle(data),
    ]


def _headline(data: Evidence) -> list[dict[str, Any]]:
    """Backtests of the curves that are drawn: the headline's fill lag, the policy first."""
    names = [curve.name for curve in figures.ordered(data.curves)]
    rows = [row for row in data.backtests if row.get("headline")]
    return sorted(rows, key=lambda row: names.index(row["name"]) if row.get("name") in names else len(names))


def _equity(data: Evidence) -> Panel:
    rows, charts = _headline(data), figures.equity_charts(data)
    message = "" if charts else "No curve to draw: no backtest of this run has two or more sessions yet."
    tables = [("Performance", table(rows, NAME | columns(PERFORMANCE)))] if rows else []
    return Panel(
        id="equity", title="Equity and drawdown against baselines", message=message, charts=charts, tables=tables
    )


def _luck(data: Evidence) -> Panel:
    shown = {
        "against": ("against", ""),
        "observed": (f"ratio on the test window, {luck_span(data)}", ""),
        "luck_median": ("median of luck", ""),
        "luck_high": ("luck exceeds this in 2.5% of worlds", ""),
        "worlds": ("worlds", "count"),
        "p": ("p", "percent"),
        "p_adjusted": ("p, Holm", "percent"),
        "level": ("asked", "percent"),
    }
    tables = [("Against each baseline", table(data.luck, shown))] if data.luck else []
    if data.controls:
        tables.append((CONTROLS_TITLE, controls_table(data.controls)))
    return Panel(
        id="luck",
        title="Skill or luck?",
        message=luck_sentence(data),
        charts=present(luck_chart(data)),
        tables=tables,
    )


def _worlds(data: Evidence) -> Panel:
    charts = present(worlds_chart(data))
    tables = [("Return and distance from cash", worlds_table(data))] if data.worlds else []
    message = (
        "The same index path and contracts, priced by other assumptions. Zero-premium: options cost what the index's "
        "moves were worth, so what is earned there is not a premium. Stressed: spreads are twice as wide and "
        "volatility at the money is a point lower, so what is lost there came from the model's prices."
    )
    if not tables:
        message = "No other worlds: the quotes of this market are not a model's, or were not traded at others yet."
    return Panel(id="worlds", title="Does it hold under other prices?", message=message, charts=charts, tables=tables)


def _trading(data: Evidence) -> Panel:
    rows, charts = _headline(data), present(figures.action_chart(data))
    message = "" if charts else "No decision of the policy was recorded yet."
    shown = (("Fills and costs", COSTS), ("Largest uses of the risk budget, shares of equity", LIMITS))
    tables = [(title, table(rows, NAME | columns(names))) for title, names in shown] if rows else []
    if data.glossary:
        meanings = {"name": ("name", ""), "kind": ("of", ""), "meaning": ("what it does", "")}
        tables.append(("What the names mean: near and far are the two tenors", table(data.glossary, meanings)))
    return Panel(id="trading", title="What was traded", message=message, charts=charts, tables=tables)


def _fill_lag(data: Evidence) -> Panel:
    charts = present(figures.lag_chart(data))
    message = "" if charts else "No comparison of fill lags: no policy was backtested at both lag 0 and lag 1."
    return Panel(id="fill-lag", title="Fill lag 0 against 1", message=message, charts=charts)


def _ladder(data: Evidence) -> Panel:
    charts = present(ladder_chart(data), overfitting_chart(data))
    count = "not recorded" if data.trial_count is None else f"{data.trial_count:,}"
    trials = f"Trials on record (checkpoint x mode x seed x configuration ever evaluated on this window): {count}."
    missing = "" if charts else "No comparison of checkpoints: none was made, or the window was too short. "
    shown = {
        "against": ("against", ""),
        "policy_name": ("policy", ""),
        "window": ("window", ""),
        "fill_lag": ("fill lag", "count"),
        "fill_rule": ("fills", ""),
        "metric": ("metric", ""),
        "estimate": ("estimate", ""),
        "ci_low": ("from", ""),
        "ci_high": ("to", ""),
        "p_value": ("luck p", "percent"),
        "n_dates": ("dates", "count"),
        "verdict": ("in words", ""),
    }
    latest = max((row["fill_lag"] for row in data.ladder if row.get("fill_lag") is not None), default=None)
    rest = [
        row
        for row in data.ladder
        if (row.get("champion") or row.get("policy_name") == data.policy_name)
        and row.get("mode") in (None, "", "argmax")
        and row.get("fill_lag") == latest
    ]
    tables = [("The judged checkpoint against each other policy", table(rest, shown))] if rest else []
    return Panel(id="ladder", title="Checkpoint ladder", message=missing + trials, charts=charts, tables=tables)


def _generalisation(data: Evidence) -> Panel:
    title, charts = "Does it generalise?", generalisation_charts(data)
    if not data.generalisation:
        return Panel(id="generalisation", title=title, message=UNMEASURED)
    tables = [("What the policy does on fresh worlds (simulated quotes)", habits_table(data))] if data.habits else []
    tables.append(("Growth in each kind of market (worlds: simulated quotes)", figures_table(data)))
    if data.rules:
        tables.append(("The best fixed rules on fresh worlds (simulated quotes)", rules_table(data)))
    said = (data.generalisation_answer, data.rules_words, data.habits_words)
    message = "\n".join(words for words in said if words)
    return Panel(id="generalisation", title=title, message=message, charts=charts, tables=tables)


def _training(data: Evidence) -> Panel:
    charts = training_charts(data)
    message = (
        f"Broken grey lines: {PUBLISHED_NOTE}. They are no target; a click on a legend entry hides its line, so that "
        "the axis fits the rest."
    )
    if not charts:
        message = "No training metrics: this run has logged no iteration yet."
    return Panel(id="training", title="Training diagnostics", message=message, charts=charts)


def _critic(data: Evidence) -> Panel:
    shown = {
        "window": ("dates", ""),
        "span": ("sessions", "count"),
        "explained_variance": ("explained variance", ""),
        "correlation": ("correlation", ""),
        "ceiling": ("ceiling (linear)", ""),
        "constant": ("constant critic", ""),
        "per_episode": ("constants per episode", ""),
        "shuffled": ("shuffled", ""),
        "shuffled_correlation": ("shuffled: correlation", ""),
        "pairs": ("pairs", "count"),
    }
    message = (
        "The critic's value V is what it expects of all rewards to come. What it foresees of the next sessions is V "
        "less the discounted V after them; here that is compared with the rewards that came. A critic that says the "
        "same everywhere explains nothing of their variance and scores 0; below 0, its changes mislead. The ceiling is "
        "a linear fit of those rewards to what the encoder sees, made on training dates; the shuffled critic has its "
        "values in another order."
    )
    charts = present(calibration_chart(data))
    if not data.critic and not charts:
        return Panel(id="critic", title="Does the critic foresee rewards?", message="The critic was not judged.")
    tables = [("The judged checkpoint's critic", table(data.critic, shown))] if data.critic else []
    return Panel(id="critic", title="Does the critic foresee rewards?", message=message, charts=charts, tables=tables)


def _realism(data: Evidence) -> Panel:
    shown = {
        "name": ("figure", ""),
        "ours": ("these quotes", ""),
        "outside": ("published", ""),
        "within": ("band", ""),
        "unit": ("unit", ""),
        "holds": ("holds", ""),
    }
    bands = [row for row in data.realism if row.get("ours") is not None and row.get("check") != "volatility_level"]
    tables = [("Figures from outside", table(bands, shown))] if bands else []
    message = data.realism_verdict or "These quotes were not judged from outside."
    return Panel(
        id="realism",
        title="Is the market true?",
        message=message,
        charts=realism_charts(data),
        tables=tables,
    )


def _gates(data: Evidence) -> Panel:
    shown = {
        "name": ("check", ""),
        "market": ("market", ""),
        "passed": ("passed", ""),
        "blocking": ("blocks", ""),
        "statistic": ("found", ""),
        "threshold": ("limit", ""),
        "detail": ("detail", ""),
    }
    failed = [row for row in data.gates if row.get("passed") is False]
    blocking = sum(1 for row in failed if row.get("blocking"))
    message = f"{counted(len(data.gates), 'check')}, {len(failed)} failed, {blocking} of them blocking."
    if data.parity:
        message += f" {len(data.parity)} more, of parity, stand under Bundle and parity."
    if not data.gates:
        message = "No check has been made for this run yet."
    audit = _with_market(data, [row for row in data.gates if row.get("gate") == AUDIT])
    evidence = [row for row in data.gates if row.get("gate") == EVIDENCE_AUDIT]
    others = [row for row in data.gates if row.get("gate") not in (AUDIT, EVIDENCE_AUDIT)]
    parts = (
        ("Environment audit: can the market be cheated?", audit, shown),
        ("Evidence audit: does it follow from the past, from training dates and from the books?", evidence, shown),
        ("Checks of every stage", others, {"gate": ("stage", ""), **shown}),
    )
    tables = [(caption, _dropping_empty(rows, names)) for caption, rows, names in parts if rows]
    return Panel(id="gates", title="Gates", message=message, tables=tables)


def _with_market(data: Evidence, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Proofs with the market that each is of, in the provenance's words, where there are several."""
    if len({row.get("data_sha256") for row in rows}) < 2:
        return rows
    known = {identity: name for name, identity in data.provenance}
    return [{**row, "market": known.get(str(row.get("data_sha256")), NOTHING)} for row in rows]


def _quality(data: Evidence) -> Panel:
    shown = {
        "check": ("fault", ""),
        "severity": ("severity", ""),
        "count": ("rows", "count"),
        "share": ("share", "percent"),
        "snapshots": ("sessions", ""),
        "detail": ("detail", ""),
    }
    message = "" if data.quality else "No quality findings were recorded for this data."
    tables = [("Faults found in the data", table(data.quality, shown))] if data.quality else []
    return Panel(id="quality", title="Data quality", message=message, tables=tables)


def _bundle(data: Evidence) -> Panel:
    files = {
        "file": ("file", ""),
        "format": ("format", ""),
        "rung": ("rung", ""),
        "bytes": ("bytes", "count"),
        "sha256": ("sha256", ""),
    }
    parity = {
        "runtime": ("runtime", ""),
        "batch": ("batch", "count"),
        "steps": ("recurrent steps", "count"),
        "actions_differing": ("other actions", "count"),
        "max_logit_difference": ("largest logit difference", ""),
        "p50_us": ("p50, us", ""),
        "p99_us": ("p99, us", ""),
        "passed": ("passed", ""),
    }
    tables: list[tuple[str, Table]] = []
    if data.parity:
        tables.append(("Parity with the trained policy", _dropping_empty(data.parity, parity)))
    if data.exports:
        tables.append(("Files", _dropping_empty(with_rung(data.exports), files)))
    message = "" if tables else "No bundle has been exported from this run yet."
    return Panel(id="bundle", title="Bundle and parity", message=message, tables=tables)


def _dropping_empty(rows: list[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> Table:
    """The table without columns that no row fills."""
    filled = {k: v for k, v in columns.items() if any(row.get(k) not in (None, "", NOTHING) for row in rows)}
    return table(rows, filled)
