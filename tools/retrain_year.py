"""A year of weekly retrainings on the modelled S&P 500: each challenger is proposed, and decided on by the rules.

    python -m tools.retrain_year --home FOLDER [--weeks 52] [--markdown FILE]

The first champion is a policy from scratch that a person appoints, so that there is something to train on from. Sizes
are the smoke recipe's: what is shown is the machinery and its refusals, not a policy. The first week's market is
audited; the others, made by the same code for the same account, take its verdict. The same command goes on where it
was stopped.
"""

import argparse
import json
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import read_jsonl
from clstm_core.artifacts.manifests import AuditVerdict, ChallengerManifest
from clstm_core.artifacts.manifests.decision import APPOINT, PROMOTE, REFUSE
from clstm_core.artifacts.places import Places
from clstm_core.config import FineTuneConfig
from clstm_core.feedback.promote import decide
from clstm_core.feedback.registry import WORTHY, Registry
from clstm_core.feedback.retrain import retrain
from clstm_core.feedback.standing import plan_for
from clstm_core.gate import read_tensors
from clstm_core.market.sources import open_source
from clstm_core.recipe import Recipe
from clstm_core.walk_forward.markets import proven_for, require_windows

SOURCE, RECIPE = "sp500_modelled", "smoke"
SIZES: dict[str, Any] = {"training": 504, "gate": 127, "judged": 127, "worlds": 100, "parity_steps": 60}
FIRST_STEPS, STEPS = 20 * 256, 20 * 256
FINE = FineTuneConfig(recent_sessions=252)
WEEK = timedelta(days=7)
ROWS = "weeks.jsonl"


class OneVerdict:
    """The audit of the first market, for all markets of one study."""

    def __init__(self) -> None:
        self.verdict: AuditVerdict | None = None

    def __call__(self, tensors: Path, env, audit, fold, sessions, places):
        if self.verdict is None:
            manifest, self.verdict = proven_for(tensors, env, audit, fold, sessions, places)
            return manifest, self.verdict
        manifest = read_tensors(tensors)
        require_windows(manifest, tensors, fold, sessions)
        return manifest, self.verdict


def main() -> None:
    """Retrain week after week, and say what became of each."""
    options = _parser().parse_args()
    places = Places(options.home / "data")
    rows_file, prove, recipe = options.home / ROWS, OneVerdict(), Recipe(name=RECIPE, source=SOURCE, device="cpu")
    sessions = open_source(recipe.market()).list_snapshots()
    weeks = [sessions[-1] - WEEK * back for back in range(options.weeks - 1, -1, -1)]
    _first_champion(places, recipe, weeks[0] - WEEK, prove)
    done = {row["as_of"] for row in read_jsonl(rows_file)}
    for number, day in enumerate(weeks, start=1):
        if day.isoformat() in done:
            continue
        began = time.monotonic()
        row = _week(places, recipe, day, prove) | {"seconds": round(time.monotonic() - began, 1)}
        with rows_file.open("a") as handle:
            handle.write(json.dumps(row) + "\n")
        print(
            f"{number:>2} of {len(weeks)}  {row['as_of']}  {row['seconds']:>5.0f} s  {row['outcome']}: {row['words']}"
        )
    table = markdown(read_jsonl(rows_file))
    print(table)
    if options.markdown is not None:
        options.markdown.write_text(table)


def _parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(prog="python -m tools.retrain_year", description=__doc__.splitlines()[0])
    out.add_argument("--home", type=Path, required=True, help="folder that the year works in")
    out.add_argument("--weeks", type=int, default=52, help="weeks until the newest session (52)")
    out.add_argument("--markdown", type=Path, help="file that the table is written to")
    return out


def _first_champion(places: Places, recipe: Recipe, day: date, prove: OneVerdict) -> None:
    """A policy from scratch that is appointed: by a person, as the registry says."""
    registry = Registry(places)
    if (state := registry.current()) is not None and state.champion is not None:
        return
    why = "the first champion of the year, to train on from"
    plan = plan_for(
        places, recipe, name="first", why=why, start="scratch", as_of=day.isoformat(), steps=FIRST_STEPS, **SIZES
    )
    retrain(plan, places, prove=prove)
    registry.appoint(places.bundle("first"), why)


def _week(places: Places, recipe: Recipe, day: date, prove: OneVerdict) -> dict[str, Any]:
    """One retraining, its proposal and the decision on it."""
    plan = plan_for(
        places,
        recipe,
        name=f"week-{day}",
        why=f"schedule: the week of {day}",
        start="champion",
        as_of=day.isoformat(),
        steps=STEPS,
        fine_tune=FINE,
        **SIZES,
    )
    (found,) = retrain(plan, places, prove=prove)
    row = {"as_of": day.isoformat(), "run": found.run, "outcome": found.outcome, **_figures(found)}
    if found.outcome != WORTHY:
        ended = next(stage for stage in reversed(found.stages) if not stage["passed"])
        by = list(ended.get("failed") or [ended["name"]])
        return row | {"decision": "not proposed", "refused_by": by, "words": ended["words"]}
    registry = Registry(places)
    registry.propose(found, places.bundle(found.run), plan.why)
    decision = decide(places).decision
    failed = [ruling["name"] for ruling in decision.rulings if not ruling["passed"]]
    return row | {"decision": decision.decision, "refused_by": failed, "words": decision.answer, **_ruled(decision)}


def _figures(found: ChallengerManifest) -> dict[str, Any]:
    """What the stages were decided on."""
    stages = {stage["name"]: stage for stage in found.stages}
    wanted = {
        "gain": ("gate", "gain"),
        "kl": ("kl", "kl"),
        "flips": ("golden decisions", "figure"),
        "crash_bps": ("stress: planted crash (simulated)", "figure"),
        "old_bps": ("old regimes", "figure"),
    }
    return {name: stages.get(stage, {}).get(figure) for name, (stage, figure) in wanted.items()}


def _ruled(decision: Any) -> dict[str, Any]:
    """The figures of the look that a decision cost."""
    look = decision.look
    names = ("sessions", "number_of_look", "mean_bps", "lower_bps", "wealth")
    luck = next((ruling["figure"] for ruling in decision.rulings if ruling["name"] == "not_luck"), None)
    return {name: look.get(name) for name in names} | {"luck_p": luck}


def markdown(rows: list[dict[str, Any]]) -> str:
    """The weeks as a table, the counts first."""
    decided = {name: sum(row["decision"] == name for row in rows) for name in (PROMOTE, APPOINT, REFUSE)}
    ended = {row["outcome"] for row in rows} - {WORTHY}
    counts = [f"{sum(row['outcome'] == name for row in rows)} ended at {name}" for name in sorted(ended)]
    counts += [f"{decided[REFUSE]} refused by the rules", f"{decided[PROMOTE] + decided[APPOINT]} promoted"]
    head = ["as of", "ended by", "gain of EV", "KL", "golden flips", "planted crash, bps", "old regimes, bps"]
    head += ["bps per session", "lower bound", "luck p"]
    lines = [f"{len(rows)} weeks: {', '.join(counts)}.", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        figures = [_cell(row.get(name), form) for name, form in FORMS.items()]
        why = "promoted" if row["decision"] in (PROMOTE, APPOINT) else ", ".join(row["refused_by"]).replace("_", " ")
        lines.append(f"| {row['as_of']} | {why} | " + " | ".join(figures) + " |")
    return "\n".join(lines) + "\n"


FORMS = {
    "gain": "+.4f",
    "kl": ".1e",
    "flips": ".1%",
    "crash_bps": "+.2f",
    "old_bps": "+.2f",
    "mean_bps": "+.2f",
    "lower_bps": "+.2f",
    "luck_p": ".3f",
}
"""Figures of the table, and how they are written."""


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    main()
