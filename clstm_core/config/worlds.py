"""Worlds that are generated to train in."""

from dataclasses import dataclass

from clstm_core.config.require import require, require_numbers

MOST_SHARE, MOST_YEARS, MOST_VARIED = 1e9, 1e9, 4.0
"""Bounds of what makes sense: sums of larger shares, or paths of more years, cannot be counted; and worlds that vary by
more would lose their index."""

MOST_SEED = 2**62
"""Below it every seed that is made of one by adding to it is a number of 64 bits."""


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
        require_numbers(self)
        for name, share in self.shares.items():
            require(
                0 <= share <= MOST_SHARE,
                f"worlds: {name}={share}: expected a share of 0 or more, at most {MOST_SHARE:g}.",
            )
        require(
            self.years is None or 0 < self.years <= MOST_YEARS,
            f"worlds: years={self.years}: expected more than 0 and at most {MOST_YEARS:g}, or none at all (never "
            "the same world twice).",
        )
        require(
            0 <= self.varied <= MOST_VARIED,
            f"worlds: varied={self.varied}: expected 0 (all alike) to {MOST_VARIED:g}, e.g. 1.",
        )
        require(0 <= self.seed < MOST_SEED, f"worlds: seed={self.seed}: expected a whole number from 0 to 2^62 - 1.")

    @property
    def shares(self) -> dict[str, float]:
        """The share of each family, by its name."""
        return {name: getattr(self, name) for name in ("historical", "blocks", "heston", "bates", "history")}

    @property
    def generated(self) -> bool:
        """Whether there is any."""
        return any(self.shares.values())
