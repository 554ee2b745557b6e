"""The account, its costs, its limits and its risk budget."""

from dataclasses import dataclass

from clstm_core.config.require import require, require_numbers

FILL_RULES = ("touch", "fraction")
REWARDS = ("profit", "log_growth", "mean_variance")

NO_CAP = 100.0
"""Times equity: a cap of the risk budget that no account reaches, since margin allows some 16."""

MOST_POINTS = 1000
"""Of a price scan; its work grows with them."""

MOST_SHOCK = 100.0
"""Relative: implied vols beyond a hundred times their own are no shock, and overflow where money is float32."""

CAPS = ("max_net_exposure", "max_gross_exposure", "max_crash_loss", "max_vega", "max_premium_sold")
"""The caps of the risk budget, in shares of equity: settings of EnvConfig."""

WITHOUT_BUDGET: dict[str, float] = dict.fromkeys(CAPS, NO_CAP)
"""Settings of EnvConfig under which margin alone bounds an account: for who looks at margin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvConfig:
    """The account, its costs and its limits."""

    capital_usd: float = 5_000_000.0
    horizon: int = 126  # snapshots an episode lasts
    fill_lag: int = 1  # snapshots between decision and fill, 0 or 1
    fill_rule: str = "touch"
    fill_fraction: float = 1.0  # of the half-spread; touch = 1, mid = 0; beyond 1 for stress
    commission_per_contract_usd: float = 0.65
    commission_per_share_usd: float = 0.005
    share_spread_bps: float = 1.0  # full bid-ask spread of the underlying proxy
    borrow_rate: float = 0.003  # a year, on the value of shares sold short
    risk_fraction: float = 0.02  # of equity at risk a trade (maximum loss, else margin)
    assignable_fraction: float = 0.25  # short strikes x multiplier may reach this share of equity
    ruin_fraction: float = 0.10  # an episode terminates below this share of its entry equity
    scan_down: float = 0.08  # portfolio margin: price scan of a broad index, -8% .. +6%
    scan_up: float = 0.06
    scan_points: int = 10
    scan_vol_shock: float = 0.20  # relative shock of implied vol, both ways
    min_margin_per_short_usd: float = 37.5  # OCC's floor for a short contract
    max_net_exposure: float = 1.0  # times equity: |shares + deltas of the options| x spot
    max_gross_exposure: float = 2.0  # times equity: (|shares| + |delta| of each leg) x spot
    crash_move: float = -0.20  # of spot, relative, in the crash that the budget states
    crash_vol_shock: float = 1.0  # of implied vol, relative, in that crash: twice as high
    max_crash_loss: float = 0.25  # of equity: what the whole book may lose in it
    max_vega: float = 0.005  # of equity per point of vol, either sign; caps openings alone
    max_premium_sold: float = 0.25  # of equity per stretch of 21 sessions of the account: options sold to open
    budget_headroom: float = 0.9  # share of each cap above that an action may use at the marks it is decided on
    reward: str = "profit"  # profit in excess of cash; log_growth and mean_variance mind risk (`env.rewards`)
    risk_aversion: float = 1.0  # of the rewards that mind risk: 1 is growth in the long run, more is caution
    reward_scale: float = 0.02  # times excess return in basis points
    risk_penalty: float = 0.0  # of the profit: times margin used, in basis points
    expected_reward: bool = False  # in worlds that know what was expected: the reward less what nobody could expect

    def __post_init__(self) -> None:
        require_numbers(self, but=("ruin_fraction",))
        require(self.capital_usd > 0, f"capital_usd={self.capital_usd}: expected a positive amount, e.g. 5000000.")
        require(self.horizon >= 1, f"horizon={self.horizon}: expected at least 1 snapshot, e.g. 21.")
        require(self.fill_lag in (0, 1), f"fill_lag={self.fill_lag}: expected 0 (same snapshot) or 1 (the next).")
        require(
            self.fill_rule in FILL_RULES,
            f"unknown fill_rule {self.fill_rule!r}: expected one of {', '.join(FILL_RULES)}.",
        )
        require(
            self.fill_rule != "touch" or self.fill_fraction == 1.0,
            f"fill_rule='touch' with fill_fraction={self.fill_fraction}: touch is fraction 1. "
            "Use fill_rule='fraction' for another share of the half-spread.",
        )
        require(self.fill_fraction >= 0, f"fill_fraction={self.fill_fraction}: expected 0 (mid) or more.")
        for name in (
            "commission_per_contract_usd",
            "commission_per_share_usd",
            "share_spread_bps",
            "borrow_rate",
            "min_margin_per_short_usd",
            "risk_penalty",
        ):
            require(
                getattr(self, name) >= 0,
                f"{name}={getattr(self, name)}: a cost cannot be negative. Use 0 or more.",
            )
        require(0 < self.risk_fraction <= 1, f"risk_fraction={self.risk_fraction}: expected (0, 1], e.g. 0.02.")
        require(
            0 < self.reward_scale < float("inf"),
            f"reward_scale={self.reward_scale}: expected a positive number, e.g. 0.02.",
        )
        require(self.reward in REWARDS, f"unknown reward {self.reward!r}: expected one of {', '.join(REWARDS)}.")
        require(
            0 < self.risk_aversion < float("inf"),
            f"risk_aversion={self.risk_aversion}: expected a positive number, 1 for growth in the long run.",
        )
        require(
            self.reward == "profit" or self.risk_penalty == 0.0,
            f"risk_penalty={self.risk_penalty} with reward={self.reward!r}: the penalty is of the profit alone, and "
            "would be left out. Use risk_penalty=0 and a larger risk_aversion, or reward='profit'.",
        )
        require(
            self.assignable_fraction >= 0,
            f"assignable_fraction={self.assignable_fraction}: expected 0 (nothing sold) or more, e.g. 0.25.",
        )
        number = isinstance(self.ruin_fraction, (int, float))  # minus infinity: never ruined, as a proof walks
        require(
            number and self.ruin_fraction < 1,
            f"ruin_fraction={self.ruin_fraction!r}: expected less than 1, e.g. 0.1.",
        )
        require(0 <= self.scan_down < 1, f"scan_down={self.scan_down}: expected a fall from 0 to below 1, e.g. 0.08.")
        require(self.scan_up >= 0, f"scan_up={self.scan_up}: expected a rise of 0 or more, e.g. 0.06.")
        require(
            0 <= self.scan_vol_shock <= MOST_SHOCK,
            f"scan_vol_shock={self.scan_vol_shock}: expected 0 (vols stay) to {MOST_SHOCK:g}, e.g. 0.2.",
        )
        require(
            2 <= self.scan_points <= MOST_POINTS,
            f"scan_points={self.scan_points}: expected at least 2 and at most {MOST_POINTS}, e.g. 10.",
        )
        for name in CAPS:
            require(
                0 < getattr(self, name) <= NO_CAP,
                f"{name}={getattr(self, name)}: expected more than 0 and at most {NO_CAP:g} (as good as none), e.g. 1.",
            )
        require(-1 < self.crash_move < 0, f"crash_move={self.crash_move}: expected a fall above -1, e.g. -0.2.")
        require(
            0 <= self.crash_vol_shock <= MOST_SHOCK,
            f"crash_vol_shock={self.crash_vol_shock}: expected 0 (vols stay) to {MOST_SHOCK:g}, e.g. 1 (they double).",
        )
        require(0 < self.budget_headroom <= 1, f"budget_headroom={self.budget_headroom}: expected (0, 1], e.g. 0.9.")
