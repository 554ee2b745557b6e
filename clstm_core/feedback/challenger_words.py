"""What came of a start and of a whole retraining in a line, and what was decided on a challenger."""

from collections.abc import Mapping, Sequence
from typing import Any

from clstm_core.artifacts.manifests import DecisionManifest
from clstm_core.artifacts.manifests.decision import APPOINT, PROMOTE, PROPOSE, REFUSE, ROLL_BACK, WITHDRAW
from clstm_core.feedback.plan import CHAMPION, SCRATCH
from clstm_core.feedback.registry_state import WORTHY

STARTS = {CHAMPION: "from the champion", SCRATCH: "from scratch"}
UNKNOWN_START = "start unknown"

ENDED = {
    "critic": "ended at the gate, its critic foresees no more than the champion's on held-out days",
    "kl": "ended at the cap, it moved too far from the champion and was taken back",
    "regression": "ended at regression, it has unlearned what the champion knows",
}


def outcome_words(
    outcome: str, stages: Sequence[Mapping[str, Any]], accounts: Mapping[str, Mapping[str, Any]], sessions: int
) -> str:
    """What came of a start: the stage that ended it, or what it grew beside the champion.

    Args:
        stages: as `challenger_figures.stage_of` gives them; accounts: as `account_figures` does, {} where nothing was
                judged
    """
    if outcome != WORTHY:
        lost = [str(row["name"]) for row in stages if not row["passed"] and row["name"] != outcome]
        return ENDED.get(outcome, f"ended at {outcome}") + (f" ({', '.join(lost)})" if outcome == "regression" else "")
    mine, champion = accounts["challenger"]["beyond_cash"], accounts["champion"].get("beyond_cash")
    beside = "no champion stood" if champion is None else f"the champion's {champion:+.2%}"
    return f"passed every stage, log growth beyond cash {mine:+.2%} on {sessions} judged sessions, {beside}"


def decisions_on(history: Sequence[DecisionManifest], bundle: str) -> list[dict[str, Any]]:
    """Every decision on a bundle, the newest first; none on a challenger without one."""
    return [
        {
            **{name: getattr(past, name) for name in ("number", "created", "decision", "by", "forced", "reason")},
            "failed": [str(ruling["name"]).replace("_", " ") for ruling in past.failed],
        }
        for past in history
        if bundle and past.subject.get("identity") == bundle
    ]


def decided_words(decisions: Sequence[Mapping[str, Any]], bundle: str, waits: bool) -> str:
    """What the newest decision on a challenger came to.

    Args:
        waits: whether it stands as challenger now
    """
    if not decisions:
        return "it was not proposed" if bundle else "there was nothing to propose"
    now = decisions[0]
    if now["decision"] == PROPOSE:
        return "it waits for a decision" if waits else "another was proposed before it was decided on"
    forced = "by force of a person" if now["forced"] else "by all rules"
    return {
        REFUSE: f"the rules refused it ({', '.join(now['failed'])})",
        PROMOTE: f"it became champion {forced}",
        APPOINT: f"it became the first champion {forced}",
        WITHDRAW: "it was withdrawn, undecided",
        ROLL_BACK: "it was champion and was rolled back",
    }.get(now["decision"], str(now["decision"]))


def start_line(start: Mapping[str, Any]) -> str:
    """A start and what came of it, as a sentence."""
    whose = str(start["words"])
    return f"{whose[0].upper()}{whose[1:]}: {start['outcome_words']}; {start['decided']}."


def answer_of(starts: Sequence[Mapping[str, Any]]) -> str:
    """Every start in one line, in the plan's order."""
    return " ".join(map(start_line, starts))


def answer_of_all(retrainings: Sequence[Mapping[str, Any]], damaged: Sequence[Mapping[str, Any]]) -> str:
    """How many there are, what came of them, and the newest in a line."""
    if not retrainings and not damaged:
        return "No challenger was made yet."
    outcomes = [start["outcome"] for found in retrainings for start in found["starts"] if start["outcome"]]
    worthy = sum(outcome == WORTHY for outcome in outcomes)
    starts = "1 start was" if len(outcomes) == 1 else f"{len(outcomes)} starts were"
    count = f"{starts} trained to an end, {worthy} of them passed every stage."
    broken = f" {len(damaged)} cannot be read." if damaged else ""
    newest = f" The newest, {retrainings[0]['name']}: {retrainings[0]['answer']}" if retrainings else ""
    return f"{count}{broken}{newest}"
