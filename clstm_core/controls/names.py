"""Names of the worlds whose edge is known, for whoever only asks; without torch."""

EDGE_FREE, OVERPAID = "edge-free", "overpaid"

CONTROLS = (EDGE_FREE, OVERPAID)
"""The two that stand beside every verdict: nothing to find, and something."""
