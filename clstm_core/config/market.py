"""Where quotes come from and how they become tensors."""

from dataclasses import dataclass
from datetime import date

from clstm_core.config.require import require

MAX_SNAPSHOTS = 10_000
"""Longest simulated market, about forty years: its tables take some ten GB of memory."""

FEWEST_SESSIONS = 250
"""Training days that worlds to train in are made of, at the least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketConfig:
    """Where quotes come from and how they become tensors."""

    source: str = "sp500_modelled"  # a file of market/sources; `open_source` refuses other names
    data_dir: str | None = None  # folder of the vendor's files; None for sources that need none
    near_days: float = 30.0  # calendar days to expiry that the near tenor aims at
    far_days: float = 60.0
    tenor_tolerance: float = 0.5  # a cell is masked outside (1 +- this) x its target
    feature_lookback: int = 21  # snapshots a feature may look back; part of the embargo
    train_until: str | None = None  # last date of training, ISO; None, or outside the data: by the fractions below
    validation_until: str | None = None  # last date of validation; the rest is the test window
    first_date: str | None = None  # sessions before it, and after the other, are no part of the market; beside the two
    last_date: str | None = None  # dates above, ISO
    train_fraction: float = 0.80
    validation_fraction: float = 0.10
    min_training_snapshots: int = 60  # below this a set trains nothing
    premium: bool = True  # modelled and simulated worlds: False prices without a variance premium (simulated: P = Q)
    stress: bool = False  # modelled world: spreads twice as wide, volatility at the money a point lower
    n_snapshots: int = 1500  # simulated world only
    seed: int = 0  # modelled and simulated worlds only

    def __post_init__(self) -> None:
        require(
            bool(self.source.strip()),
            f"source={self.source!r}: expected the name of a market source, e.g. sp500_modelled. Pass one as SOURCE.",
        )
        require(
            1 <= self.n_snapshots <= MAX_SNAPSHOTS,
            f"n_snapshots={self.n_snapshots:,}: expected 1 to {MAX_SNAPSHOTS:,}, e.g. 1500.",
        )
        require(
            0 < self.near_days <= self.far_days,
            f"near_days={self.near_days} and far_days={self.far_days}: expected 0 < near_days <= far_days. "
            "Swap or raise them.",
        )
        require(
            0 < self.tenor_tolerance < 1,
            f"tenor_tolerance={self.tenor_tolerance}: expected a fraction between 0 and 1, e.g. 0.5.",
        )
        dates = (self.train_until, self.validation_until)
        require(
            dates == (None, None) or (all(map(_is_date, dates)) and dates[0] < dates[1]),  # type: ignore[operator]
            f"train_until={dates[0]!r} and validation_until={dates[1]!r}: expected two dates in order, e.g. 2012-12-31 "
            "and 2016-12-31, or neither.",
        )
        within = (self.first_date, *dates, self.last_date)
        ordered = [day for day in within if day is not None]
        require(
            within[0] is within[-1] is None
            or (None not in dates and all(map(_is_date, ordered)) and ordered == sorted(set(ordered))),
            f"first_date={self.first_date!r} and last_date={self.last_date!r}: expected dates around train_until and "
            f"validation_until ({dates[0]!r}, {dates[1]!r}), or neither.",
        )
        require(
            self.train_fraction > 0
            and self.validation_fraction >= 0
            and self.train_fraction + self.validation_fraction < 1,
            f"train_fraction={self.train_fraction} and validation_fraction={self.validation_fraction} leave no test "
            "window. Use fractions that sum to less than 1, e.g. 0.80 and 0.10.",
        )


def _is_date(text: str | None) -> bool:
    try:
        return text is not None and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
