"""The registry: which policy is champion, which was before, which would be, and every decision that led there.

    Policy.load("data/registry/current/champion")

A decision is a state that never changes; `current` leads to the one that holds. Whoever is killed while he decides
leaves the champion that was. One decides at a time.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clstm_core.artifacts.folder import file_sha256, is_locked, lock
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BundleManifest, ChallengerManifest, DecisionManifest
from clstm_core.artifacts.manifests.decision import (
    APPOINT,
    PERSON,
    PROPOSE,
    REGISTER,
    ROLES,
    ROLL_BACK,
    WITHDRAW,
)
from clstm_core.artifacts.places import DIGITS, Places, run_name
from clstm_core.errors import RegistryError
from clstm_core.feedback import registry_files as files
from clstm_core.feedback.looks import looked_at
from clstm_core.feedback.promotion_plan import PromotionPlan
from clstm_core.feedback.registry_state import (
    CHALLENGER,
    PAIRS,
    WORTHY,
    Held,
    RegistryState,
    Taken,
    further_back,
    is_writable,
    moment,
)
from clstm_core.feedback.rules_evidence import read_pairs
from clstm_core.feedback.shown import require_as_shown


class Registry:
    """The registry below one data folder."""

    def __init__(self, places: Places):
        self.root = places.registry

    def current(self) -> RegistryState | None:
        """The state that holds; None where nothing was ever decided.

        Raises: RegistryError that names what is missing or altered; bundles are verified by `Held.verified`
        """
        decision = files.newest(self.root)
        return self._state(decision) if decision else None

    def history(self) -> list[DecisionManifest]:
        """Every decision that took effect, the newest first, each as the one after it names it.

        Raises: RegistryError that names the state which is missing or altered
        """
        decision = files.newest(self.root)
        found = [decision] if decision else []
        while found and found[-1].number > 1:
            before = found[-1].parents.get("before", "")
            found.append(files.read_state(self.root, found[-1].number - 1, before))
        return found

    @contextmanager
    def writing(self) -> Iterator[RegistryState | None]:
        """Hold the registry alone, clear what killed writers left, and hand over the state that holds.

        Raises: ArtifactError where another process decides
        """
        with lock(self.root / "lock", f"the registry {self.root}"):
            before = self.current()
            files.clear(self.root, before.decision.number if before else 0)
            if before is not None:
                files.keep_head(self.root, before.decision)  # one that was killed before it could
            yield before

    def take(self, before: RegistryState | None, taken: Taken) -> RegistryState:
        """Let a decision take effect, as whoever holds `writing`; the state that it leads to.

        What a full disk keeps from being written after that, the state says: the decision holds.
        """
        if not taken.reason.strip():
            raise RegistryError("a decision without a reason: expected some words. Pass --reason.")
        if not is_writable(taken.reason):  # it would stand, and neither its page nor its rows could be written
            raise RegistryError(f"reason {taken.reason!r}: expected text that UTF-8 can hold. Pass another --reason.")
        roles = {role: getattr(before, role) if before else None for role in ROLES} | dict(taken.roles)
        for role in ("champion", "challenger"):
            if (held := taken.roles.get(role)) is not None:
                held.verified()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        plan = taken.plan or (before.plan if before else PromotionPlan())
        parents = {"before": before.decision.identity} if before else {}
        parents |= {role: held.identity for role, held in roles.items() if held is not None}
        decision = DecisionManifest(
            number=before.decision.number + 1 if before else 1,
            decision=taken.decision,
            by=taken.by,
            forced=taken.forced,
            reason=taken.reason,
            answer=taken.answer,
            subject=taken.subject.facts() if taken.subject else {},
            **{role: held.facts() if held else {} for role, held in roles.items()},
            rulings=list(taken.rulings),
            plan=plan.to_dict(),
            plan_sha256=plan.sha256,
            plan_since=now if taken.plan else before.decision.plan_since if before else "",
            look=dict(taken.look),
            label=taken.label,
            created=now,
            files={name: file_sha256(source) for name, source in taken.files.items()},
            parents=parents,
        )
        files.write_state(self.root, decision, taken.files)
        holds = files.read_state(self.root, decision.number)  # before it holds: one that is torn never does
        files.point(self.root, decision.number)
        return replace(self._state(holds), unwritten=files.follow_up(self.root, holds))

    def complete(self) -> str:
        """Write what the newest decision could not, its disk full or its writer killed; what still cannot be."""
        place = self.root / "lock"
        decision = files.newest(self.root)
        if decision is None or files.is_head(self.root, decision) or is_locked(place):
            return ""  # whoever decides just now writes it
        with lock(place, f"the registry {self.root}"):
            holds = files.newest(self.root)
            return files.follow_up(self.root, holds) if holds else ""

    def propose(self, manifest: ChallengerManifest, bundle_folder: Path, reason: str) -> RegistryState:
        """Let a challenger stand, with what it showed and the plan that it will be judged by; nothing is judged yet.

        One that stands and was not decided on gives way.

        Raises: RegistryError for one that its own stages ended, whose pairs cannot be read or that was made before the
                plan that stands, for another bundle than the one that was judged and for the champion's; BundleError
                for a damaged bundle
        """
        if manifest.outcome != WORTHY:
            raise RegistryError(
                f"{manifest.run} was ended by its stage {manifest.outcome}: expected one that passed them all. "
                f"{manifest.answer}"
            )
        manifest.verify_files()
        if PAIRS not in manifest.files:
            raise RegistryError(f"{manifest.place} names no {PAIRS}: expected its growth beside the champion's.")
        read_pairs(manifest.folder / PAIRS, manifest)  # what nobody could decide on takes nobody's place
        with self.writing() as before:
            _require_plan_before_look(manifest, before)
            if before and before.champion and before.champion.identity == manifest.bundle:
                raise RegistryError(f"{before.champion.run} is champion already: expected another policy's challenger.")
            held = self.held(manifest.run, bundle_folder, manifest.bundle)
            require_as_shown(manifest, held.verified())
            gone = before.challenger if before else None
            place = f" in the place of {gone.run}, which was not decided on" if gone else ""
            champion = before.champion.run if before and before.champion else "cash"
            taken = Taken(
                decision=PROPOSE,
                answer=f"{manifest.run} is challenger{place}: to be held against {champion}.",
                reason=reason,
                subject=held,
                label=str(manifest.judged.get("label") or ""),
                roles={"challenger": held},
                files={CHALLENGER: manifest.place, **{name: manifest.folder / name for name in manifest.files}},
            )
            return self.take(before, taken)

    def withdraw(self, reason: str) -> RegistryState:
        """Let the challenger stand no more, undecided."""
        with self.writing() as before:
            if before is None or before.challenger is None:
                raise RegistryError(
                    "no challenger stands: expected one to withdraw. `clstm champion show` says who does."
                )
            answer = f"{before.challenger.run} was withdrawn, undecided."
            taken = Taken(
                decision=WITHDRAW,
                answer=answer,
                reason=reason,
                subject=before.challenger,
                by=PERSON,
                label=before.decision.label,
                roles={"challenger": None},
            )
            return self.take(before, taken)

    def register(self, plan: PromotionPlan, reason: str) -> RegistryState:
        """Let other limits stand for challengers that are made from now on."""
        with self.writing() as before:
            if before is not None and before.challenger is not None:
                raise RegistryError(
                    f"challenger {before.challenger.run} stands: expected none while limits change, which it was "
                    "proposed under. Decide on it or withdraw it first."
                )
            answer = f"Plan {plan.sha256[:12]} stands for challengers that are made from now on."
            taken = Taken(decision=REGISTER, answer=answer, reason=reason, subject=None, by=PERSON, plan=plan)
            return self.take(before, taken)

    def appoint(self, bundle_folder: Path, reason: str) -> RegistryState:
        """Make a bundle the first champion without any rule: a person's decision, written as such everywhere.

        Raises: RegistryError where a champion stands: others take its place by being proposed
        """
        with self.writing() as before:
            if before is not None and before.champion is not None:
                raise RegistryError(
                    f"{before.champion.run} is champion: expected none. Propose the other one as a challenger."
                )
            manifest = BundleManifest.read(bundle_folder / FILE)
            held = self.held(manifest.run, bundle_folder, manifest.identity)
            taken = Taken(
                decision=APPOINT,
                answer=f"{held.run} is champion because a person said so: no rule was asked.",
                reason=reason,
                subject=held,
                by=PERSON,
                forced=True,
                label=str(manifest.provenance.get("data_label") or ""),
                roles={"champion": held},
            )
            return self.take(before, taken)

    def roll_back(self, reason: str) -> RegistryState:
        """Restore the champion before, to the byte; a challenger that was held against the other one stands no more.

        The one before that becomes `previous`: another roll-back goes further back, never forward again.

        Raises: RegistryError where there is none before, or its copy is damaged: the champion then stays
        """
        with self.writing() as before:
            if before is None or before.champion is None or before.previous is None:
                champion = before.champion.run if before and before.champion else "nobody"
                raise RegistryError(f"{champion} is champion and there is none before: expected one to go back to.")
            back = before.previous
            back.verified()
            further = self._held(further_back(self.history()))
            challenger = f" Challenger {before.challenger.run} was withdrawn." if before.challenger else ""
            taken = Taken(
                decision=ROLL_BACK,
                answer=f"{back.run} is champion again, to the byte; {before.champion.run} was rolled back.{challenger}",
                reason=reason,
                subject=before.champion,
                by=PERSON,
                label=before.decision.label,
                roles={"champion": back, "previous": further, "challenger": None},
            )
            return self.take(before, taken)

    def held(self, run: str, folder: Path, identity: str) -> Held:
        """A bundle as the registry holds it: copied, and verified byte by byte.

        Raises: ConfigError for a run that no run can be called; BundleError for a damaged bundle
        """
        run_name(run)
        files.keep_bundle(self.root, folder, identity)
        return Held(run=run, identity=identity, folder=self._copy(identity))

    def _state(self, decision: DecisionManifest) -> RegistryState:
        champion, previous, challenger = (self._held(getattr(decision, role)) for role in ROLES)
        return RegistryState(decision=decision, champion=champion, previous=previous, challenger=challenger)

    def _held(self, facts: Mapping[str, Any]) -> Held | None:
        if not facts:
            return None
        identity = str(facts["identity"])
        return Held(run=str(facts["run"]), identity=identity, folder=self._copy(identity))

    def _copy(self, identity: str) -> Path:
        return self.root / files.BUNDLES / identity[:DIGITS]


def standing_plan(places: Places) -> PromotionPlan:
    """The limits that stand: those that were registered, else those of this release."""
    state = Registry(places).current()
    return state.plan if state else PromotionPlan()


def _require_plan_before_look(manifest: ChallengerManifest, before: RegistryState | None) -> None:
    """Refuse a challenger whose days were looked at before the plan that stands was stated.

    By the clock, and by the plan that stood when they were looked at: clocks can be wrong.
    """
    since = before.decision.plan_since if before else ""
    looked, under = looked_at(manifest), manifest.judged.get("plan_sha256")
    stands = before.plan.sha256 if before else PromotionPlan().sha256
    if (since and moment(since) > looked) or (under and under != stands):
        raise RegistryError(
            f"{manifest.run} was looked at on {looked:%Y-%m-%d %H:%M:%S %Z}"
            f"{f' under plan {str(under)[:12]}' if under else ''}, and plan {stands[:12]} stands"
            f"{f' since {since}' if since else ''}: expected a plan stated before one looks. Train another challenger, "
            "on newer days."
        )
