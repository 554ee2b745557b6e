"""Judging a market from outside: its quotes against figures that others published."""
