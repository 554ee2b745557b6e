"""What a shadow account may do before it is reduced or halted: stated once when it is opened, kept in its log."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clstm_core.errors import ConfigError

MOST = 1e12
"""Beyond it a number limits nothing; a whole number may be larger than any float."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Thresholds; None switches one off.

    Units: seconds; sessions; fractions of equity (of its highest since the switch was last set, for drawdowns); of
           `dollar_gamma` dollar delta per 1% of spot over equity; of `crossed_share` rows; orders per `rate_sessions`
    """

    max_quote_age_s: float | None = 26 * 3600.0  # without the exchange's closed days: until the next quotes are due
    max_missing_sessions: int | None = 1  # between two snapshots: more reduces
    max_crossed_share: float | None = 0.0  # of a session's quoted rows
    max_refused: int | None = 3  # sessions in a row: as many halt
    reduce_drawdown: float | None = 0.15
    halt_drawdown: float | None = 0.25
    max_net_exposure: float | None = 1.0
    max_gross_exposure: float | None = 2.0
    max_crash_loss: float | None = 0.25
    max_vega_per_point: float | None = 0.01
    max_dollar_gamma: float | None = 0.5
    max_orders: int | None = None
    rate_sessions: int = 21

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if value is None:
                continue
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= MOST or not math.isfinite(value):
                raise ConfigError(
                    f"limit {item.name}={_short(value)}: expected a number of at least 0, or null for none. Correct it."
                )
        if not isinstance(self.rate_sessions, int) or self.rate_sessions < 1:
            raise ConfigError(
                f"limit rate_sessions={_short(self.rate_sessions)}: expected a whole number of at least 1. Correct it."
            )

    @classmethod
    def of_account(cls, account: Mapping[str, Any]) -> "Limits":
        """Those of a bundle's account: the caps of its risk budget, and vega at twice the cap of an opening."""
        names = ("max_net_exposure", "max_gross_exposure", "max_crash_loss")
        caps: dict[str, Any] = {name: account.get(name) for name in names}
        vega = account.get("max_vega")
        return cls(**caps, max_vega_per_point=None if vega is None else 2.0 * vega)

    @classmethod
    def none(cls) -> "Limits":
        """None at all, as a backtest has none: what is refused is still refused."""
        off: dict[str, Any] = dict.fromkeys(
            item.name for item in dataclasses.fields(cls) if item.name != "rate_sessions"
        )
        return cls(**off)

    @classmethod
    def kept(cls, stated: Mapping[str, Any]) -> "Limits":
        """Those that a log states; what it was opened without is off. ConfigError for one that is unknown here."""
        if strange := sorted(set(stated) - {item.name for item in dataclasses.fields(cls)}):
            raise ConfigError(f"a log states limit {', '.join(strange)}: unknown here. Use the version that opened it.")
        return dataclasses.replace(cls.none(), **stated)

    @classmethod
    def from_file(cls, path: Path, account: Mapping[str, Any]) -> "Limits":
        """Those of a bundle's account, but for what a JSON file states."""
        try:
            stated = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"cannot read the limits {path}: {error}. Expected a JSON object. Correct the file."
            ) from error
        known = [item.name for item in dataclasses.fields(cls)]
        if not isinstance(stated, dict) or (strange := sorted(set(stated) - set(known))):
            found = ", ".join(strange) if isinstance(stated, dict) else type(stated).__name__
            raise ConfigError(f"limits {path} state {found}: expected only {', '.join(known)}. Correct the file.")
        try:
            return dataclasses.replace(cls.of_account(account), **stated)
        except ConfigError as error:
            raise ConfigError(f"limits {path}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)


def _short(value: Any) -> str:
    return repr(value)[:40]
