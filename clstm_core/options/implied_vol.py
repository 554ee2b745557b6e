"""Implied volatility of batches of European options: Newton steps inside a bisection bracket.

The solver works on the out-of-the-money twin of each option (by put-call parity) and on the logarithm of its
normalised price, which keeps full precision far from the money, where the price itself is almost flat.

Source: normalised Black function after Jaeckel 2015, "Let's be rational"; the iteration is ours.
"""

import math

import torch

MAX_ITERATIONS = 100
MAX_DEVIATION = 16.0
"""Largest total standard deviation vol x sqrt(T) that is searched."""

TOLERANCE = 1e-14


def implied_vol(
    price: torch.Tensor,
    spot: torch.Tensor,
    strike: torch.Tensor,
    tte_years: torch.Tensor,
    rate: torch.Tensor,
    dividend_yield: torch.Tensor,
    right: torch.Tensor,
) -> torch.Tensor:
    """The volatility at which Black-Scholes gives `price`; NaN where no volatility does.

    Shapes:  all broadcast together, float64; right is +1 (call) or -1 (put)
    Units:   price, spot and strike in currency per share; tte in years; the rest fractions per year, continuous
    Assumes: bounds are strict: at or below the discounted intrinsic value, at or above the present value of the share
             (call) or of the strike (put), at tte_years <= 0, and for non-finite inputs the answer is NaN
    """
    inputs = torch.broadcast_tensors(price, spot, strike, tte_years, rate, dividend_yield, right)
    price, spot, strike, tte, rate, dividend, right = (x.to(torch.float64) for x in inputs)
    forward = spot * torch.exp((rate - dividend) * tte)
    scale = torch.exp(-rate * tte) * torch.sqrt(forward * strike)
    moneyness = torch.log(forward / strike)
    # Time value, over the geometric mean of forward and strike: the price of the out-of-the-money twin.
    intrinsic = torch.clamp(2.0 * right * torch.sinh(0.5 * moneyness), min=0.0)
    target = price / scale - intrinsic
    distance = -moneyness.abs()
    ceiling = torch.exp(0.5 * distance)
    # The subtraction above leaves rounding noise: below it a time value is not known to be positive.
    noise = 4.0 * torch.finfo(torch.float64).eps * (intrinsic + target.abs())
    solvable = (tte > 0) & (target > noise) & (target < ceiling) & torch.isfinite(distance) & torch.isfinite(target)
    out = torch.full_like(target, torch.nan)
    if solvable.any():
        deviation = _solve(target[solvable], distance[solvable])
        out[solvable] = deviation / torch.sqrt(tte[solvable])
    return out


def normalised_black(distance: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Out-of-the-money Black price over D sqrt(F K), for distance = -|ln F/K| and deviation = vol sqrt(T).

    Units: dimensionless; accurate to rounding in the tails, where the difference of two normal cdfs is not.
    """
    h, t = distance / deviation, 0.5 * deviation
    near, far = torch.special.erfcx(-(h + t) * math.sqrt(0.5)), torch.special.erfcx(-(h - t) * math.sqrt(0.5))
    return 0.5 * torch.exp(-0.5 * (h * h + t * t)) * (near - far)


def _solve(target: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    """Total deviations with normalised_black(distance, deviation) = target, all of which exist."""
    answer = torch.empty_like(target)
    active = torch.arange(target.numel(), device=target.device)
    goal = torch.log(target)
    low, high = torch.zeros_like(target), torch.full_like(target, MAX_DEVIATION)
    # The inflection point of the price in the deviation; at the money there is none: invert b = erf(s / sqrt 8).
    guess = torch.where(distance < 0, torch.sqrt(-2.0 * distance), torch.zeros_like(target))
    guess = torch.clamp(torch.maximum(guess, target * math.sqrt(2.0 * math.pi)), 1e-12, 0.5 * MAX_DEVIATION)
    for _ in range(MAX_ITERATIONS):
        value = normalised_black(distance, guess)
        log_value = torch.log(torch.clamp(value, min=torch.finfo(torch.float64).tiny))
        above = log_value > goal
        high, low = torch.where(above, guess, high), torch.where(above, low, guess)
        # d b / d s = exp(-(h^2 + t^2) / 2) / sqrt(2 pi)
        slope = torch.exp(-0.5 * ((distance / guess) ** 2 + 0.25 * guess * guess)) / math.sqrt(2.0 * math.pi)
        step = guess - (log_value - goal) * value / slope
        inside = torch.isfinite(step) & (step > low) & (step < high)
        new = torch.where(inside, step, 0.5 * (low + high))
        done = ((new - guess).abs() <= TOLERANCE * guess) | ((log_value - goal).abs() <= TOLERANCE)
        # At convergence keep the Newton step when it is inside; the bracket's middle would throw digits away.
        best = torch.where(done & ~inside, guess, new)
        answer[active] = best
        if bool(done.all()):
            break
        left = ~done
        active, goal, distance, guess = active[left], goal[left], distance[left], new[left]
        low, high = low[left], high[left]
    return answer
