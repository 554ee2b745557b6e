"""The baselines of every report, in the order in which they are shown."""

from clstm_core.evaluation.baselines.chance import RandomPolicy
from clstm_core.evaluation.baselines.condor import Condor
from clstm_core.evaluation.baselines.early_exit import EarlyExit
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.baselines.stock import BuyAndHold
from clstm_core.evaluation.baselines.straddles import HedgedStraddle, ShortStraddle
from clstm_core.evaluation.baselines.writing import BuyWrite, PutWrite
from clstm_core.evaluation.policies import Policy
from clstm_core.market.tensors import MarketTensors

CORE = ("cash", "buy_and_hold", "put_write", "buy_write", "short_straddle", "random")
"""The baselines that are also traded on the windows beside the one that is judged."""

MONTH_DAYS = (20.0, 45.0)
"""A near tenor in this range of calendar days counts as a month in a rule's label."""

HALF = 0.5
"""Share of its premium at which the first strangle is bought back."""

EXIT_DAYS, EXIT_SHARE = 21.0, 0.7
"""Calendar days before expiry at which the second, of the far tenor, is: 21, or this share of a shorter near tenor."""


def baselines(market: MarketTensors, *, seed: int = 0, random_episodes: int = 4) -> list[Policy]:
    """Cash, the index, the exchange's rules, sellers of volatility, random: labelled with the tenor listed here."""
    near, far = (float(market.info.get(key, days)) for key, days in (("near_days", 30.0), ("far_days", 60.0)))
    month = MONTH_DAYS[0] <= near <= MONTH_DAYS[1]
    days = min(EXIT_DAYS, EXIT_SHARE * near)
    tenor = "1-month" if month else f"{near:g}-day (the nearest listed tenor, not a month)"
    return [
        Rule("cash", "Cash at the risk-free rate"),
        BuyAndHold("buy_and_hold", "Buy and hold the index proxy, dividends reinvested"),
        PutWrite("put_write", f"Cash-secured {tenor} at-the-money put, rolled on expiry day (PUT rule)"),
        BuyWrite("buy_write", f"Index proxy with a short {tenor} at-the-money call, rolled on expiry day (BXM rule)"),
        BuyWrite("buy_write_30", f"Index proxy with a short {tenor} call of 0.30 delta (BXMD rule)", "near_call_30"),
        Condor("condor", f"{tenor[0].upper()}{tenor[1:]} iron condor of 0.20 and 0.05 delta on bills (CNDR rule)"),
        ShortStraddle("short_straddle", f"Short {tenor} at-the-money straddle, unhedged"),
        HedgedStraddle("hedged_straddle", f"Short {tenor} at-the-money straddle, hedged with the proxy each session"),
        EarlyExit(
            "strangle_half_premium", f"Short {tenor} strangle of 0.20 delta, closed at half its premium", left=HALF
        ),
        EarlyExit(
            "strangle_early",
            f"Short {far:g}-day strangle of 0.20 delta, closed at {days:g} days",
            days=days,
            tenor="far",
        ),
        RandomPolicy(seed, random_episodes),
    ]
