"""The listing of generated worlds: a pure function of the calendar and of what is fixed when a path starts.

Every Friday is an expiry (the session before it where Friday is no session), listed as far out as any tenor reaches;
every positive multiple of the path's strike step is a strike. So nothing needs to be stored to know what is open.
"""

from dataclasses import dataclass

import numpy as np
import torch

from clstm_core.errors import ConfigError
from clstm_core.market.build.grid import choose_expirations
from clstm_core.market.clock import DAYS_YEAR, YEAR_NS, close_ns, session_on_or_before, sessions_between, weekday
from clstm_core.market.worlds.listing import FRIDAY, STEPS
from clstm_core.market.worlds.surface import VIX_YEARS
from clstm_core.once import made_once

VIX_DAYS = 30
FIRST_DATE = np.datetime64("2001-01-01")


@dataclass(frozen=True, kw_only=True, slots=True)
class Weekly:
    """Sessions, and the expiries that are open at each of them.

    Shapes: `_C` sessions in order; `_E` expiries in order
    Units:  instants in UTC nanoseconds; clocks in years
    """

    session_ns_C: torch.Tensor  # int64
    weekday_C: torch.Tensor  # int64, 0 Monday
    coming_C: torch.Tensor  # float64: sessions that the VIX of that day counts on
    near_C: torch.Tensor  # int64 index of the near tenor's expiry, -1 where none
    far_C: torch.Tensor
    open_C: torch.Tensor  # int64 index of the first expiry still ahead
    expiration_E: torch.Tensor  # int64 nanoseconds
    place_C: torch.Tensor  # int64: scheduled sessions until then
    place_E: torch.Tensor  # int64
    settle_E: torch.Tensor  # int64: first session at or after it; C where beyond
    value_E: torch.Tensor  # int64: the session whose close it settles on
    near_days: float
    far_days: float
    reach_days: float
    by_sessions: bool  # variance comes session by session; False: by the calendar clock, as dynamics and carry

    @property
    def n_sessions(self) -> int:
        """C."""
        return len(self.session_ns_C)

    def to(self, device: torch.device | str) -> "Weekly":
        """The same listing on another device."""
        names = (name for name in self.__slots__ if isinstance(getattr(self, name), torch.Tensor))
        moved = {name: getattr(self, name).to(device) for name in names}
        kept = {name: getattr(self, name) for name in self.__slots__ if name not in moved}
        return Weekly(**moved, **kept)

    def tte(self, session: torch.Tensor, expiry: torch.Tensor) -> torch.Tensor:
        """Years from the close of a session to an expiry."""
        return (self.expiration_E[expiry] - self.session_ns_C[session]).double() / YEAR_NS

    def clock(self, session: torch.Tensor, expiry: torch.Tensor) -> torch.Tensor:
        """Years by which variance comes until an expiry, as `Surface` counts them."""
        if not self.by_sessions:
            return self.tte(session, expiry)
        ahead = (self.place_E[expiry] - self.place_C[session]).double()
        return ahead / self.coming_C[session] * VIX_YEARS


def weekdays(count: int) -> np.ndarray:
    """The first `count` weekdays from `FIRST_DATE` on."""
    dates = np.arange(FIRST_DATE, FIRST_DATE + np.timedelta64(2 * count + 7, "D"))
    return dates[weekday(dates) < 5][:count]


def weekly_listing(
    dates: np.ndarray,
    scheduled: np.ndarray,
    *,
    near_days: float,
    far_days: float,
    tolerance: float,
    by_sessions: bool = True,
) -> Weekly:
    """The listing over sessions `dates`.

    Shapes:  dates and scheduled datetime64[D], ascending; `scheduled` reaches the far tenor's last expiry
    Units:   near_days and far_days in calendar days; tolerance as in MarketConfig
    Raises:  ConfigError where `scheduled` ends too early
    """
    reach = (1.0 + tolerance) * far_days + 7.0
    last = dates[-1] + np.timedelta64(int(reach) + 1, "D")
    if scheduled[-1] < last:
        raise ConfigError(
            f"the calendar ends on {scheduled[-1]}: expected sessions until {last}, the last expiry that is listed. "
            "Pass a longer one."
        )
    days = np.arange(dates[0], last, dtype="datetime64[D]")
    expiry = np.unique(session_on_or_before(days[weekday(days) == FRIDAY], scheduled))
    expiry = expiry[expiry > dates[0]]
    session_ns, expiration = close_ns(dates), close_ns(expiry)
    chosen = [
        _tenor(session_ns, expiration, target_days=target, tolerance=tolerance, reach=reach)
        for target in (near_days, far_days)
    ]
    target = dates + np.timedelta64(VIX_DAYS, "D")
    past = (weekday(target) - FRIDAY) % 7
    before, after = (sessions_between(dates, target - past + np.timedelta64(days, "D"), scheduled) for days in (0, 7))
    tensors = {
        "session_ns_C": session_ns,
        "weekday_C": weekday(dates),
        "coming_C": before + (after - before) * past / 7.0,
        "near_C": chosen[0],
        "far_C": chosen[1],
        "open_C": np.searchsorted(expiration, session_ns, side="right"),
        "expiration_E": expiration,
        "place_C": np.searchsorted(scheduled, dates, side="right"),
        "place_E": np.searchsorted(scheduled, expiry, side="right"),
        "settle_E": np.searchsorted(session_ns, expiration, side="left"),
        "value_E": np.searchsorted(dates, expiry, side="right") - 1,
    }
    return Weekly(
        **{name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in tensors.items()},
        near_days=near_days,
        far_days=far_days,
        reach_days=reach,
        by_sessions=by_sessions,
    )


def _tenor(
    session_ns: np.ndarray, expiration: np.ndarray, *, target_days: float, tolerance: float, reach: float
) -> np.ndarray:
    """Index of the expiry that the grid's own rule takes for a tenor at each session, -1 where none."""
    c, e, _ = open_expiries(session_ns, expiration, reach)
    both = np.repeat(np.stack([c, e]), 2, axis=1)
    chosen = choose_expirations(
        both[0],
        expiration[both[1]],
        np.tile(np.array([1, -1]), len(c)),
        (expiration[both[1]] - session_ns[both[0]]) / YEAR_NS,
        len(session_ns),
        target_days=target_days,
        tolerance=tolerance,
    )
    return np.where(chosen < 0, -1, np.searchsorted(expiration, chosen)).astype(np.int64)


def open_expiries(
    session_ns: np.ndarray, expiration: np.ndarray, reach_days: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Session and expiry of every pair that is open, and the years between."""
    years = (expiration[None, :] - session_ns[:, None]) / YEAR_NS
    c, e = np.nonzero((years > 0) & (years * DAYS_YEAR <= reach_days))
    return c, e, years[c, e]


def path_strike_step(spot: torch.Tensor, vol: torch.Tensor, near_days: float) -> torch.Tensor:
    """Distance of strikes on each path, fixed by spot and volatility when it starts; as `listing.strike_step`."""
    steps = _steps(spot.dtype, spot.device)
    wanted = 0.2 * spot * vol * (near_days / DAYS_YEAR) ** 0.5
    return steps[torch.log(steps / wanted[..., None]).abs().argmin(dim=-1)]


@made_once
def _steps(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """`listing.STEPS`; made once, since who walks paths may not wait for the device."""
    return torch.as_tensor(STEPS, dtype=dtype, device=device)
