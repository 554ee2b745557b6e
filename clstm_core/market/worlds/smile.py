"""The smile: implied variance by strike as a multiple of the variance at the money. Torch only, in closed form.

Strikes are counted in standard deviations, x = ln(K / F) / sqrt(theta), where theta is the total variance at the
money. In that unit the smiles of different days look alike, so one shape with one strength serves them all:

    v(x) = 1 + s h(x),   h(x) = a x + sum of b_i (sqrt((x - m_i)^2 + c_i^2) - sqrt(m_i^2 + c_i^2))
"""

import math
from collections.abc import Callable

import torch

from clstm_core.once import made_once

SLOPE = -0.4693
BENDS = ((0.6510, 1.0976, 1.1467), (0.4292, -3.0990, 1.7745))
"""(b, m, c) of the two bends: the turn from puts to calls, and the steepening of far puts.

Fitted to the median smile of 11 sessions of SPXW chains of 2026-07 and 2026-08 at 24 to 38 days, where it is within
1% of every multiple of volatility between x = -6 and 3. Those chains lie outside every window that is traded here.
"""

MAX_STRENGTH = 1.3
"""Above this some butterfly would cost less than nothing; 1 is the smile of 2026."""


def shape(x: torch.Tensor) -> torch.Tensor:
    """h(x): 0 at the money, falling towards calls, then rising; convex."""
    out = SLOPE * x
    for weight, centre, width in BENDS:
        out = out + weight * (torch.sqrt((x - centre) ** 2 + width**2) - math.hypot(centre, width))
    return out


def shape_and_slope(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """h(x) and h'(x), which share their roots."""
    out, rise = SLOPE * x, torch.full_like(x, SLOPE)
    for weight, centre, width in BENDS:
        far = x - centre
        root = torch.sqrt(far**2 + width**2)
        out = out + weight * (root - math.hypot(centre, width))
        rise = rise + weight * far / root
    return out, rise


def variance_multiple(x: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """v(x): implied variance over the variance at the money."""
    return 1.0 + strength * shape(x)


@made_once
def _tables() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Grids of strength [I] and sqrt(theta) [J], and the model-free multiple on them [I, J]."""
    strength = torch.linspace(0.0, MAX_STRENGTH, 53, dtype=torch.float64)
    deviation = torch.linspace(0.0, 1.0, 51, dtype=torch.float64)
    far = torch.logspace(-3, math.log10(400.0), 2000, dtype=torch.float64)
    x = torch.cat([-far.flip(0), far])
    v = variance_multiple(x, strength[:, None])[:, None, :]
    d2 = -x / torch.sqrt(v) - 0.5 * deviation[:, None] * torch.sqrt(v)
    density = torch.exp(-0.5 * d2**2) / math.sqrt(2.0 * math.pi)
    return strength, deviation, torch.trapezoid(v * density, -d2, dim=-1)


@made_once
def _tables_in(dtype: torch.dtype, device: torch.device) -> tuple[float, float, torch.Tensor]:
    """`_tables` where they are asked: the steps of both grids, and the multiples."""
    strength, deviation, table = (part.to(dtype) for part in _tables())
    return float(strength[1]), float(deviation[1]), table.to(device)


def model_free_multiple(strength: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Model-free variance (what the VIX measures) over the variance at the money, by interpolation.

        E[-2 ln S/F] = integral of w(x(z)) n(z) dz,   z = d2(x)

    Shapes:  strength and theta broadcast
    Source:  Fukasawa 2012, "The normalizing transformation of the implied volatility smile"
    Assumes: strength in [0, MAX_STRENGTH], theta in [0, 1]; beyond, the edge's value
    """
    return model_free_at(strength)(theta)


def model_free_at(strength: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """`model_free_multiple` of one strength as a function of theta, for whoever asks it several times."""
    step, step_theta, table = _tables_in(strength.dtype, strength.device)
    rows, columns = table.shape
    i = (strength / step).clamp(0.0, rows - 1.000001)
    row = i.long().clamp(max=rows - 2)  # float32 rounds the last place up to the end
    along, first = i - row, row * columns
    corners = [table.view(-1)[start:] for start in (0, 1, columns, columns + 1)]

    def multiple(theta: torch.Tensor) -> torch.Tensor:
        j = (torch.sqrt(theta) / step_theta).clamp(0.0, columns - 1.000001)
        column = j.long().clamp(max=columns - 2)
        across, corner = j - column, first + column
        near_low, far_low, near_high, far_high = (part.take(corner) for part in corners)
        low, high = torch.lerp(near_low, far_low, across), torch.lerp(near_high, far_high, across)
        return torch.lerp(low, high, along)

    return multiple


def strength_for(multiple: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """The strength whose smile has that model-free multiple; MAX_STRENGTH where none is strong enough.

    Shapes: multiple and theta broadcast
    """
    multiple, theta = torch.broadcast_tensors(multiple, theta)
    low, high = torch.zeros_like(multiple), torch.full_like(multiple, MAX_STRENGTH)
    for _ in range(50):
        middle = 0.5 * (low + high)
        above = model_free_multiple(middle, theta) > multiple
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return high
