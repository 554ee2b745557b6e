"""Worlds that are generated to train in."""

from dataclasses import dataclass

from clstm_core.config.require import require


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldsConfig:
    """Worlds that are generated to train in (`market.worlds.families`), fitted to the market's training dates.

    Shares are relative; where all are zero the training dates themselves are traded.
    """

    historical: float = 0.0  # training days drawn one by one
    blocks: float = 0.0  # in runs of a month
    heston: float = 0.0  # a square-root variance
    bates: float = 0.0  # with jumps
    history: float = 0.0  # training days as they came
    years: float | None = None  # of market in all worlds together; None: every episode in another world
    varied: float = 1.0  # how much worlds differ in premium, drift, spread and smile; 0: not at all
    seed: int = 0

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            require(0 <= share < float("inf"), f"worlds: {name}={share}: expected a share of 0 or more.")
        require(
            self.years is None or self.years > 0, f"worlds: years={self.years}: expected more than 0, or none at all."
        )
        require(self.varied >= 0, f"worlds: varied={self.varied}: expected 0 (all alike) or more, e.g. 1.")

    @property
    def shares(self) -> dict[str, float]:
        """The share of each family, by its name."""
        return {name: getattr(self, name) for name in ("historical", "blocks", "heston", "bates", "history")}

    @property
    def generated(self) -> bool:
        """Whether there is any."""
        return any(self.shares.values())
