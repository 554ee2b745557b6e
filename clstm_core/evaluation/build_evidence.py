"""From a run's backtests, comparison and records to its `Evidence`: what is shown, chosen and added up once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from clstm_core.evaluation.attribution import beyond_cash, by_month, residual_share
from clstm_core.evaluation.compare import Comparison
from clstm_core.evaluation.evidence import Curve, Evidence, Rows
from clstm_core.evaluation.figures import FIGURE
from clstm_core.evaluation.generalisation import generalises, growth, home_of, share_of_rule, words_of
from clstm_core.evaluation.glossary import glossary
from clstm_core.evaluation.habits import WORDS, sentence
from clstm_core.evaluation.headline import headline_of, judged_of
from clstm_core.evaluation.judged import judged_account
from clstm_core.evaluation.pairing import group
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.summary import action_counts
from clstm_core.evaluation.worlds import across_worlds

PROVENANCE = {
    "recipe": "recipe",
    "seed": "seed",
    "env_steps": "env steps",
    "data_sha256": "market tensors",
    "training_data_sha256": "training market",
    "quotes_sha256": "quotes file",
    "config_sha256": "configuration",
    "git_commit": "git commit",
    "champion_milestone": "checkpoint judged, % of the run",
}
"""Facts of a run (or else of the judged backtest's manifest) that a reader can walk back by, and their names."""

_MANIFEST_FACTS = (
    *("name", "policy", "milestone", "mode", "first_date", "last_date", "n_snapshots", "source", "label", "spread"),
    *("fill_rule", "fill_fraction", "fill_lag", "seed", "data_sha256", "config_sha256", "git_commit"),
)
_SEVERITIES = ("error", "warning", "info")
_LADDER_ORDER = ("milestone", "against", "metric", "mode")

Records = Iterable[Mapping[str, Any]]


def build_evidence(
    *,
    run: str,
    facts: Mapping[str, Any],
    comparison: Comparison | Mapping[str, Any] | None,
    results: Sequence[Backtest],
    twin: Sequence[Backtest] = (),
    stressed: Sequence[Backtest] = (),
    training_rows: Records = (),
    gates: Records = (),
    exports: Records = (),
    parity: Records = (),
    latency: Records = (),
    findings: Records = (),
    realism: Mapping[str, Any] | None = None,
    critic: Records = (),
    luck: Mapping[str, Any] | None = None,
    generalisation: Sequence[Mapping[str, Any]] = (),
    habits: Sequence[Mapping[str, Any]] = (),
    rules: Sequence[Mapping[str, Any]] = (),
    controls: Sequence[Mapping[str, Any]] = (),
    controls_words: str = "",
    conventions: Mapping[str, Any] | None = None,
    trials: int | None = None,
    implied: Mapping[str, float] | None = None,
    discount: float | None = None,
    generated_at: str = "",
) -> Evidence:
    """Everything there is about a run, as a report shows it; what is missing stays empty.

    Args:
        facts: of the run: recipe, seed, label, spread, trained_on, trained_label, env_steps, hashes, git_commit, ...
        comparison: of exactly these results; its champion is the policy that is judged
        results: of the run's checkpoints and baselines; twin, stressed: of the worlds beside it
        training_rows: of metrics.jsonl; gates: of gate_results; findings: of the quotes' findings table
        critic: what the champion's critic foresees, by window and span
        luck: the champion's place among fair worlds, where it was walked through them
        generalisation: what each rung earns in each kind of market; habits: what each does on fresh worlds; rules: what
                        the best fixed rules earn there
        controls: what the recipe finds in worlds whose edge is known, and that in words
        conventions: content of the manifest of the convention sweeps, where they were made
        realism: the outside judge's verdict, bands, indices and volatility, where there is one
        exports: files of the bundle; parity, latency: of the bundle's manifest
        trials: the registry's count of policies that looked at the test window; the comparison's when left out
        implied: implied volatility of the market by ISO date, to tell calm from wild by; realised where left out
        discount: of the critic's rewards per session, to judge what it foresaw by
        generated_at: shown as when it was made

    Raises: EvaluationError when the comparison's champion is none of the results, or a policy comes twice
    """
    said = comparison.to_dict() if isinstance(comparison, Comparison) else dict(comparison or {})
    champion, overfitting = said.get("champion"), said.get("overfitting") or {}
    groups = group(results) if results else {}
    window, members = "", []
    if groups:
        headline = headline_of(groups)
        window, members = headline.window, groups[headline]
    judged = judged_of(members, champion)
    drawn = [judged] if judged else []
    drawn += [member for member in members if member.manifest["policy"] != "checkpoint"]
    mine = _row(judged) if judged else {}
    known = {name: value for source in (mine, facts) for name, value in source.items() if value is not None}
    if champion:
        known["champion_milestone"] = champion["milestone"]
    months = _rows(beyond_cash(by_month(_first_episode(judged, "equity")).to_dicts())) if judged else []
    return Evidence(
        run=run,
        generated_at=generated_at,
        label=mine.get("label") or facts.get("label"),
        spread=known.get("spread"),
        trained_on=facts.get("trained_on"),
        trained_label=facts.get("trained_label"),
        n_sessions=mine.get("n_snapshots") or facts.get("heldout_snapshots"),
        first_date=mine.get("first_date"),
        last_date=mine.get("last_date"),
        policy_name=judged.name if judged else "policy",
        verdict=said.get("verdict") or facts.get("verdict"),
        verdict_points=[str(note) for note in said.get("notes") or []],
        provenance=[
            (words, str(known[name])) for name, words in PROVENANCE.items() if known.get(name) not in (None, "")
        ],
        curves=[_curve(result, is_policy=result is judged) for result in drawn],
        backtests=_rows(
            {**_row(result), "headline": result.id in {member.id for member in drawn}}
            for result in results
            if result.manifest["window"]["name"] == window
        ),
        twin=_rows(map(_row, twin)),
        stressed=_rows(map(_row, stressed)),
        worlds=_worlds(drawn, twin, stressed),
        attribution=months,
        residual_share=residual_share(months),
        actions=_actions(judged) if judged else [],
        glossary=_glossary(judged, drawn) if judged else [],
        **(_account(judged, implied or {}, discount) if judged else {}),
        **_figures(said.get("account") or {}),
        statistics=_plain(said.get("statistics") or {}),
        ladder=sorted(_rows(said.get("pairs") or []), key=lambda pair: [str(pair.get(name)) for name in _LADDER_ORDER]),
        overfitting=_rows(map(_gap, overfitting.get("rows") or [])),
        overfitting_answer=str(overfitting.get("answer") or ""),
        trial_count=said.get("trials") if trials is None else trials,
        training=_rows(training_rows),
        gates=_rows(gates),
        quality=sorted(_rows(findings), key=_gravity),
        realism_verdict=(realism or {}).get("verdict"),
        realism=_rows((realism or {}).get("bands") or []),
        realism_indices=_rows((realism or {}).get("indices") or []),
        realism_volatility=_rows((realism or {}).get("volatility") or []),
        critic=_rows(critic),
        luck=_rows((luck or {}).get("placed") or []),
        luck_ratios=[float(ratio) for ratio in (luck or {}).get("ratios") or []],
        generalisation=_rows(_earned(row, home_of(generalisation)) for row in generalisation),
        generalisation_answer=generalises(generalisation).words if generalisation else "",
        **_habits(habits, champion),
        controls=_rows(controls),
        controls_words=controls_words,
        rules=_rows(rules),
        rules_words=share_of_rule(generalisation, rules, champion["milestone"] if champion else None),
        **_swept(conventions or {}),
        exports=_rows({name: value for name, value in row.items() if name != "folder"} for row in exports),
        parity=_with_latency(_rows(parity), _rows(latency)),
    )


def _worlds(drawn: Sequence[Backtest], twin: Sequence[Backtest], stressed: Sequence[Backtest]) -> Rows:
    """The drawn policies in the market and its companions; empty where it has none."""
    if not (twin or stressed):
        return []
    worlds = {"calibrated": drawn, "zero-premium": twin, "stressed": stressed}
    return _rows(across_worlds(worlds, [member.name for member in drawn]))


def _row(result: Backtest) -> dict[str, Any]:
    """What a backtest was and its figures; where it lies is left out."""
    m = result.manifest
    return {
        "backtest_id": result.id,
        "window": m["window"]["name"],
        **{name: m.get(name) for name in _MANIFEST_FACTS},
        "quotes_sha256": (m.get("quotes") or {}).get("sha256"),
        **{name: m["summary"].get(name) for name in FIGURE},
    }


def _first_episode(result: Backtest, table: str) -> pl.DataFrame:
    """A ledger's first account: what is drawn of a policy that played several."""
    frame = result.table(table)
    return frame.filter(pl.col("episode") == pl.col("episode").min())


def _curve(result: Backtest, *, is_policy: bool) -> Curve:
    equity = _first_episode(result, "equity").sort("step")
    return Curve(
        name=result.name,
        dates=equity["snapshot"].dt.date().cast(pl.String).to_list(),
        equity=equity["equity_usd"].fill_nan(None).to_list(),
        is_policy=is_policy,
    )


def _account(result: Backtest, implied: Mapping[str, float], discount: float | None) -> dict[str, Any]:
    """What is shown of the judged account alone, as plain JSON types."""
    equity = _first_episode(result, "equity")
    # an account that never traded has no fills: another's are not its own
    mine = pl.col("episode") == equity["episode"][0]
    tables = {name: result.table(name).filter(mine) for name in ("fills", "positions", "decisions")}
    simulated = str(result.manifest.get("label") or "simulated").startswith("simulated")
    found = judged_account(
        {"equity": equity, **tables}, result.manifest.get("env") or {}, implied, simulated=simulated, discount=discount
    )
    return {name: _rows(value) if isinstance(value, list) else value for name, value in found.items()}


def _figures(account: Mapping[str, Records]) -> dict[str, Any]:
    """The judged account's tear sheet, years, months and falls, as the comparison says them."""
    return {name: _rows(rows) for name, rows in account.items()}


def _actions(result: Backtest) -> Rows:
    decisions = _first_episode(result, "decisions")
    return [
        {"action": name, "count": count, "share": count / decisions.height} for name, count in action_counts(decisions)
    ]


def _glossary(judged: Backtest, drawn: Sequence[Backtest]) -> Rows:
    """What the actions that were chosen and the baselines that are drawn mean."""
    labels = {
        result.name: str((result.manifest.get("trader") or {}).get("label") or "")
        for result in drawn
        if result.manifest["policy"] != "checkpoint"
    }
    known = {name: label for name, label in labels.items() if label}
    return glossary(
        (row["action"] for row in _actions(judged)), known, (judged.manifest.get("env") or {}).get("risk_fraction")
    )


def _gap(row: Mapping[str, Any]) -> dict[str, Any]:
    """A rung's in-sample and held-out profit, the interval of their difference laid flat."""
    gap = row.get("gap") or {}
    return {**row, "gap": gap.get("estimate"), "gap_low": gap.get("low"), "gap_high": gap.get("high")}


def _earned(row: Mapping[str, Any], home: str) -> dict[str, Any]:
    """What was earned in one kind of market, with its name in words and its interval."""
    found = growth(row)
    plain = {name: value for name, value in row.items() if name != "actions"}
    return {"where": words_of(row["kind"], home), **plain, "low_bps": found.low, "high_bps": found.high}


def _habits(habits: Sequence[Mapping[str, Any]], champion: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the judged rung does, or the last one where none is judged: a row per action, and a sentence."""
    rung = champion["milestone"] if champion else max((row["milestone"] for row in habits), default="")
    mine = [row for row in habits if row["milestone"] == rung]
    shares = {row["tercile"]: row["actions"] for row in mine}
    names = sorted(
        {name for actions in shares.values() for name in actions},
        key=lambda name: -sum(actions.get(name, 0.0) for actions in shares.values()),
    )
    rows = [
        {"action": WORDS.get(name, name), **{tercile: actions.get(name, 0.0) for tercile, actions in shares.items()}}
        for name in names
    ]
    return {"habits": _rows(rows), "habits_words": sentence(mine)}


def _swept(conventions: Mapping[str, Any]) -> dict[str, Any]:
    """What the convention sweeps came to, and what they say."""
    rows = ("sins", "delays", "costs", "break_evens", "tilt", "tilt_months")
    said = conventions.get("answers") or {}
    found: dict[str, Any] = {name: _rows(conventions.get(name) or []) for name in rows}
    return found | {f"{name}_words": str(said.get(name) or "") for name in ("sins", "delays", "costs", "tilt")}


def _gravity(finding: Mapping[str, Any]) -> int:
    severity = str(finding.get("severity"))
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _with_latency(parity: Rows, latency: Rows) -> Rows:
    """Parity rows, each with its runtime's latency."""
    of_runtime = {row.get("runtime"): row for row in latency}
    return [{**of_runtime.get(row.get("runtime"), {}), **row} for row in parity]


def _rows(records: Records) -> Rows:
    """Records as plain JSON types, every one with every key: what is no finite number is None, times are their text."""
    rows = [{str(name): _plain(value) for name, value in record.items()} for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
