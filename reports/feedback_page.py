"""The page of the champion: who it is, who would be, and every decision with each rule's figure. It runs no script."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import write_json, write_text
from reports.charts import NOTHING, text
from reports.gallery import write_gallery
from reports.pages import policy, template
from reports.render import label_kind, write_shared
from reports.shadow_list import CHALLENGERS, CHAMPION, challenger_pages, challengers_row
from reports.shadow_page import NO_BREAK

SUMMARY = "champion.json"

ROLES = {
    "champion": "what a deployer loads",
    "challenger": "waits for a decision",
    "previous": "what a roll-back restores",
}
LIMITS = {
    "sessions": ("sessions at least", "count"),
    "looks_per_year": ("looks per 365 days", "count"),
    "year_level": ("chance that a year of looks promotes what is no better", "percent"),
    "luck_level": ("chance of luck against cash at most", "percent"),
    "drawdown_margin": ("largest fall beyond the champion's at most", "percent"),
    "shortfall_margin": ("mean of the worst 5% of sessions beyond the champion's at most", "percent"),
    "first_drawdown": ("largest fall of a first champion at most", "percent"),
    "first_shortfall": ("mean of the worst 5% of sessions of a first champion at most", "percent"),
    "latency_us": ("microseconds per decision at most, in half of all cases", "count"),
    "shadow": ("shadow accounts of both asked for", ""),
    "shadow_sessions": ("shadow sessions at least, where they are asked for", "count"),
    "shadow_margin_bps": ("basis points per session that it may be worse in shadow", ""),
}
MOST = 1e6  # evidence beyond it is shown as this
_PERCENT = ("probability", "of equity")


def render_champion(story: Mapping[str, Any], out_dir: Path) -> Path:
    """Write `<out_dir>/champion/index.html`, what it shares with all pages, and the gallery that links it; its path.

    Args:
        story: of `clstm_core.feedback.decision_story`
    """
    decisions: Sequence[Mapping[str, Any]] = story["decisions"]
    pages = challenger_pages(out_dir)
    now, asked = decisions[0], next((found for found in decisions if found["rulings"]), None)
    page = template("champion.html").render(
        answer=story["answer"],
        label=story["label"],
        kind=label_kind(story["label"]),
        tone=_tone(story, now),
        warnings=_warnings(story),
        roles=[_role(role, words, story, pages) for role, words in ROLES.items()],
        came=_came(story["came"]),
        rules=_rules(asked, story["questions"]) if asked else None,
        asked=_named(asked) if asked else "",
        decisions=[_decision(found, story["questions"], pages) for found in decisions],
        challengers=f"{CHALLENGERS}/index.html" if challengers_row(out_dir) else "",
        plan=[(words, text(story["plan"].get(name), kind)) for name, (words, kind) in LIMITS.items()],
        plan_sha256=story["plan_sha256"][:12],
        plan_since=_day(story["plan_since"]) if story["plan_since"] else "",
        csp=policy(["'none'"]),
        inline=None,
    )
    write_shared(out_dir)
    index = out_dir / CHAMPION / "index.html"
    index.parent.mkdir(parents=True, exist_ok=True)
    write_text(index, page)
    roles = {role: (found or {}).get("run") for role, found in story["roles"].items()}
    told = {"answer": story["answer"], "label": story["label"], "kind": label_kind(story["label"])}
    write_json(index.parent / SUMMARY, told | {"champion": roles["champion"], "challenger": roles["challenger"]})
    write_gallery(out_dir)
    return index


def _tone(story: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Colour of the answer, which says the same in words."""
    if _warnings(story):
        return "unqualified"
    return {"refuse": "worse", "roll back": "worse", "promote": "beats", "appoint": "beats"}.get(
        now["decision"], "level"
    )


def _warnings(story: Mapping[str, Any]) -> list[str]:
    """What must not be overlooked: force, a copy that is damaged, a policy that qualified nowhere."""
    found, came = [], story["came"]
    if came and came["forced"]:
        found.append("appointed by a person, against the rules or without them")
    for role, held in story["roles"].items():
        if held and not held["whole"]:
            found.append(f"the {role}'s copy is damaged")
        elif held and held["standing"].startswith("UNQUALIFIED"):
            found.append(f"{role}: UNQUALIFIED")
    return found


def _role(role: str, words: str, story: Mapping[str, Any], pages: Mapping[str, str]) -> dict[str, str]:
    """Who stands in a role; `page`: where its retraining is shown, "" where it is not."""
    held = story["roles"][role]
    if held is None:
        nobody = {"champion": "nobody: cash", "challenger": "nobody", "previous": "nobody"}[role]
        return {"role": role, "words": words, "run": nobody, "page": "", "identity": NOTHING, "standing": NOTHING}
    return {
        "role": role,
        "words": words,
        "run": held["run"],
        "page": pages.get(held["run"], ""),
        "identity": held["identity"][:12],
        "standing": held["standing"],
    }


def _came(came: Mapping[str, Any] | None) -> str:
    if came is None:
        return ""
    by = "by force of a person" if came["forced"] else "by all rules"
    return f"The champion came by decision {came['number']} on {_day(came['created'])}, {by}: {came['reason']}."


def _rules(decision: Mapping[str, Any], questions: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": ruling["name"].replace("_", " "),
            "question": questions.get(ruling["name"], ""),
            "passed": ruling["passed"],
            "word": "passed" if ruling["passed"] else "refused",
            "figure": _figure(ruling["figure"], ruling["unit"]),
            "limit": _figure(ruling["limit"], ruling["unit"]),
            "words": ruling["words"],
        }
        for ruling in decision["rulings"]
    ]


def _figure(value: Any, unit: str) -> str:
    """A figure with its unit, in as many digits as one reads."""
    if value is None:
        return NOTHING
    if unit in _PERCENT:
        return text(float(value), "percent")
    if unit in ("sessions", "looks", "us"):
        return f"{text(float(value), 'count')} {unit}"
    if unit == "wealth" and value > MOST:
        return f"over {text(MOST, 'count')}"
    return text(float(value), decimals=2) + (" bp" if unit.startswith("bp") else "")


def _decision(decision: Mapping[str, Any], questions: Mapping[str, str], pages: Mapping[str, str]) -> dict[str, Any]:
    failed = [ruling["name"].replace("_", " ") for ruling in decision["rulings"] if not ruling["passed"]]
    look = decision["look"]
    days = f"{_day(look['first'])} to {_day(look['last'])}, {look['sessions']} sessions" if look else NOTHING
    return {
        "title": _named(decision),
        "number": decision["number"],
        "day": _day(decision["created"]),
        "decision": decision["decision"],
        "run": decision["subject"].get("run") or NOTHING,
        "page": pages.get(decision["subject"].get("run") or "", ""),
        "champion": decision["champion"].get("run") or "cash",
        "by": "a person, by force" if decision["forced"] else decision["by"],
        "failed": ", ".join(failed) or (NOTHING if not decision["rulings"] else "none"),
        "bad": bool(failed),
        "days": days,
        "reason": decision["reason"],
        "answer": decision["answer"],
        "label": decision["label"] or NOTHING,
        "rules": _rules(decision, questions),
    }


def _named(decision: Mapping[str, Any]) -> str:
    run = decision["subject"].get("run")
    return f"Decision {decision['number']}, {_day(decision['created'])}: {decision['decision']}" + (
        f" {run}" if run else ""
    )


def _day(moment: str) -> str:
    return str(moment)[:10].replace("-", NO_BREAK)
