"""One policy and what it remembers: verified when it is opened, asked once per snapshot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from clstm_policy.files import GRAPH, golden_of, require_sealed, verified_manifest
from clstm_policy.guard import (
    MAX_LOGIT_DIFFERENCE,
    Arrays,
    PolicyError,
    check_inputs,
    legal_actions,
    logit_difference,
    numbers,
)

if TYPE_CHECKING:
    from clstm_policy.graph import Graph

UNQUALIFIED = "UNQUALIFIED"
WHOSE = "policy_sha256"
"""Name of the array that says whose memory is kept."""


class Decision(NamedTuple):
    """What a policy would do with one account.

    action: its name; number: its place among the actions; probabilities: of every action, 0 where it is not legal
    """

    action: str
    number: int
    probabilities: dict[str, float]


class Policy:
    """A bundle's policy with the memory of the accounts that it decides for.

    features, actions: names, in the order of observations and masks
    standing:          how it was chosen; `qualified` is False where it is no champion
    memory_sessions:   decisions after which it forgets, by itself

    Threads may share one: each decision is then taken whole, one after the other.
    """

    def __init__(self, graph: "Graph", manifest: Mapping[str, Any]):
        self._graph, self._lock = graph, Lock()
        self._state: Arrays = ()
        self._whose = bytes.fromhex(manifest.get("files", {}).get(GRAPH, ""))
        self.features: tuple[str, ...] = tuple(manifest["schema"]["observation"])
        self.actions: tuple[str, ...] = tuple(manifest["schema"]["actions"])
        self.standing = str(manifest["provenance"].get("standing") or f"{UNQUALIFIED}: nothing says that it was chosen")
        self.memory_sessions = int(manifest["memory_sessions"])

    @property
    def qualified(self) -> bool:
        """Whether it is a champion."""
        return not self.standing.startswith(UNQUALIFIED)

    @classmethod
    def load(cls, folder: Path | str, *, threads: int = 1, unqualified: bool = False) -> Self:
        """Verify every file of a bundle, replay its golden vectors, and hand over the policy with an empty memory.

        Args:
            threads: of ONNX Runtime; one is fastest for one account
            unqualified: open a policy too that no evidence called a champion

        Raises: PolicyError for a file that is missing or altered, a graph that decides otherwise than it did when it
                was exported, and a policy that is no champion unless it is asked for
        """
        from clstm_policy.graph import Graph  # it brings ONNX Runtime

        place = Path(folder).resolve()  # a link that is swapped meanwhile does not mix two bundles
        manifest = verified_manifest(place)
        graph = Graph(place / GRAPH, threads)
        _require_own(graph, manifest, place)
        require_sealed(manifest, place)
        policy = cls(graph, manifest)
        if not (policy.qualified or unqualified):
            raise PolicyError(
                f"the policy of {place} is no champion ({policy.standing}): expected one that qualified. Use another "
                "bundle; unqualified=True opens it to be looked at, not traded."
            )
        policy._replay(golden_of(place), place)
        return policy

    def act(
        self, observation: Mapping[str, float] | Sequence[float] | np.ndarray, action_mask: Any = None
    ) -> Decision | list[Decision]:
        """Decide once, and remember: one decision for one account, a list for several.

        Args:
            observation: the features by name or in order [F]; of several accounts [N, F]
            action_mask: which actions are legal [A] or [N, A]; all of them when left out, which no market allows for
                         long: an order that cannot be placed is not filled

        Raises: PolicyError for what must not be decided on; what it remembers is then as it was
        """
        rows = self._rows(observation)
        single = rows.ndim == 1
        rows = np.atleast_2d(rows)
        mask = legal_actions(action_mask, (len(rows), len(self.actions)))
        with self._lock:
            if self._state and len(rows) != (accounts := len(self._state[0])):
                raise PolicyError(
                    f"found observations of {len(rows)} accounts, expected {accounts} as before: what is remembered "
                    "belongs to those. Call forget() first to begin with others."
                )
            # its own state came of inputs that were checked, or of `remember`
            check_inputs((rows, mask), self._graph.inputs[:2], self.features)
            state = self._state or tuple(item.blank(len(rows)) for item in self._graph.inputs[2:])
            logits, *following = self._graph((rows, mask, *state))
            self._state = tuple(following)
        found = [self._decision(row, legal) for row, legal in zip(logits, mask, strict=True)]
        return found[0] if single else found

    def forget(self) -> None:
        """Begin anew, as with accounts that have just started."""
        self._state = ()

    def remembered(self) -> dict[str, np.ndarray]:
        """What it remembers and whose it is, to be kept across a restart: arrays by name; empty before it decided."""
        names = [item.name for item in self._graph.inputs[2:]]
        found = {name: array.copy() for name, array in zip(names, self._state, strict=False)}
        whose = {WHOSE: np.frombuffer(self._whose, dtype=np.uint8).copy()} if found and self._whose else {}
        return whose | found

    def remember(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on with what `remembered` gave before a restart; it forgets where that was empty.

        Raises: PolicyError for another policy's memory, or one that is damaged; what it remembers is then as it was
        """
        if not len(state):
            return self.forget()
        wanted = self._graph.inputs[2:]
        names = ([WHOSE] if self._whose else []) + [item.name for item in wanted]
        if missing := [name for name in names if name not in state]:
            raise PolicyError(
                f"found no {', '.join(missing)} in what is to be remembered: expected all that remembered() gave. Give "
                "it whole, or call forget() to begin anew."
            )
        if self._whose and np.asarray(state[WHOSE]).tobytes() != self._whose:
            raise PolicyError(
                f"found the state of another policy: expected that of {self._whose.hex()[:12]}. Give what this one "
                "remembered, or call forget() to begin anew."
            )
        kept = tuple(np.array(state[item.name]) for item in wanted)  # its own: the caller may write to his
        accounts = len(kept[0]) if kept[0].ndim else 0
        blank = (self._graph.inputs[0].blank(accounts), self._graph.inputs[1].blank(accounts))
        check_inputs((*blank, *kept), self._graph.inputs, self.features)
        self._state = kept

    def _rows(self, observation: Any) -> np.ndarray:
        if not isinstance(observation, Mapping):
            return numbers("the observation", observation)
        if strange := sorted(set(observation) ^ set(self.features), key=str):
            raise PolicyError(
                f"features {', '.join(map(str, strange))} are missing or unknown: expected exactly "
                f"{', '.join(self.features)}. Give each of them once, by its name."
            )
        rows = numbers("the observation", [observation[name] for name in self.features])
        if rows.ndim != 1:
            raise PolicyError(
                f"features by name are {list(rows.shape[1:])} each: expected one number each. Give several accounts in "
                "order, [N, F]."
            )
        return rows

    def _decision(self, logits: np.ndarray, legal: np.ndarray) -> Decision:
        scores = np.where(legal, logits.astype(np.float64), -np.inf)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        number = int(scores.argmax())
        return Decision(self.actions[number], number, dict(zip(self.actions, shares.tolist(), strict=True)))

    def _replay(self, golden: Mapping[str, np.ndarray], place: Path) -> None:
        """Raise PolicyError where this runtime decides otherwise than the trained network did."""
        state: Arrays = tuple(item.blank(golden["observation"].shape[1]) for item in self._graph.inputs[2:])
        steps = zip(golden["observation"], golden["action_mask"].astype(bool), golden["logits"], strict=True)
        for observation, mask, expected in steps:
            logits, *following = self._graph((observation, mask, *state))
            state = tuple(following)
            difference = logit_difference(logits, expected, mask)
            if difference > MAX_LOGIT_DIFFERENCE:
                raise PolicyError(
                    f"golden vectors of {place} are not reproduced: |d logit| = {difference:.2e}, expected at most "
                    f"{MAX_LOGIT_DIFFERENCE:.0e}. Use the versions that its manifest.json names, or export it again."
                )


def _require_own(graph: "Graph", manifest: Mapping[str, Any], place: Path) -> None:
    """Refuse a graph that was exported with other names, another memory or another standing than the manifest's."""
    expected = {
        **{name: json.dumps(list(names)) for name, names in manifest["schema"].items()},
        "schema_sha256": manifest["schema_sha256"],
        "memory_sessions": str(manifest["memory_sessions"]),
        "standing": manifest["provenance"].get("standing") or f"{UNQUALIFIED}: nothing says that it was chosen",
    }
    for key, value in expected.items():
        if (found := graph.metadata.get(key)) != value:
            raise PolicyError(
                f"bundle {place} does not fit its graph: {key} is {str(found)[:60]} in {GRAPH}, expected "
                f"{str(value)[:60]}. Export it again."
            )
