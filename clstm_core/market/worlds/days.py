"""A history's sessions as worlds to train in are made from: where each stood, and what moved from it to the next.

Everything is fitted to the sessions of one window, of a market's tensors alone: whoever has a market can make worlds of
its training dates, wherever it came from.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch

from clstm_core.config import FEWEST_SESSIONS
from clstm_core.errors import MarketDataError
from clstm_core.market.clock import DAYS_YEAR
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.paths import PAST, SESSIONS_YEAR
from clstm_core.market.worlds.sp500 import SLOW_DECAY, spread_scale
from clstm_core.market.worlds.surface import Surface
from clstm_core.specs import MARKET_FEATURES

JUMP_AT = 3.0
"""A return beyond so many deviations of the others counts as a jump."""
LEAST_VIX, MOST_VIX = 0.08, 1.2
LEVEL_DAYS = 30.0
SESSION_YEARS = 1.0 / SESSIONS_YEAR
_NOTHING = 1e-18


class Days(NamedTuple):
    """M consecutive sessions, and the M - 1 moves between them.

    Shapes: [M], but `gain` and `vix_gain` [M - 1]
    Units:  vix a fraction; slow_variance a year; rate and dividend_yield continuous a year
    """

    log_close: torch.Tensor
    vix: torch.Tensor
    slow_variance: torch.Tensor
    rate: torch.Tensor
    dividend_yield: torch.Tensor
    spread_scale: torch.Tensor
    gain: torch.Tensor  # standardised returns of the index: mean 0, variance 1
    vix_gain: torch.Tensor  # the next VIX over what it was expected to be: mean 1

    def to(self, device: torch.device | str) -> Self:
        """The same days on another device."""
        return type(self)(*(field.to(device) for field in self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """How the index and its VIX moved from session to session, in figures.

        S' / S - 1 = (r - q) dt + drift + d scale z    d = VIX / sqrt(252); z of mean 0 and variance 1
        ln VIX'    = ln VIX + pull (mean + memory ln(slow) / 2 - ln VIX) + ln(bias u)         u of mean 1
        v'         = v + kappa (theta + memory_v slow - v) dt + xi sqrt(v dt) w,   v = VIX^2: a square-root process

    Both go back to an average of their own past (slow: of v, as the surface's term structure takes it), or a calm year
    would promise a wilder one and options of two months would be cheap in it.

    Units: per session, kappa, theta and xi per year; a jump's mean and deviation in d
    """

    drift: float  # in excess of carry
    drift_error: float  # standard error of the drift
    scale: float  # volatility realised over that of the VIX: below 1, option sellers are paid a premium
    scale_spread: float  # standard deviation of the scale's logarithm from year to year, beyond chance
    pull: float
    mean: float
    memory: float
    bias: float
    kappa: float
    theta: float
    memory_v: float
    xi: float
    rho: float  # of z and w
    calm_scale: float  # the scale of returns that are no jumps
    jump_chance: float
    jump_mean: float
    jump_deviation: float


def level_of(market: MarketTensors, surface: Surface) -> torch.Tensor:
    """The volatility level [T] of each snapshot: at the money at 30 days, plus the surface's distance from it.

    Variances at the money are linear in time between the two tenors, and constant per year beyond them.
    """
    near, far, years_near, years_far = (
        market.features_TF[:, MARKET_FEATURES.index(name)].double()
        for name in ("near_atm_vol", "far_atm_vol", "near_tenor_years", "far_tenor_years")
    )
    apart = (years_far - years_near).clamp(min=1e-9)
    share = ((LEVEL_DAYS / DAYS_YEAR - years_near) / apart).clamp(0.0, 1.0)
    total = torch.lerp(near**2 * years_near, far**2 * years_far, share)
    return torch.sqrt(total / torch.lerp(years_near, years_far, share)) + surface.atm_distance


def days_of(market: MarketTensors, window: tuple[int, int], surface: Surface) -> tuple[Days, Fit]:
    """The sessions of a window [start, stop) of a market of daily snapshots, and what is fitted to them.

    Raises: MarketDataError where they are too few, or the history breaks off among them
    """
    start, stop = window
    if stop - start < FEWEST_SESSIONS or bool(market.segment_end_T[start : stop - 1].any()):
        raise MarketDataError(
            f"sessions {start} to {stop} of {market.info.get('source', 'this market')}: expected at least "
            f"{FEWEST_SESSIONS} in one unbroken history to make worlds of. Train on the market itself, or on a longer "
            "history."
        )
    inside = slice(start, stop)
    vix = level_of(market, surface)[inside].clamp(LEAST_VIX, MOST_VIX)
    close = market.spot_T[inside].double()
    dates = (market.snapshot_T[inside].cpu().numpy() // (86_400 * 10**9)).astype("datetime64[D]")
    rate, dividend_yield = market.rate_T[inside].double(), market.dividend_yield_T[inside].double()
    slow = _slow(vix**2)
    gain, vix_gain, fit = _fitted(close, vix, slow, (rate - dividend_yield) * SESSION_YEARS)
    return Days(
        log_close=torch.log(close),
        vix=vix,
        slow_variance=slow,
        rate=rate,
        dividend_yield=dividend_yield,
        spread_scale=torch.from_numpy(spread_scale(dates)).to(vix),
        gain=gain,
        vix_gain=vix_gain,
    ), fit


def _fitted(
    close: torch.Tensor, vix: torch.Tensor, slow: torch.Tensor, carry: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, Fit]:
    """Standardised moves [M - 1] of index and VIX [M] beyond a carry [M] per session, and what standardised them."""
    returns = close[1:] / close[:-1] - 1.0 - carry[:-1]
    unit, level = vix[:-1] / math.sqrt(SESSIONS_YEAR), torch.log(vix)
    drift = (returns / unit).mean() / (1.0 / unit).mean()  # calm days tell more of it than wild ones
    raw = (returns - drift) / unit
    scale = raw.square().mean().sqrt()
    z = raw / scale

    calmed = 0.5 * torch.log(slow)
    intercept, slope, remembered = _plane(level[:-1], calmed[:-1], level.diff())
    moved = torch.exp(level.diff() - intercept - slope * level[:-1] - remembered * calmed[:-1])
    bias = moved.mean()

    variance = vix**2
    constant, back, own = _plane(variance[:-1], slow[:-1], variance.diff())
    kappa = -back * SESSIONS_YEAR
    noise = variance.diff() - constant - back * variance[:-1] - own * slow[:-1]
    noise = noise / torch.sqrt(variance[:-1] * SESSION_YEARS)
    noise = noise - noise.mean()
    xi = noise.square().mean().sqrt()

    calm = z.abs() <= JUMP_AT
    jump = raw[~calm] if bool((~calm).any()) else raw.new_zeros(1)
    figures = {
        "drift": drift,
        "drift_error": scale / ((1.0 / unit).mean() * math.sqrt(len(returns))),
        "scale": scale,
        "scale_spread": _yearly_spread(z),
        "pull": -slope,
        "mean": -intercept / slope,
        "memory": -remembered / slope,
        "bias": bias,
        "kappa": kappa,
        "theta": -constant / back,
        "memory_v": -own / back,
        "xi": xi,
        "rho": (z * noise).mean() / xi if bool(xi > _NOTHING) else xi,
        "calm_scale": raw[calm].square().mean().sqrt(),
        "jump_chance": (~calm).double().mean(),
        "jump_mean": jump.mean(),
        "jump_deviation": jump.std(correction=0),
    }
    return z, moved / bias, Fit(**{name: float(value) for name, value in figures.items()})


def _plane(x: torch.Tensor, slow: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Constant and slopes of y, the change of x, on x and slow (least squares); what never moves goes back at once."""
    if bool(x.var() <= _NOTHING) or bool(slow.var() <= _NOTHING):
        return y.mean() + x.mean(), x.new_tensor(-1.0), torch.zeros_like(x[0])
    u, v, w = (values - values.mean() for values in (x, slow, y))
    uu, vv, uv, uw, vw = u @ u, v @ v, u @ v, u @ w, v @ w
    apart = uu * vv - uv * uv
    own, other = (uw * vv - vw * uv) / apart, (vw * uu - uw * uv) / apart
    return y.mean() - own * x.mean() - other * slow.mean(), own, other


def _yearly_spread(z: torch.Tensor) -> torch.Tensor:
    """Deviation of the logarithm of each year's volatility from the whole's, less what 252 draws vary by themselves."""
    size = int(SESSIONS_YEAR)
    years = z[: len(z) // size * size].view(-1, size)
    logs = 0.5 * torch.log(years.square().mean(dim=1))
    chance = 0.25 * (z**4).mean() / size - 0.25 / size
    return (logs.var(correction=0) - chance).clamp(min=0.0).sqrt() if len(years) > 1 else z.new_zeros(())


def _slow(values: torch.Tensor) -> torch.Tensor:
    """Average of all values so far, older ones counting less; as the modelled history's."""
    out, level, weight = [], 0.0, 0.0
    for value in values.tolist():
        level, weight = SLOW_DECAY * level + value, SLOW_DECAY * weight + 1.0
        out.append(level / weight)
    return torch.tensor(out, dtype=values.dtype, device=values.device)


assert PAST <= FEWEST_SESSIONS
