"""The parts of `recompute`: Polars and the standard library alone, sharing nothing with what wrote the ledgers."""
