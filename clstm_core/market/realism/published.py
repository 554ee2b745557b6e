"""What others published about the S&P 500 and about selling its options: yearly total returns, in percent.

Nothing here is ours, nothing may be tuned away, and nothing after 2016 decides anything.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """Total returns of one index by calendar year, percent."""

    source: str
    returns: dict[int, float]


def _years(first: int, *values: float) -> dict[int, float]:
    return {first + index: value for index, value in enumerate(values)}


_GUIDE = "Cboe, BXM Quick Reference Guide, January 2005"
_SHEET = "Cboe, PUT fact sheet"

BXM = Published(_GUIDE, _years(1999, 21.2, 7.4, -10.9, -7.6, 19.4, 8.3))
PUT = Published(_SHEET, _years(2007, 9.5, -26.8, 31.5, 9.0, 6.2, 8.1, 12.3, 6.4, 6.4))
TOTAL_RETURN = Published(
    f"{_GUIDE}; {_SHEET}",
    _years(1999, 21.1, -9.1, -11.9, -22.1, 28.7, 10.9)
    | _years(2007, 5.5, -37.0, 26.5, 15.1, 2.1, 16.0, 32.4, 13.7, 1.4),
)
BY_INDEX = {"BXM": BXM, "PUT": PUT, "total_return": TOTAL_RETURN}

PUT_DEVIATION = 11.51
"""Standard deviation a year of the PUT's monthly returns, percent, 2006-02 .. 2015-12 (Bondarenko 2016)."""
PUT_DEVIATION_SPAN = (2006, 2, 2015, 12)

PUT_OVER_MONEY = {0.05: 1.79, 0.10: 1.44}
"""Volatility of the put of that delta over the money's, SPXW chains of 2026-07 and 2026-08, 24-38 days."""
MONEY_SPREAD = 0.094
"""Full spread at the money in volatility points, the same chains."""
CALLS_WITHOUT_BID = 0.20
"""Share of calls below 3 delta that have no bid, the same chains."""
