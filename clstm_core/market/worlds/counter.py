"""Chance by counter: a number drawn is a hash of what it is drawn for, so that no other draw can change it."""

import torch

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64; products wrap modulo 2^64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Hash of two int64 tensors to int64, the same on every device.

    Source: splitmix64 (Steele, Lea and Flood 2014)
    """
    x = first * _GAMMA + second + 1
    x = x * _GAMMA
    x = (x ^ shift(x, 30)) * _MIX_1
    x = (x ^ shift(x, 27)) * _MIX_2
    return x ^ shift(x, 31)


def uniform(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """A number in (0, 1) of two int64 tensors, float64."""
    return (shift(mix(first, second), 11).double() + 0.5) * 2.0**-53


def normal(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """A standard normal number of two int64 tensors, float64."""
    return torch.special.ndtri(uniform(first, second))
