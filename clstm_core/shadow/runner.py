"""The shadow runner: a session arrives, the decision before is carried out in the simulator, a new one is taken.

All that it knows between two sessions stands in the log: book, memory and switch are rebuilt from it, so that a process
that is killed at any moment goes on as if it had not been.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clstm_core.artifacts.folder import canonical_json, read_json
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BundleManifest
from clstm_core.config import EnvConfig, RunConfig
from clstm_core.errors import ArtifactError, ShadowError
from clstm_core.market.instrument import SPX
from clstm_core.shadow.account import Account
from clstm_core.shadow.arrival import (
    UNREAD,
    Arrival,
    QuoteSource,
    aged,
    faults_of,
    missing_between,
    out_of_order,
    too_early,
)
from clstm_core.shadow.asked import asked_of, forget_asked
from clstm_core.shadow.changes import Keeps, changes, content_of
from clstm_core.shadow.columns import DECIDED, OPENED, REFUSED, SWITCHED, nanoseconds
from clstm_core.shadow.entry import book_columns, order_columns
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.mind import Mind
from clstm_core.shadow.simulate import Shown, Simulator
from clstm_core.shadow.switch import ACTIVE, STATES, after_refusal, allowed_of, require_reason, tighter, tripped
from clstm_core.specs import ACTIONS

Regime = Callable[[np.ndarray], str | None]
"""The volatility tercile of training that an observation [F] lies in; None where training's dates are not at hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """What a shadow account is opened with; it never changes afterwards.

    tenors: near and far days of the market's grid, None where its source says them always alike
    """

    bundle: Path
    limits: Limits
    unqualified: bool = False
    tenors: tuple[float, float] | None = None


class ShadowRunner:
    """One account of one bundle on one source, in a log that this process holds.

    Raises: ShadowError for a log of another bundle or source; BundleError for a bundle that must not be used
    """

    def __init__(self, log: ShadowLog, opening: Opening, source: QuoteSource, *, regime: Regime | None = None):
        self.log, self._source, self._regime = log, source, regime or (lambda observation: None)
        self.manifest = BundleManifest.read(opening.bundle / FILE)
        self.config = account_config(self.manifest.account)
        self._mind = Mind(opening.bundle, unqualified=opening.unqualified)
        if not log.entries:
            log.append(self._opening(opening))
        self.facts = log.facts
        self._require_same(source)
        self.limits = Limits.kept(self.facts["limits"])
        self._recall()

    def run(self, *, most: int | None = None, tell: Callable[[dict[str, Any]], None] | None = None) -> int:
        """Take every session that arrived and is not in the log yet; how many were taken.

        Sessions that changed after they were decided on are named first.

        Args:
            most: sessions at most
            tell: called with each entry
        """
        done = 0
        heed(self.log)
        arrivals = iter(self._source.arrivals(self._last_decided()))
        looked = list(itertools.islice(arrivals, 1))  # a source looks when it is asked for the first
        for entry in self._changed():
            if tell is not None:
                tell(entry)
        for arrival in itertools.chain(looked, arrivals):
            if self._refused_already(arrival):
                continue
            if most is not None and done >= most:
                break
            heed(self.log)
            entry = self.take(arrival)
            done += 1
            if tell is not None:
                tell(entry)
        heed(self.log)  # what was asked during the last session is not left to the next run
        return done

    def _changed(self) -> Iterator[dict[str, Any]]:
        """Name what became another after it was decided on, once; the entries that were written."""
        if isinstance(self._source, Keeps) and self.log.decided:
            found = self._source.holding([nanoseconds(row["snapshot"]) for row in self.log.decided])
            for entry in changes(self.log.entries, found):
                yield self._append(entry | {"switch": self.switch})

    def take(self, arrival: Arrival) -> dict[str, Any]:
        """Decide on one session, or refuse it; the entry that was written."""
        entry = self._common(arrival)
        before = self.log.decided[-1] if self.log.decided else None
        if why := out_of_order(arrival, self._last_decided(), SPX.calendar):
            return self._append(entry | {"kind": REFUSED, "switch": self.switch, "reasons": [why]})
        if arrival.problem:
            return self._refuse(entry, [arrival.problem])
        if why := aged(arrival, self.limits, SPX.calendar):
            return self._refuse(entry, [why])
        if before and before["terminated"]:
            return self._refuse(entry, ["the account is ruined: open another"])
        try:
            pair = arrival.pair(nanoseconds(before["snapshot"]) if before else None)
            if reasons := faults_of(pair, self.limits):
                return self._refuse(entry, reasons)
            simulator = Simulator(pair, self.config)
            if before is None:
                account = Account.fresh(self.config.capital_usd)
                shown = simulator.arrive(account, None)
            else:
                shown = simulator.arrive(Account.kept(before), before["action"])
            entry["content_sha256"] = content_of(pair, pair.n_snapshots - 1)
            return self._decide(entry, arrival, simulator, shown, before)
        except ArtifactError as error:
            self._recall()  # what was refused leaves no trace in the memory either
            return self._refuse(entry, [str(error)])

    def _recall(self) -> None:
        """Remember what the log says was decided on, and nothing else."""
        decided = self.log.decided
        self._mind.recall(
            (
                (np.array(row["observation"], np.float32), np.array(row["allowed"], bool), row["action"])
                for row in decided[-self._mind.policy.memory_sessions :]
            ),
            len(decided),
        )

    @property
    def switch(self) -> str:
        """The state of the kill switch."""
        return switch_of(self.log)

    def _decide(
        self,
        entry: dict[str, Any],
        arrival: Arrival,
        simulator: Simulator,
        shown: Shown,
        before: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        book = book_columns(simulator, shown)
        last = nanoseconds(before["snapshot"]) if before else None
        entry |= book | {"missing_sessions": missing_between(last, arrival.snapshot, SPX.calendar)}
        asked, reasons = tripped(self.log.entries, entry, self.limits)
        state = tighter(self.switch, asked)
        allowed = allowed_of(shown.mask, state)
        thought = self._mind.decide(shown.observation, allowed)
        orders = [order_columns(row) for row in simulator.intended(shown, thought.action)]
        return self._append(
            entry
            | {
                "kind": DECIDED,
                "switch": state,
                "reasons": reasons,
                "observation": shown.observation.tolist(),
                "observation_sha256": hashlib.sha256(shown.observation.tobytes()).hexdigest(),
                "mask": shown.mask.tolist(),
                "allowed": allowed.tolist(),
                "action": thought.action,
                "action_name": ACTIONS[thought.action],
                "logits": thought.logits.tolist(),
                "probabilities": thought.probabilities.tolist(),
                "value": thought.value,
                "reward": shown.reward,
                "orders": orders,
                "regime": self._regime(shown.observation),
            }
        )

    def _refuse(self, entry: dict[str, Any], reasons: list[str]) -> dict[str, Any]:
        """Log that a session was not decided on; account and memory are as they were."""
        asked, why = after_refusal(self.log.entries, entry, self.limits)
        state = tighter(self.switch, asked)
        return self._append(entry | {"kind": REFUSED, "switch": state, "reasons": [*reasons, *why]})

    def _append(self, entry: dict[str, Any]) -> dict[str, Any]:
        self.log.append(entry)
        return self.log.entries[-1]

    def _last_decided(self) -> int | None:
        """The newest session that was decided on: what is older can no longer be."""
        return nanoseconds(self.log.decided[-1]["snapshot"]) if self.log.decided else None

    def _refused_already(self, arrival: Arrival) -> bool:
        """Whether this very session was refused before, for what it held: it is looked at again when it is another.

        A refusal by a clock that has been set back since, or before the session had ended, says nothing of it; nor does
        one for what the reading said of it, once the reading says nothing any more.
        """
        return any(
            row["kind"] == REFUSED
            and (nanoseconds(row["snapshot"]), row["session_sha256"]) == (arrival.snapshot, arrival.session_sha256)
            and (arrival.problem or not row["reasons"][0].startswith(UNREAD))
            and (seen := nanoseconds(row["seen_at"])) <= arrival.seen_at
            and not too_early(arrival.snapshot, seen - int(row["quote_age_s"] * 1e9), seen, SPX.calendar)
            for row in self.log.entries
        )

    def _common(self, arrival: Arrival) -> dict[str, Any]:
        return {
            "snapshot": arrival.snapshot,
            "seen_at": arrival.seen_at,
            "quote_age_s": arrival.age_s,
            "source": arrival.source,
            "source_sha256": arrival.source_sha256,
            "session_sha256": arrival.session_sha256,
            "session_files": arrival.files or None,
            "label": arrival.label,
        }

    def _opening(self, opening: Opening) -> dict[str, Any]:
        facts = {
            "bundle": self.manifest.identity,
            "run": self.manifest.run,
            "standing": self.manifest.standing,
            "qualified": self.manifest.qualified,
            "account": dict(self.manifest.account),
            "memory_sessions": self.manifest.memory_sessions,
            "source": self._source.name,
            "label": self._source.label,
            "currency": self._source.currency,
            "limits": opening.limits.to_dict(),
            "tenors": opening.tenors,
            "discount": RunConfig.from_dict(read_json(opening.bundle / "config.json")).ppo.gamma,
            "training_data_sha256": self.manifest.provenance.get("training_data_sha256"),
        }
        return {"kind": OPENED, "switch": ACTIVE, "facts": canonical_json(facts), "reasons": []}

    def _require_same(self, source: QuoteSource) -> None:
        for what, found, expected in (
            ("bundle", self.manifest.identity, self.facts["bundle"]),
            ("source", source.name, self.facts["source"]),
        ):
            if found != expected:
                raise ShadowError(
                    f"shadow account {self.log.folder.name} is of {what} {expected[:12]}: found {found[:12]}. Pass "
                    "that one, or another --name for a new account."
                )


def account_config(account: Mapping[str, Any]) -> EnvConfig:
    """The account that a bundle's manifest states."""
    return EnvConfig(**{item.name: account[item.name] for item in fields(EnvConfig) if item.name in account})


def switch_of(log: ShadowLog) -> str:
    """The state of the kill switch after the last entry."""
    return log.entries[-1]["switch"] if log.entries else ACTIVE


def heed(log: ShadowLog) -> None:
    """Switch as a person asked while a process held the log; only ever tighter."""
    if (asked := asked_of(log.folder)) is not None:
        state, reason = asked
        if tighter(switch_of(log), state) != switch_of(log):
            set_switch(log, state, reason)
        forget_asked(log.folder)


def set_switch(log: ShadowLog, state: str, reason: str, now: datetime | None = None) -> str:
    """Let a person switch; the state before.

    Raises: ShadowError without a reason, or for an account that was never opened
    """
    assert state in STATES
    before, said = switch_of(log), require_reason(reason)
    log.require_opened()
    at = now or datetime.now(UTC)
    log.append({"kind": SWITCHED, "switch": state, "reasons": [said], "seen_at": int(at.timestamp() * 1e9)})
    return before
