"""What the outside judge asks. Nothing is imported here: definitions load without torch."""

CHECKS = {
    "option_selling": "PUT and BXM by their rules earn what the published indices earned, by calendar year",
    "deviation": "the PUT's monthly returns vary as the published ones",
    "total_return": "the index with dividends returns what the published one did",
    "volatility_level": "30-day model-free volatility of the quotes is the VIX, in every year",
}
"""What is judged, and the asset checks of that name. Each warns; none blocks."""
