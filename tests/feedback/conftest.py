"""Retrainings that build bundles take graphs that were exported before."""

from tests.graphs import graphs  # noqa: F401
