"""One page of every kind below a folder, made up, and who drew each: so that a new kind cannot be forgotten."""

import dataclasses
import pkgutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import reports
from clstm_core.artifacts.folder import write_text
from clstm_core.evaluation.evidence import Curve, Evidence
from clstm_core.evaluation.pair_sections import Section
from clstm_core.evaluation.side_by_side import SideBySide
from clstm_core.sweeps.evidence import Searched, SweepEvidence
from clstm_core.walk_forward.evidence import WalkEvidence
from reports.challenger_page import render_challengers
from reports.feedback_page import render_champion
from reports.gallery import write_gallery
from reports.render import render_report, render_single_file
from reports.shadow_page import render_shadow
from reports.side_by_side import render_pair
from reports.sweep_page import render_sweep
from reports.walk_forward import render_walk

RUN = "document.documentElement.dataset.ran = 1"
EVIL = f"""</script><script>{RUN}</script><img src=x onerror='{RUN}'><a href="javascript:{RUN}">'"&`<!--"""
"""What would run where a page did not escape it."""

CODES = {
    *("run", "first_date", "last_date", "date", "dates", "month", "period", "generated_at", "train_from", "test_from"),
    *("peak", "trough", "recovered", "milestone", "mode", "window", "metric", "kind", "figure", "world", "fill_rule"),
    *("policy", "policy_name", "name", "against", "sin", "term", "recipe", "severity"),
}
"""What pages look rows up by: other words there make other pages, not hostile ones."""

FIRST = datetime(2026, 1, 2, 21, tzinfo=UTC)


def drawers() -> dict[str, ModuleType]:
    """The modules of `reports` that draw a page from a template, by name."""
    found = {info.name: import_module(f"reports.{info.name}") for info in pkgutil.iter_modules(reports.__path__)}
    return {name: module for name, module in found.items() if hasattr(module, "template") and name != "pages"}


def draw_every_page(
    out: Path, data: Evidence, walk: WalkEvidence, text: Callable[[str], str] = str
) -> set[tuple[str, str]]:
    """Draw one page of every kind; pairs of the module and the template that drew one.

    Args:
        text: what becomes of every text of the other pages, e.g. a hostile one
    """
    drawn: set[tuple[str, str]] = set()

    def recorded(name: str, template: Callable[[str], Any]) -> Callable[[str], Any]:
        def of(file: str) -> Any:
            drawn.add((name, file))
            return template(file)

        return of

    with pytest.MonkeyPatch.context() as patch:
        for name, module in drawers().items():
            patch.setattr(module, "template", recorded(name, module.template))
        render_report(data, out)
        render_report(Evidence(run="empty"), out)
        write_text(out / "one-file.html", render_single_file(data))
        render_pair(pair(text), out)
        render_walk(walk, out)
        render_shadow(shadow_account(text), None, out)
        render_challengers(challengers_story(text), out)
        render_champion(champion_story(text), out)
        render_sweep(sweep(text), out)
        write_gallery(out)
    return drawn


def poisoned(value: Any, key: str = "") -> Any:
    """The value with what would run in every text of it that is no code or date, however deep."""
    if isinstance(value, str):
        return value if key in CODES or value.isdigit() else value + EVIL
    if isinstance(value, dict):
        return {name: poisoned(item, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(poisoned(item, key) for item in value)
    if isinstance(value, Curve):
        return dataclasses.replace(value, name=value.name + EVIL)
    if isinstance(value, (Evidence, WalkEvidence)):
        fields = {field.name: poisoned(getattr(value, field.name), field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def pair(text: Callable[[str], str] = str) -> SideBySide:
    """Two made-up runs laid side by side."""
    days = [(FIRST + timedelta(days=day), 1.0 + day / 500) for day in range(30)]
    return SideBySide(
        names=("one", "other"),
        labels=(text("modelled quotes"), text("simulated quotes")),
        answer=text("one and other are not distinguishable."),
        paired=None,
        warnings=[text("Another market.")],
        sections=[
            Section(
                title=text("Outcome"), rows=[(text("verdict"), text("level"), text("level"))], note=text("A note.")
            ),
            Section(title="Settings that differ", rows=[]),
        ],
        curves={text("one"): days, text("other"): [(at, 2.0 - value) for at, value in days]},
    )


def shadow_account(text: Callable[[str], str] = str) -> dict[str, Any]:
    """A made-up shadow account of forty sessions, one refused, as its manifest's content."""
    sessions = [
        {
            "snapshot": (FIRST + timedelta(days=day)).isoformat(),
            "kind": "refused" if day == 7 else "decided",
            "action_name": text("near_short_strangle" if day % 3 else "hold"),
            "probability": 0.4,
            "fills": day % 2,
            "equity_usd": 5e6 + 1e3 * day,
            "net_exposure": 0.1 - day / 400,
            "hedge_ratio": None if day < 3 else 0.2,
            "value": 0.01,
            "reward": None if day == 39 else 0.002,
            "regime": text("calm"),
            "switch": "ACTIVE",
            "reasons": text("stale quotes") if day == 7 else "",
            "book_vega_per_point": -200.0,
            "cash_return": 1e-4,
        }
        for day in range(40)
    ]
    drift = {"sessions": 40, "psi": 0.3, "band": text("moved"), "by_chance": 0.4, "ks": 0.2, "wasserstein": 0.3}
    facts = {
        **{"label": text("real quotes"), "qualified": False, "standing": text("UNQUALIFIED: no champion")},
        **{"run": text("demo"), "bundle": "b" * 64, "source": text("replay:spx_barchart"), "currency": text("USD")},
    }
    bins = [{"bin": at, "sessions": 8, "foreseen": at / 9, "seen": 0.1, "low": -0.2, "high": 0.4} for at in range(5)]
    return {
        "name": "account",
        "answer": text("In 39 sessions it made +0.8% in simulated fills; cash made +0.4%."),
        "switch": "ACTIVE",
        "facts": facts,
        "figures": {"decided": 39, "refused": 1, "total_return": 8e-3, "cash_total_return": 4e-3, "max_drawdown": 0.0},
        "sessions": sessions,
        "calibration": bins,
        "drift": [
            {**drift, "feature": text("return_1d"), "regime": "all", "chance": 0.01, "flagged": True},
            {**drift, "feature": "vix", "regime": "calm", "chance": None, "flagged": False},
        ],
        "changed": [
            {
                **{"snapshot": FIRST.isoformat(), "seen_at": FIRST.isoformat(), "files": text("2024-01-02.csv")},
                "reasons": text("changed: 2024-01-02.csv is gone since it was decided on"),
            }
        ],
        "drift_flagged": [text("return_1d")],
        "drift_words": text("Flagged: return 1d."),
        "regimes": [{"regime": text("calm"), "sessions": 39, "excess": 1e-5, "error": 6e-5}],
        "harm": {"words": text("Evidence stands at 0.7; 20 is enough."), "path": [1.0] * 38},
        "switches": [{"at": "", "switch": "ACTIVE", "by": text("the opening"), "reasons": text("")}],
        "log_sha256": "c" * 64,
    }


def champion_story(text: Callable[[str], str] = str) -> dict[str, Any]:
    """A made-up registry: a champion by force, a refusal with a figure of every unit, a proposal that stands."""

    def ruling(name: str, passed: bool, figure: float | None, limit: float | None, unit: str) -> dict[str, Any]:
        said = {"name": name, "passed": passed, "figure": figure, "limit": limit, "unit": unit}
        return said | {"words": text(f"what {name} found")}

    rulings = [
        ruling("qualified", True, None, None, ""),
        ruling("enough_days", True, 252, 126, "sessions"),
        ruling("fresh_look", True, 7, 52, "looks"),
        ruling("not_luck", False, 0.21, 0.025, "probability"),
        ruling("superior", False, -1.234, 0.0, "bp per session"),
        ruling("evidence", False, 1.7, 20.0, "wealth"),
        ruling("drawdown", True, 0.031, 0.05, "of equity"),
        ruling("latency", True, 84.0, 1000.0, "us"),
    ]
    old, new = ({"run": text(run), "identity": letter * 64} for run, letter in (("old", "a"), ("new", "b")))
    look = {"first": "2021-01-04", "last": "2021-12-21", "sessions": 252}
    kinds = [("propose", new, [], False), ("refuse", new, rulings, False), ("appoint", old, [], True)]
    decisions = [
        {
            **{"number": 3 - at, "decision": kind, "by": "person" if forced else "rules", "forced": forced},
            **{"reason": text("drift was flagged"), "answer": text("what came of it"), "subject": subject},
            **{"champion": old, "previous": {}, "challenger": new if at == 0 else {}, "rulings": found},
            **{"look": look if found else {}, "label": text("modelled quotes"), "created": "2022-01-03T09:00:00+00:00"},
        }
        for at, (kind, subject, found, forced) in enumerate(kinds)
    ]
    standing = {"whole": True, "standing": text("champion: the best of those that qualify"), "created": ""}
    return {
        "answer": text("old is champion, new is challenger and waits for a decision."),
        "roles": {"champion": old | standing, "challenger": new | standing, "previous": None},
        "came": {"number": 1, "created": "2022-01-03", "forced": True, "reason": text("the first of all")},
        "label": text("modelled quotes"),
        "plan": {"sessions": 126, "year_level": 0.05, "shadow": False},
        **{"plan_sha256": "c" * 64, "plan_since": "", "questions": {"superior": text("Is it better?")}},
        "decisions": decisions,
    }


def challengers_story(text: Callable[[str], str] = str) -> dict[str, Any]:
    """Made-up retrainings: two starts judged beside a champion, one that the gate ended, and one that is damaged."""

    def stage(name: str, passed: bool, figure: float | None, limit: float | None, unit: str, side: str) -> dict:
        said = {"name": text(name), "passed": passed, "figure": figure, "limit": limit, "unit": unit, "side": side}
        return said | {"words": text(f"what {name} found")}

    gate = stage("gate", True, 0.0031, 0.0, "variance", "above")
    stages = [
        stage("critic", True, None, None, "", ""),
        gate,
        stage("kl", True, 1.8e-7, 0.02, "nats", "at most"),
        stage("golden decisions", True, 0.019, 0.1, "share", "at most"),
        stage("stress: COVID crash", True, -0.011, -0.02, "growth", "at least"),
        stage("old regimes", True, -0.13, -0.25, "bp per session", "at least"),
        stage("regression", True, None, None, "", ""),
    ]
    nothing = {"stages": [], "accounts": {}, "regimes": [], "days": {}, "decisions": [], "role": "", "error": ""}
    nothing |= {"sessions": 0, "worlds": 0, "why_no_luck": "", "bundle": "", "outcome": "", "answer": "", "why": ""}

    def start(run: str, start: str, **facts: Any) -> dict[str, Any]:
        words = {"champion": "from the champion", "scratch": "from scratch"}[start]
        said = {"run": text(run), "start": start, "words": text(words), "state": "whole", "created": "2026-11-30T09:15"}
        return nothing | said | {"outcome_words": text("passed every stage"), "decided": text("it waits")} | facts

    def judged(growth: float) -> dict[str, Any]:
        mine = {"growth": growth, "beyond_cash": growth - 0.01, "max_drawdown": -0.031, "expected_shortfall": -0.006}
        mine |= {"luck_p": 0.21, "latency_p50_us": 84.0}
        theirs = {"growth": 0.02, "beyond_cash": 0.01, "max_drawdown": -0.05, "expected_shortfall": -0.01}
        regimes = [("all judged days", 120), ("calm", 70), ("middle", 50), ("wild", 0)]
        days = [(FIRST + timedelta(days=at)).date().isoformat() for at in range(120)]
        return {
            **{"stages": stages, "sessions": 120, "worlds": 200, "outcome": "challenger", "answer": text("It may be.")},
            "accounts": {
                "challenger": mine,
                "champion": theirs | {"luck_p": 0.4},
                "cash": {"growth": 0.01, "beyond_cash": 0.0},
            },
            "regimes": [
                {
                    **{"regime": text(name), "sessions": count, "estimate": 1.2 if count else None},
                    **{"low": -2.0 if count > 60 else None, "high": 4.0 if count > 60 else None},
                }
                for name, count in regimes
            ],
            "days": {
                "date": days,
                "challenger": [growth / 120 + (0.003 if at % 3 else -0.006) for at in range(120)],
                "champion": [0.001 * (-1) ** at for at in range(120)],
                **{"cash": [1e-4] * 120, "regime": ["calm"] * 120},
            },
        }

    decisions = [
        {
            **{"number": 4, "created": "2026-11-30T10:00:00+00:00", "decision": "refuse", "by": "rules"},
            **{"forced": False, "reason": text("refused"), "failed": [text("not luck"), text("superior")]},
        }
    ]
    ended = {"stages": [gate | {"passed": False}], "outcome": "critic", "outcome_words": text("ended at the gate")}
    broken = {"state": "damaged", "error": text("altered file pairs.parquet"), "outcome_words": "cannot be read"}
    usual = {
        **{"why": text("drift was flagged"), "label": text("modelled quotes"), "answer": text("From the champion: x.")},
        **{"champion": {"identity": "a" * 64, "run": text("old")}, "same_days": True},
        "facts": {"steps": 200_000, "seed": 0, "as_of": None},
        "days": [{"window": "trained on", "first": "2011-01-03", "last": "2019-12-31", "sessions": 2_264}],
        "created": "2026-11-30T09:15:00+00:00",
    }
    return {
        "answer": text("3 starts were trained to an end, 2 of them passed every stage."),
        "retrainings": [
            {
                **usual,
                "name": "june",
                "starts": [
                    start("june", "champion", **judged(0.03), decisions=decisions),
                    start("june.scratch", "scratch", **judged(-0.02)),
                ],
            },
            {**usual, "name": "may", "starts": [start("may", "champion", **ended)], "days": [], "champion": {}},
            {**usual, "name": "april", "starts": [start("april", "champion", **broken)], "facts": {}},
        ],
        "damaged": [
            {"name": text("april"), "error": text("altered file pairs.parquet"), "page": "april"},
            {"name": text("a file"), "error": text("no name of a run"), "page": ""},
        ],
        **{"registry": "", "decided": True},
    }


def sweep(text: Callable[[str], str] = str) -> SweepEvidence:
    """A made-up sweep of twelve trials, one failed, confirmed by two seeds."""
    trials = [
        {
            **{
                "trial": at,
                "state": "failed" if at == 5 else "done",
                "score": None if at == 5 else 0.02 + at % 7 / 200,
            },
            **{"ppo.actor_lr": 10.0 ** -(2 + at / 6), "model.use_attention": at % 3 > 0},
            **{"growth_bps_fresh_worlds": 0.3, "growth_bps_validation_dates": None, "seconds": 71.0},
            "reason": text("a loss is not finite") if at == 5 else "",
        }
        for at in range(12)
    ]
    searched = [("ppo.actor_lr", True, False), ("model.use_attention", False, True)]
    return SweepEvidence(
        run="search",
        data_label=text("modelled quotes"),
        recipe=text("default_cpu"),
        trials=trials,
        shown=[{**row, "ppo.actor_lr": f"{row['ppo.actor_lr']:.3g}"} for row in trials],
        searched=[Searched(name=name, log=log, choices=choices) for name, log, choices in searched],
        best=6,
        confirmed=[{"seed": 1000 + at, "best": 0.05, "recipe": 0.04, "difference": 0.01} for at in range(2)],
        confirmation=text("With 2 seeds that chose nothing it is not told from the recipe."),
        importances=[{"setting": "ppo.actor_lr", "share": 0.8}, {"setting": "model.use_attention", "share": 0.2}],
        answer=text("Trial 6 of 12 scored best."),
        steps=500_000,
        seeds=1,
        provenance=[("source", text("sp500_modelled"))],
        generated_at="2026-11-30T12:00:00+00:00",
    )
