"""The features of `specs.MARKET_FEATURES` from a path's short memory: the numbers of `market.build.features`."""

import torch

from clstm_core.env.generated_cells import Cells
from clstm_core.market.clock import DAY_YEARS, YEAR_NS
from clstm_core.market.worlds.paths import PAST, PathPoint
from clstm_core.market.worlds.weekly import Weekly
from clstm_core.specs import CELL_INDEX, MARKET_FEATURES

SURFACE_FEATURES = ("near_atm_vol", "far_atm_vol", "near_skew", "far_skew")


def surface_known(cells: Cells, before: torch.Tensor) -> torch.Tensor:
    """`SURFACE_FEATURES` [4, N] as last known: this snapshot's, else those `before` it; NaN where never known."""

    def vol(name: str) -> torch.Tensor:
        at = CELL_INDEX[name]
        return torch.where(cells.listed[at], cells.vol[at], torch.nan)

    money = [0.5 * (vol(f"{tenor}_call_atm") + vol(f"{tenor}_put_atm")) for tenor in ("near", "far")]
    skew = [vol(f"{tenor}_put_20") - vol(f"{tenor}_call_20") for tenor in ("near", "far")]
    now = torch.stack([*money, *skew]).double()
    return torch.where(now.isnan(), before, now)


def market_features(
    listing: Weekly, point: PathPoint, cells: Cells, known: torch.Tensor, before: torch.Tensor
) -> torch.Tensor:
    """All features, raw, float32 [F, N] in the order of `specs.MARKET_FEATURES`.

    Shapes: known and before [4, N] as `surface_known` gives them at this snapshot and the one before; NaN where none
    """
    close, session = point.log_close, point.session
    last = PAST - 1
    squares = close.diff(dim=0) ** 2
    values = {f"return_{n}d": close[last] - close[last - n] for n in (1, 5, 21)}
    for n in (5, 21):
        elapsed = (listing.session_ns_C[session] - listing.session_ns_C[session - n]).double() / YEAR_NS
        values[f"realised_vol_{n}d"] = torch.sqrt(squares[last - n :].sum(dim=0) / elapsed)
    realised = values["realised_vol_21d"]
    near = _or(known[0], realised)
    far = _or(known[1], near)
    tte = {
        name: torch.where(cells.listed[at], cells.tte[at], days * DAY_YEARS)
        for name, at, days in (
            ("near_tenor_years", CELL_INDEX["near_call_atm"], listing.near_days),
            ("far_tenor_years", CELL_INDEX["far_call_atm"], listing.far_days),
        )
    }
    weekday = listing.weekday_C[session]
    values |= tte | {
        "near_atm_vol": near,
        "far_atm_vol": far,
        "near_skew": _or(known[2], torch.zeros_like(near)),
        "far_skew": _or(known[3], torch.zeros_like(near)),
        "term_slope": far - near,
        "variance_premium": near**2 - realised**2,
        "near_atm_vol_change_1d": near - _or(before[0], near),
        "rate": point.state.rate,
        "days_to_next_snapshot": torch.where(weekday >= 4, 7.0 - weekday, 1.0),
    }
    return torch.stack([values[name].double() for name in MARKET_FEATURES]).float()


def _or(value: torch.Tensor, neutral: torch.Tensor) -> torch.Tensor:
    return torch.where(value.isnan(), neutral, value)
