"""The registry as its page and its asset tell it: who stands, and every decision with its rulings, in plain JSON."""

from collections.abc import Mapping
from typing import Any

from clstm_core.artifacts.manifest import JsonObject
from clstm_core.artifacts.manifests import DecisionManifest
from clstm_core.artifacts.manifests.decision import ROLES
from clstm_core.errors import RegistryError
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.rules_names import RULES


def story(registry: Registry) -> dict[str, Any]:
    """Everything that is told of a registry; decisions the newest first.

    Raises: RegistryError for a registry that is altered, and for one in which nothing was decided yet
    """
    history = registry.history()
    if not history:
        raise RegistryError(
            f"no decision in {registry.root}: expected a champion. `clstm champion propose` or `appoint` brings one."
        )
    now = history[0]
    return {
        "answer": answer(now),
        "roles": {role: role_of(now, role, registry) for role in ROLES},
        "came": _came(history),
        "label": now.label or next((past.label for past in history if past.label), "quotes of unknown origin"),
        "plan": dict(now.plan),
        "plan_sha256": now.plan_sha256,
        "plan_since": now.plan_since,
        "questions": RULES,
        "decisions": [{**decision.content(), "identity": decision.identity} for decision in history],
    }


def answer(now: DecisionManifest) -> str:
    """Who is champion and who would be, in a sentence, and what was decided last."""
    champion = f"{now.champion['run']} is champion" if now.champion else "There is no champion: cash"
    challenger = f", {now.challenger['run']} is challenger and waits for a decision" if now.challenger else ""
    return f"{champion}{challenger}. Decision {now.number}, {now.created[:10]}: {now.answer}"


def role_of(now: DecisionManifest, role: str, registry: Registry) -> JsonObject | None:
    """Who stands in a role, whether its copy is whole, and how its policy was chosen; None where nobody does."""
    state = registry.current()
    held = getattr(state, role) if state else None
    if held is None:
        return None
    try:
        bundle = held.verified()
    except RegistryError as error:
        return {**held.facts(), "whole": False, "standing": str(error), "created": ""}
    return {**held.facts(), "whole": True, "standing": bundle.standing, "created": bundle.created}


def made_champion(history: list[DecisionManifest], identity: str) -> DecisionManifest | None:
    """The decision that first put a bundle in the champion's place; None where none did."""
    return next((past for past in reversed(history) if past.champion.get("identity") == identity), None)


def _came(history: list[DecisionManifest]) -> JsonObject | None:
    """The decision by which the champion of now first came: number, date, whether it was forced, and why."""
    identity = history[0].champion.get("identity")
    found = made_champion(history, str(identity)) if identity else None
    if found is None:
        return None
    return {name: getattr(found, name) for name in ("number", "created", "decision", "by", "forced", "reason")}


def rulings_of(history: list[DecisionManifest]) -> Mapping[str, JsonObject]:
    """By rule, what the newest decision was taken on; of one that asked no rule, what its champion once came in by."""
    now = history[0]
    found = now.rulings
    if not found and now.champion:
        came = made_champion(history, str(now.champion["identity"]))
        found = came.rulings if came else []
    return {str(ruling["name"]): ruling for ruling in found}
