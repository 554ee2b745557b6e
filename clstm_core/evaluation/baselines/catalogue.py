"""The baselines of every report, in the order in which they are shown."""

from clstm_core.evaluation.baselines.chance import RandomPolicy
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.baselines.stock import BuyAndHold
from clstm_core.evaluation.baselines.straddles import ShortStraddle
from clstm_core.evaluation.baselines.writing import BuyWrite, PutWrite
from clstm_core.evaluation.policies import Policy
from clstm_core.market.tensors import MarketTensors

MONTH_DAYS = (20.0, 45.0)
"""A near tenor in this range of calendar days counts as a month in a rule's label."""


def baselines(market: MarketTensors, *, seed: int = 0, random_episodes: int = 4) -> list[Policy]:
    """Cash, the index, the exchange's rules, straddles, random: labelled with the tenor that this market lists."""
    near = float(market.info.get("near_days", 30.0))
    month = MONTH_DAYS[0] <= near <= MONTH_DAYS[1]
    tenor = "1-month" if month else f"{near:g}-day (the nearest listed tenor, not a month)"
    return [
        Rule("cash", "Cash at the risk-free rate"),
        BuyAndHold("buy_and_hold", "Buy and hold the index proxy, dividends reinvested"),
        PutWrite("put_write", f"Cash-secured {tenor} at-the-money put, rolled on expiry day (PUT rule)"),
        BuyWrite("buy_write", f"Index proxy with a short {tenor} at-the-money call, rolled on expiry day (BXM rule)"),
        ShortStraddle("short_straddle", f"Short {tenor} at-the-money straddle, unhedged"),
        RandomPolicy(seed, random_episodes),
    ]
