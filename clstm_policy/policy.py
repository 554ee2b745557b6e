"""One policy and what it remembers: verified when it is opened, asked once per snapshot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from clstm_policy.files import GRAPH, golden_of, verified_manifest
from clstm_policy.guard import MAX_LOGIT_DIFFERENCE, Arrays, PolicyError, check_inputs, logit_difference

if TYPE_CHECKING:
    from clstm_policy.graph import Graph

UNQUALIFIED = "UNQUALIFIED"


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
    """

    def __init__(self, graph: "Graph", manifest: Mapping[str, Any]):
        self._graph, self._accounts = graph, 0
        self._state: Arrays = ()
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
        shape = (len(rows), len(self.actions))
        mask = np.ones(shape, dtype=bool) if action_mask is None else np.atleast_2d(np.asarray(action_mask, dtype=bool))
        if len(rows) != self._accounts:
            if self._accounts:
                raise PolicyError(
                    f"found observations of {len(rows)} accounts, expected {self._accounts} as before: what is "
                    "remembered belongs to those. Call forget() first to begin with others."
                )
            self._begin(len(rows))
        # its own state came of inputs that were checked, or of `remember`
        check_inputs((rows, mask), self._graph.inputs[:2], self.features)
        logits, *state = self._graph((rows, mask, *self._state))
        self._state = tuple(state)
        found = [self._decision(row, legal) for row, legal in zip(logits, mask, strict=True)]
        return found[0] if single else found

    def forget(self) -> None:
        """Begin anew, as with accounts that have just started."""
        self._accounts, self._state = 0, ()

    def remembered(self) -> dict[str, np.ndarray]:
        """What it remembers, to be kept across a restart: arrays by name; empty before its first decision."""
        names = [item.name for item in self._graph.inputs[2:]]
        return {name: array.copy() for name, array in zip(names, self._state, strict=False)}

    def remember(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on with what `remembered` gave before a restart.

        Raises: PolicyError for another policy's memory, or one that is damaged
        """
        wanted = self._graph.inputs[2:]
        if missing := [item.name for item in wanted if item.name not in state]:
            raise PolicyError(f"found no {', '.join(missing)} in what is to be remembered: expected all of them.")
        accounts = len(state[wanted[0].name])
        blank = (self._graph.inputs[0].blank(accounts), self._graph.inputs[1].blank(accounts))
        kept = tuple(np.asarray(state[item.name]) for item in wanted)
        check_inputs((*blank, *kept), self._graph.inputs, self.features)
        self._accounts, self._state = accounts, kept

    def _begin(self, accounts: int) -> None:
        self._accounts = accounts
        self._state = tuple(item.blank(accounts) for item in self._graph.inputs[2:])

    def _rows(self, observation: Any) -> np.ndarray:
        if not isinstance(observation, Mapping):
            return np.asarray(observation, dtype=np.float32)
        if strange := sorted(set(observation) ^ set(self.features)):
            raise PolicyError(
                f"features {', '.join(strange)} are missing or unknown: expected exactly {', '.join(self.features)}."
            )
        return np.array([observation[name] for name in self.features], dtype=np.float32)

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
