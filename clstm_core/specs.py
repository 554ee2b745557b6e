"""What every room must agree on: tensor dimensions, option cells, the action list, and the observation layout.

Dimension letters (suffixes of tensor names, time-major):
    T steps or snapshots   N envs        F features   H hidden   W attention window   L legs
    Q quote rows           K contracts   G grid cells A actions  S margin scenarios   P legs of one package
"""

from dataclasses import dataclass

MAX_LEGS = 8
"""L: option legs that one account may hold at once."""

PACKAGE_LEGS = 4
"""P: option legs that one order may trade at once."""

TENORS = ("near", "far")
RIGHT_CALL, RIGHT_PUT = 1, -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One cell of the contract grid: the listed contract nearest a delta (or the money) in a tenor.

    delta is unsigned; None means at the money: the strike nearest the forward that lists a call *and* a put, so that
    the two at-the-money cells of a tenor share one strike. `same_strike_as_near` marks the calendar's far legs: the far
    tenor's contract at the strike of the near tenor's at-the-money cell.
    """

    tenor: str
    right: int
    delta: float | None
    same_strike_as_near: bool = False

    @property
    def name(self) -> str:
        """For example `near_call_30`, `far_put_atm`, `far_call_calendar`."""
        side = "call" if self.right == RIGHT_CALL else "put"
        if self.same_strike_as_near:
            return f"{self.tenor}_{side}_calendar"
        return f"{self.tenor}_{side}_{'atm' if self.delta is None else f'{round(100 * self.delta):02d}'}"


CELL_DELTAS: tuple[float | None, ...] = (None, 0.30, 0.20, 0.10, 0.05)

CELLS: tuple[Cell, ...] = tuple(
    Cell(tenor=tenor, right=right, delta=delta)
    for tenor in TENORS
    for right in (RIGHT_CALL, RIGHT_PUT)
    for delta in CELL_DELTAS
) + tuple(Cell(tenor="far", right=right, delta=None, same_strike_as_near=True) for right in (RIGHT_CALL, RIGHT_PUT))
"""The G columns of `MarketTensors.grid_row_TG`, in order."""

CELL_INDEX: dict[str, int] = {cell.name: index for index, cell in enumerate(CELLS)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """An action that opens a package: unit quantities of grid cells, and shares a unit.

    legs:   (cell name, signed contracts a unit) pairs, at most PACKAGE_LEGS
    shares: underlying bought a unit, in contract multipliers (1 = `multiplier` shares: a covered call's stock)
    """

    name: str
    legs: tuple[tuple[str, int], ...]
    shares: int = 0


def _templates(tenor: str) -> tuple[Template, ...]:
    def cell(side: str, label: str) -> str:
        return f"{tenor}_{side}_{label}"

    call, put = "call", "put"
    side = call if tenor == "near" else put
    return (
        Template(name=f"{tenor}_long_call", legs=((cell(call, "atm"), 1),)),
        Template(name=f"{tenor}_long_put", legs=((cell(put, "atm"), 1),)),
        Template(name=f"{tenor}_cash_secured_put", legs=((cell(put, "30"), -1),)),
        Template(name=f"{tenor}_covered_call", legs=((cell(call, "30"), -1),), shares=1),
        Template(name=f"{tenor}_protective_put", legs=((cell(put, "30"), 1),), shares=1),
        Template(name=f"{tenor}_bull_call_spread", legs=((cell(call, "atm"), 1), (cell(call, "30"), -1))),
        Template(name=f"{tenor}_bear_put_spread", legs=((cell(put, "atm"), 1), (cell(put, "30"), -1))),
        Template(name=f"{tenor}_bull_put_spread", legs=((cell(put, "30"), -1), (cell(put, "10"), 1))),
        Template(name=f"{tenor}_bear_call_spread", legs=((cell(call, "30"), -1), (cell(call, "10"), 1))),
        Template(name=f"{tenor}_long_straddle", legs=((cell(call, "atm"), 1), (cell(put, "atm"), 1))),
        Template(name=f"{tenor}_short_strangle", legs=((cell(call, "20"), -1), (cell(put, "20"), -1))),
        Template(
            name=f"{tenor}_iron_condor",
            legs=(
                (cell(call, "20"), -1),
                (cell(call, "05"), 1),
                (cell(put, "20"), -1),
                (cell(put, "05"), 1),
            ),
        ),
        Template(name=f"{tenor}_risk_reversal", legs=((cell(call, "30"), 1), (cell(put, "30"), -1))),
        Template(name=f"{side}_calendar", legs=((f"near_{side}_atm", -1), (f"far_{side}_calendar", 1))),
    )


HOLD, CLOSE_ALL, HEDGE_DELTA = 0, 1, 2
TEMPLATES: tuple[Template, ...] = tuple(template for tenor in TENORS for template in _templates(tenor))
FIRST_TEMPLATE = 3
ACTIONS: tuple[str, ...] = ("hold", "close_all", "hedge_delta", *(template.name for template in TEMPLATES))
"""The A discrete actions, in order: 31 of them."""

MARKET_FEATURES: tuple[str, ...] = (
    "return_1d",
    "return_5d",
    "return_21d",
    "realised_vol_5d",
    "realised_vol_21d",
    "near_atm_vol",
    "far_atm_vol",
    "near_skew",
    "far_skew",
    "term_slope",
    "variance_premium",
    "near_atm_vol_change_1d",
    "rate",
    "near_tenor_years",
    "far_tenor_years",
    "days_to_next_snapshot",
)
"""Per-snapshot features, raw; the policy standardises them with a scaler fitted on training dates only."""

BOOK_FEATURES: tuple[str, ...] = (
    "equity_change",
    "cash_fraction",
    "share_fraction",
    "margin_used",
    "delta",
    "gamma",
    "vega",
    "theta",
    "legs_held",
    "nearest_expiry_years",
    "unrealised_pnl",
    "stale_legs",
    "gross_exposure",
    "crash_loss",
    "premium_sold",
)
"""Per-account features, scaled by construction: fractions of entry equity or of the legs allowed; the last three of the
equity there is, as the risk budget counts them."""

OBSERVATION: tuple[str, ...] = MARKET_FEATURES + BOOK_FEATURES
"""The layout of an observation vector, in order; exported with the policy as its feature schema."""

MILESTONES: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Fractions of a run at which the checkpoint ladder has its rungs (20, 40, 60, 80, 100 M of the published run)."""

RUNGS: tuple[str, ...] = tuple(f"{round(100 * share):03d}" for share in MILESTONES)
"""Names of the ladder's rungs, percent of the run: folders of its checkpoints."""
