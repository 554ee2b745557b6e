"""What a challenger has to show: stated before it is made, kept with its hash, the same for every one."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from clstm_core.artifacts.folder import json_sha256
from clstm_core.errors import ConfigError
from clstm_core.evaluation.luck import FAMILY_LEVEL, HEADLINE_LEVEL

FAINTEST = 4e-4
"""Least level of a look: eight of the bootstrap's samples lie below its bound."""

_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionPlan:
    """Limits of the promotion rules. A plan is registered before the challengers that it judges are made.

    sessions:         least days that neither policy was trained on
    looks_per_year:   challengers that may be decided on within 365 days; each look has `year_level` / this many
    year_level:       chance that a year of challengers that are no better promotes any of them
    luck_level:       largest fair-world p-value against cash
    drawdown_margin, shortfall_margin: by how much the largest fall, and the mean of the worst 5% of sessions, may
                      exceed the champion's; first_...: the largest that a first champion, held against cash, may show
    drawdown_floor, shortfall_floor: what is never refused, whatever the champion's figures are: beside one that holds
                      cash and never falls, margins alone would refuse whoever takes any risk, however much better
    latency_us:       largest median time of one decision
    shadow:           whether both must have traded in shadow; shadow_sessions: for how long at least;
                      shadow_margin_bps: by how much per session the challenger may be worse there

    Units:  drawdowns and shortfalls as fractions of equity; latency in us
    Raises: ConfigError for limits that cannot be
    """

    sessions: int = 126
    looks_per_year: int = 52
    year_level: float = FAMILY_LEVEL
    luck_level: float = HEADLINE_LEVEL
    drawdown_margin: float = 0.02
    shortfall_margin: float = 0.0025
    drawdown_floor: float = 0.05
    shortfall_floor: float = 0.01
    first_drawdown: float = 0.25
    first_shortfall: float = 0.03
    latency_us: float = 1000.0
    shadow: bool = False
    shadow_sessions: int = 63
    shadow_margin_bps: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (("sessions", 60), ("looks_per_year", 1), ("shadow_sessions", 21)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}: expected at least {least}. Register another plan.")
        for name in ("year_level", "luck_level"):
            if not 0.0 < getattr(self, name) <= 0.05:
                raise ConfigError(
                    f"{name}={getattr(self, name)}: expected above 0 and at most 0.05. Register another plan."
                )
        if self.look_level < FAINTEST:
            raise ConfigError(
                f"looks_per_year={self.looks_per_year} leaves {self.look_level:.2g} for each: expected at least "
                f"{FAINTEST:g}, which a bootstrap still tells. Register fewer looks."
            )
        parts = ("drawdown_margin", "shortfall_margin", "drawdown_floor", "shortfall_floor")
        for name in (*parts, "first_drawdown", "first_shortfall"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(
                    f"{name}={getattr(self, name)}: expected a part of equity, 0 to 1, e.g. 0.02. Register another "
                    "plan."
                )
        for what, first in (("drawdown", self.first_drawdown), ("shortfall", self.first_shortfall)):
            if (floor := getattr(self, f"{what}_floor")) > first:
                raise ConfigError(
                    f"{what}_floor={floor}: expected at most first_{what}={first}, which a first champion may show. "
                    "Register another plan."
                )
        if not 0.0 <= self.shadow_margin_bps < math.inf:
            raise ConfigError(
                f"shadow_margin_bps={self.shadow_margin_bps}: expected at least 0, and finite. Register another plan."
            )
        if not 0.0 < self.latency_us < math.inf:
            raise ConfigError(f"latency_us={self.latency_us}: expected above 0, and finite. Register another plan.")

    @property
    def look_level(self) -> float:
        """Level of one look: looks share the year's evenly, whatever they have in common (Bonferroni)."""
        return self.year_level / self.looks_per_year

    @property
    def sha256(self) -> str:
        """Hash of the limits."""
        return json_sha256(asdict(self))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The plan of its plain form; what is left out is as this release has it.

        Raises: ConfigError for names that are no limits, and for limits that cannot be
        """
        known = {item.name: type(item.default) for item in fields(cls)}
        if strange := sorted(set(content) - set(known)):
            raise ConfigError(f"unknown limits {', '.join(strange)}: expected some of {', '.join(known)}.")
        for name, value in content.items():
            fitting = (int, float) if known[name] is float else known[name]
            if not isinstance(value, fitting) or (isinstance(value, bool) and known[name] is not bool):
                raise ConfigError(f"{name}={value!r}: expected {_KINDS[known[name]]}. Register another plan.")
        return cls(**content)

    @classmethod
    def kept(cls, content: Mapping[str, Any]) -> Self:
        """The plan that a decision keeps; a floor that it does not name was none when it was registered."""
        return cls.from_dict({"drawdown_floor": 0.0, "shortfall_floor": 0.0} | dict(content))
