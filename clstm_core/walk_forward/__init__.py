"""Walk-forward: train on what was known, trade what came next, move on; and what the whole record says."""
