"""The report's colours, in the order that lines take them."""

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
"""Colour-blind safe (Okabe and Ito 2008), without the yellow that vanishes on white; grey stands in for black."""
