"""Rules that any trader knows, and chance: what the network is judged against, in the same accounts."""
