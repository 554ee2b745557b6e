"""The columns of what a market view says of a contract at a snapshot, and of a snapshot. Prices are per share."""

(
    BID,
    ASK,
    MARK,
    BUY,
    SELL,
    MULTIPLIER,
    IMPLIED_VOL,
    TTE,
    DELTA,
    GAMMA,
    VEGA,
    THETA,
    RHO,
    CALL_STRIKE,  # the strike of a call, 0 of a put
    PUT_STRIKE,
    CAN_BUY,
    CAN_SELL,
    STALE,
    SETTLES,  # 1 when the contract settles at the next snapshot
    CRASH,  # profit of one long option on one share in the budget's crash; no scenario of the margin
    SCENARIOS,  # first of the S scenario columns: the same in each
) = range(21)

SPOT, RATE, DT, INTEREST_GROWTH, DIVIDEND_GROWTH = range(5)
"""Of a snapshot; the last three lead to the next one: years, e^{r dt} - 1, e^{q dt} - 1."""

(
    UNIT_COST,  # slippage + fees
    AVAILABLE,  # 1 where every leg is listed, distinct, and quoted on the side needed
    UNIT_RISK,
    UNIT_CALL_NOTIONAL,  # short calls' strike x multiplier; next to nothing where there is none
    UNIT_PUT_NOTIONAL,
) = range(5)
UNIT_LIMITS, UNIT_BUDGET = slice(2, 13), slice(5, 13)
"""What one unit takes of each of `budget.LIMITS`, and of the budget's alone, with what its cost takes off the caps."""
UNIT_CRASH, UNIT_SCENARIOS = 13, 14
"""Profit of one unit in the crash, and the first of the S scenario columns."""
