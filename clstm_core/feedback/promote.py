"""The decision on a challenger: every rule is asked, and what they say together takes effect at once or not at all."""

from collections.abc import Sequence

from clstm_core.artifacts.manifest import JsonObject
from clstm_core.artifacts.manifests import ChallengerManifest
from clstm_core.artifacts.manifests.decision import APPOINT, PERSON, PROMOTE, REFUSE, RULES
from clstm_core.artifacts.places import Places
from clstm_core.errors import RegistryError
from clstm_core.feedback import looks, rules
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.registry_state import PAIRS, Held, RegistryState, Taken
from clstm_core.feedback.rules_evidence import known_until, read_pairs
from clstm_core.feedback.shadow_evidence import InShadow, in_shadow
from clstm_core.plural import counted

BY_RULES = "every rule was passed"
"""Reason of a promotion that nobody gave another one for."""


def decide(places: Places, reason: str = "", *, force: bool = False) -> RegistryState:
    """Promote the standing challenger where every rule is passed, else refuse it; the state that this leads to.

    Args:
        force: promote it whatever the rules say: a person's decision, with a reason, written as such everywhere

    Raises: RegistryError where no challenger stands, force has no reason, or evidence or a bundle is damaged
    """
    if force and not reason.strip():
        raise RegistryError("a promotion by force without a reason: expected some words. Pass --reason.")
    registry = Registry(places)
    with registry.writing() as before:
        if before is None or before.challenger is None:
            raise RegistryError(
                "no challenger stands: expected one to decide on. `clstm champion propose` brings one; "
                "`clstm champion history` says what became of the last."
            )
        proposal = before.proposal()
        rulings, look = judge(places, registry, before, proposal)
        failed = [ruling for ruling in rulings if not ruling.passed]
        forced = force and bool(failed)
        if failed and not force:
            return registry.take(before, _refused(before, before.challenger, rulings, look, reason))
        taken = Taken(
            decision=PROMOTE if before.champion else APPOINT,
            answer=_promoted_words(before, before.challenger, rulings, forced),
            reason=reason or BY_RULES,
            subject=before.challenger,
            by=PERSON if forced else RULES,
            forced=forced,
            rulings=[ruling.to_dict() for ruling in rulings],
            look=look,
            label=before.decision.label,
            roles={"champion": before.challenger, "previous": before.champion, "challenger": None},
        )
        return registry.take(before, taken)


def judge(
    places: Places, registry: Registry, before: RegistryState, proposal: ChallengerManifest
) -> tuple[list[rules.Ruling], JsonObject]:
    """Every ruling in the order of `RULES`, and the look that they cost."""
    assert before.challenger is not None
    plan, champion = before.plan, before.champion
    bundle = before.challenger.verified()
    pairs = read_pairs(before.decision.folder / PAIRS, proposal)
    reference = pairs.reference if proposal.champion else None
    known = {f"challenger {before.challenger.run}": known_until(places, bundle)}
    if champion is not None:
        known[f"champion {champion.run}"] = known_until(places, champion.verified())
    history = registry.history()
    past = looks.before(places, history, proposal, bundle)
    rolled = past.rolled_back
    found = rules.superiority(pairs.difference, plan)
    shadow = InShadow()
    if champion is not None and all(known.values()):
        latest = max(str(day) for day in known.values())
        shadow = in_shadow(places, before.challenger, champion, plan.shadow_margin_bps, latest)
    seen, sessions = shadow.seen, shadow.sessions
    figures = proposal.figures
    rulings = [
        rules.qualified(proposal.outcome, bundle.standing, bundle.qualified),
        rules.own_champion(proposal.champion, champion.identity if champion else ""),
        rules.unseen_days(pairs.dates[0], known),
        rules.enough_days(len(pairs.dates), plan),
        rules.fresh_look(past.number, plan, past.decided),
        rules.not_rolled_back(rolled.number if rolled else None, rolled.reason if rolled else ""),
        rules.not_luck(figures.get("luck_p"), plan),
        rules.superior(found, len(pairs.dates)),
        rules.evidence(found),
        rules.drawdown(pairs.challenger, reference, plan),
        rules.tails(pairs.challenger, reference, plan),
        rules.regimes(pairs.challenger, pairs.reference, pairs.regime),
        rules.parity(figures.get("parity")),
        rules.latency(figures.get("latency_p50_us"), plan),
        rules.regression(proposal.stages),
        rules.shadow_harm(seen.harm if seen else None, sessions, shadow.left_out),
        rules.shadow_no_worse(seen.non_inferior if seen else None, sessions, plan),
    ]
    look = {
        "first": pairs.dates[0],
        "last": pairs.dates[-1],
        "sessions": len(pairs.dates),
        "number_of_look": past.number,
        "level": found.level,
        "mean_bps": found.mean,
        "lower_bps": found.lower,
        "block": found.block,
        "wealth": found.wealth,
        "proposal": proposal.identity,
        "weights": proposal.judged.get("weights"),
    }
    return rulings, look


def _refused(
    before: RegistryState, held: Held, rulings: Sequence[rules.Ruling], look: JsonObject, reason: str
) -> Taken:
    failed = [ruling for ruling in rulings if not ruling.passed]
    stays = f"{before.champion.run} stays champion" if before.champion else "there is no champion: cash"
    which = f"{len(failed)} of {len(rulings)} rules" if len(failed) > 1 else "one rule"
    return Taken(
        decision=REFUSE,
        answer=f"{held.run} was refused by {which}, {stays}. {' '.join(map(_said, failed))}",
        reason=reason or f"refused by {', '.join(ruling.name.replace('_', ' ') for ruling in failed)}",
        subject=held,
        rulings=[ruling.to_dict() for ruling in rulings],
        look=look,
        label=before.decision.label,
        roles={"challenger": None},
    )


def _said(ruling: rules.Ruling) -> str:
    return f"{ruling.name.replace('_', ' ').capitalize()}: {ruling.words}"


def _promoted_words(before: RegistryState, held: Held, rulings: Sequence[rules.Ruling], forced: bool) -> str:
    place = f" in the place of {before.champion.run}" if before.champion else ""
    failed = [ruling for ruling in rulings if not ruling.passed]
    if forced:
        against = ", ".join(ruling.name for ruling in failed)
        broken = counted(len(failed), "rule")
        return f"{held.run} is champion{place} because a person forced it, against {broken}: {against}."
    said = next(ruling.words for ruling in rulings if ruling.name == "superior")
    return f"{held.run} is champion{place}: all {len(rulings)} rules were passed. {said}"
