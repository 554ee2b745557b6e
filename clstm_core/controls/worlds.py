"""Worlds whose edge is known: options are priced at a quoted volatility, and the index moves by that or by another."""

from dataclasses import dataclass

from clstm_core.controls.names import EDGE_FREE, OVERPAID
from clstm_core.market.worlds.generated import GeneratedWorld, simulated_world
from clstm_core.market.worlds.planted import PlantedDynamics


@dataclass(frozen=True, slots=True)
class Known:
    """A world with a known edge; without dynamics the martingale one, where nothing can be earned."""

    words: str
    dynamics: PlantedDynamics | None = None

    @property
    def fair(self) -> "Known":
        """The world with the same quotes where nothing can be earned: what luck looks like here."""
        if self.dynamics is None:
            return self
        return Known("the same quotes, and nothing to earn", PlantedDynamics(
            quoted=self.dynamics.quoted, realised=(1.0, 1.0), switch=self.dynamics.switch
        ))  # fmt: skip

    def world(self, horizon: int, seed: int) -> GeneratedWorld:
        """Paths for whole episodes of so many sessions."""
        return simulated_world(n_steps=horizon + 2, fair=self.dynamics is None, planted=self.dynamics, seed=seed)


KNOWN: dict[str, Known] = {
    EDGE_FREE: Known("options are priced by the law that the index follows: nothing to earn"),
    OVERPAID: Known(
        "the index moves by 0.7 of the volatility that options are priced at", PlantedDynamics(realised=(0.7, 0.7))
    ),
    **{
        f"regimes-{sessions}": Known(
            f"calm: 0.7 of it, wild: 1.3 times; a change every {sessions} sessions, everybody sees which it is",
            PlantedDynamics(quoted=(0.14, 0.22), realised=(0.7, 1.3), switch=1 / sessions),
        )
        for sessions in (250, 60)
    },
}
