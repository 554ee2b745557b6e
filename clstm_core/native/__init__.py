"""Kernels in C++ for the processor at hand, compiled at their first use; every one has a twin in torch operations."""
