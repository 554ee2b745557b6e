"""The report's colours, in the order that lines take them."""

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
"""Colour-blind safe (Okabe and Ito 2008), without the yellow that vanishes on white; grey stands in for black."""

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
