"""Retrainings as their pages tell them: what each start showed, what was decided on it, and what is damaged.

A folder whose facts are not as they should be is told of with the reason, and the others are told all the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clstm_core.artifacts.folder import read_json
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import ChallengerManifest, DecisionManifest, TensorsManifest
from clstm_core.artifacts.manifests.decision import ROLES
from clstm_core.artifacts.places import DIGITS, Places
from clstm_core.errors import ClstmError, ConfigError, EvaluationError, RegistryError
from clstm_core.feedback.challenger_figures import account_figures, days_of, regime_rows, stage_of
from clstm_core.feedback.challenger_words import (
    STARTS,
    UNKNOWN_START,
    answer_of,
    answer_of_all,
    decided_words,
    decisions_on,
    outcome_words,
)
from clstm_core.feedback.plan import PLAN, RetrainPlan
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.registry_state import PAIRS, WORTHY
from clstm_core.feedback.rules_evidence import read_pairs, window_days

UNNAMED = "its name is none that a run can have: expected A-Z, a-z, 0-9, '_', '-' and '.'. Move the folder away."
UNLABELLED = "quotes of unknown origin"
WINDOWS = {"train": "trained on", "validation": "gate", "test": "judged"}
WHOLE, DAMAGED, MISSING = "whole", "damaged", "missing"
UNEXPECTED = (ClstmError, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)
"""What facts of another form than they should have raise."""


class Decided(NamedTuple):
    """The registry's decisions, the newest first; by bundle the role that it stands in; why it cannot be read."""

    history: list[DecisionManifest]
    roles: Mapping[str, str]
    error: str

    def run_of(self, identity: str) -> str:
        """The run that a bundle was exported from, as a decision names it; its identity's digits where none does."""
        for past in self.history:
            for named in (past.subject, past.champion):
                if named.get("identity") == identity:
                    return str(named.get("run"))
        return identity[:DIGITS]


FORM: Mapping[str, type] = {
    **dict.fromkeys(("run", "start", "why", "outcome", "answer", "bundle", "champion", "created"), str),
    **dict.fromkeys(("judged", "figures", "parents"), dict),
    "stages": list,
}
"""What the facts of a manifest are, as JSON has them."""


class Folder(NamedTuple):
    """A challenger's folder: its manifest, or why it cannot be read."""

    name: str
    manifest: ChallengerManifest | None
    error: str


def story(places: Places) -> dict[str, Any]:
    """Everything that is told of retrainings, in plain JSON, the newest first: answer, retrainings, damaged, registry.

    retrainings: name, created, why, label, answer, champion, facts, days, starts (see `_start`)
    damaged:     folders that cannot be read: name, error, page (the retraining that names it; "" where none can)
    registry:    why decisions are not told; "" where they are
    """
    folders = {found.name: found for found in _folders(places)}
    decided = _decided(places)
    groups = _grouped({name: found for name, found in folders.items() if found.error != UNNAMED}, places)
    told = [_retraining(name, members, folders, decided, places) for name, members in groups.items()]
    told.sort(key=lambda found: (found["created"], found["name"]), reverse=True)
    damaged = [
        {"name": start["run"], "error": start["error"], "page": found["name"]}
        for found in told
        for start in found["starts"]
        if start["error"]
    ]
    damaged += [
        {"name": name, "error": UNNAMED, "page": ""} for name, found in folders.items() if found.error == UNNAMED
    ]
    return {
        "answer": answer_of_all(told, damaged),
        "retrainings": told,
        "damaged": damaged,
        "registry": decided.error,
        "decided": bool(decided.history),
    }


def _folders(places: Places) -> list[Folder]:
    found = []
    for place in sorted((places.root / "challengers").glob("[!.]*")):
        try:
            found.append(Folder(place.name, _read(places.challenger(place.name)), ""))
        except ConfigError:
            found.append(Folder(place.name, None, UNNAMED))
        except UNEXPECTED as error:
            found.append(Folder(place.name, None, str(error)))
    return found


def _read(folder: Path) -> ChallengerManifest:
    """A challenger with its files verified, every fact in the form that it should have; EvaluationError otherwise."""
    found = ChallengerManifest.read(folder / FILE)
    for name, form in FORM.items():
        if not isinstance(fact := getattr(found, name), form):
            raise EvaluationError(f"{found.place} has a {type(fact).__name__} as {name}: expected a {form.__name__}.")
    if found.run != folder.name:
        raise EvaluationError(f"{folder} holds the challenger {found.run}: expected {folder.name}. Move it back.")
    if found.start not in STARTS:
        raise EvaluationError(f"{found.place} names the start {found.start!r}: expected one of {', '.join(STARTS)}.")
    return found


def _decided(places: Places) -> Decided:
    registry = Registry(places)
    try:
        state = registry.current()
        held = {role: getattr(state, role) for role in ROLES} if state else {}
        roles = {bundle.identity: role for role, bundle in held.items() if bundle}
        return Decided(registry.history(), roles, "")
    except (RegistryError, OSError) as error:
        return Decided([], {}, str(error))


def _grouped(folders: Mapping[str, Folder], places: Places) -> dict[str, dict[str, str]]:
    """The starts of each retraining, "champion", "scratch" or "" where nobody knows, by the name of their run.

    By the plan that the first start's run keeps; where that is gone, by the names: NAME and NAME.START.
    """
    groups: dict[str, dict[str, str]] = {}
    for name, found in folders.items():
        if any(name in members for members in groups.values()):
            continue
        stems = [stem for start in STARTS if (stem := name.removesuffix(f".{start}")) != name]
        for stem in (*stems, name):
            if (plan := _plan(places, stem)) is not None:
                members = {plan.run_of(start): start for start in plan.starts}
                if name in members:
                    groups[stem] = members
                    break
        else:
            stem = next((stem for stem in stems if _alike(folders.get(stem), found)), name)
            groups.setdefault(stem, {})[name] = found.manifest.start if found.manifest else ""
    return groups


def _plan(places: Places, name: str) -> RetrainPlan | None:
    try:
        kept = read_json(places.run(name).path / PLAN)
        return None if kept is None else RetrainPlan.from_dict(kept)
    except UNEXPECTED:
        return None


def _alike(one: Folder | None, other: Folder) -> bool:
    """Whether two challengers were made in the same market and held against the same champion."""
    if one is None or one.manifest is None or other.manifest is None:
        return False
    pairs = [(each.manifest.parents.get("tensors"), each.manifest.champion) for each in (one, other) if each.manifest]
    return pairs[0] == pairs[1]


def _retraining(
    name: str, members: Mapping[str, str], folders: Mapping[str, Folder], decided: Decided, places: Places
) -> dict[str, Any]:
    """One retraining, every start of its plan beside the others."""
    starts = [_told(folders.get(run), run, start, decided) for run, start in members.items()]
    manifests = [found.manifest for run in members if (found := folders.get(run)) and found.manifest]
    plan = _plan(places, name)
    days, label = _days(manifests, places)
    champion = next((each.champion for each in manifests), plan.champion if plan else "")
    judged = {tuple(start["days"]["date"]) for start in starts if start["days"]}
    return {
        "name": name,
        "created": max((start["created"] for start in starts), default=""),
        "why": next((start["why"] for start in starts if start["why"]), plan.why if plan else ""),
        "label": next((start["label"] for start in starts if start["label"]), label) or UNLABELLED,
        "answer": answer_of(starts),
        "champion": {"identity": champion, "run": decided.run_of(champion)} if champion else {},
        "facts": {"steps": plan.steps, "seed": plan.seed, "as_of": plan.as_of} if plan else {},
        "days": days,
        "starts": starts,
        "same_days": len(judged) < 2,
    }


def _told(found: Folder | None, run: str, start: str, decided: Decided) -> dict[str, Any]:
    """One start; where its facts are not as they should be, the reason."""
    if found is None:
        return _empty(run, start, MISSING, "has not come to its end", "there is nothing to propose")
    try:
        if found.manifest is not None:
            return _start(found.manifest, decided)
        error = found.error
    except UNEXPECTED as unexpected:
        error = f"{found.name}: facts of another form than expected ({type(unexpected).__name__}: {unexpected})."
    broken = _empty(run, start, DAMAGED, "cannot be read", "nothing is said of it")
    return broken | {"error": error}


def _empty(run: str, start: str, state: str, outcome_words: str, decided: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("error", "outcome", "answer", "why", "created", "label", "bundle", "why_no_luck"), "")
    return nothing | {
        "run": run,
        "start": start,
        "words": STARTS.get(start, UNKNOWN_START),
        "state": state,
        "outcome_words": outcome_words,
        "decided": decided,
        **{"role": "", "sessions": 0, "worlds": 0},
        **{"stages": [], "accounts": {}, "regimes": [], "days": {}, "decisions": []},
    }


def _start(found: ChallengerManifest, decided: Decided) -> dict[str, Any]:
    """What one start showed.

    state:    whole, damaged or missing; error: why it is damaged
    stages, accounts, regimes, days: as `challenger_figures` gives them; the last three are empty where nothing was
              judged
    decisions: on its bundle, the newest first; decided: what the newest came to; role: that it stands in now
    """
    stages = [stage_of(row) for row in found.stages]
    accounts, regimes, days = {}, [], {}
    if PAIRS in found.files:
        pairs = read_pairs(found.folder / PAIRS, found)
        accounts, regimes, days = account_figures(found, pairs), regime_rows(pairs), days_of(found, pairs)
    decisions, role = decisions_on(decided.history, found.bundle), decided.roles.get(found.bundle, "")
    words = decided_words(decisions, found.bundle, role == WORTHY)
    if decided.error and found.bundle:
        words = "what was decided on it cannot be read"
    sessions = len(days.get("date", ()))
    texts = {name: str(getattr(found, name)) for name in ("run", "outcome", "answer", "why", "created", "bundle")}
    return _empty(found.run, found.start, WHOLE, outcome_words(found.outcome, stages, accounts, sessions), words) | {
        **texts,
        "label": str(found.judged.get("label") or ""),
        "why_no_luck": str(found.judged.get("why_no_luck") or ""),
        "worlds": int(found.judged.get("worlds") or 0),
        "role": role,
        **{"sessions": sessions, "stages": stages, "accounts": accounts, "regimes": regimes, "days": days},
        "decisions": decisions,
    }


def _days(manifests: Sequence[ChallengerManifest], places: Places) -> tuple[list[dict[str, Any]], str]:
    """First and last day and sessions of each window of the market that all starts share, and the market's label."""
    for found in manifests:
        try:
            identity = str(found.parents["tensors"])
            tensors = TensorsManifest.read(places.tensors(identity) / FILE, files=False, identity=identity)
            windows = window_days(tensors)
            rows = [
                {"window": words, **dict(zip(("first", "last", "sessions"), windows[name], strict=True))}
                for name, words in WINDOWS.items()
                if name in windows
            ]
            return rows, str(tensors.info.get("label") or "")
        except UNEXPECTED:
            continue
    return [], ""
