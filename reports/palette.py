"""The report's colours, in the order that lines take them, and what each becomes on a dark ground."""

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#C4699A", "#B87A00", "#2E93CF", "#8C8C8C")
"""Colour-blind safe (Okabe and Ito 2008), without the yellow that vanishes on white; grey stands in for black.

Their purple, orange and sky blue are darkened until they stand out from white by 3 to 1.
"""

FLOWS = {
    "delta_usd": OKABE_ITO[0],
    "gamma_usd": OKABE_ITO[1],
    "vega_usd": OKABE_ITO[2],
    "theta_usd": OKABE_ITO[3],
    "carry_usd": OKABE_ITO[4],
    "settlement_usd": OKABE_ITO[5],
    "spread_usd": "#9467BD",
    "fees_usd": "#8C564B",
    "residual_usd": "#8C8C8C",
}
"""What explains a month's profit: a colour for each flow, costs apart from what the options earned."""

DARK = {
    "#0072B2": "#3D9BE0",
    "#C4699A": "#CC79A7",
    "#B87A00": "#E69F00",
    "#2E93CF": "#7CC8F2",
    "#8C564B": "#B98377",
}
"""Colours that are others on a dark ground; `report.js` has the same pairs."""


def on_dark(colour: str) -> str:
    """What a colour becomes on a dark ground."""
    return DARK.get(colour, colour)
