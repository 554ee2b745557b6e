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
MOST_POWER, LEAST_SPREAD = 0.5, 0.01
"""Bounds of the power; of the deviation of ln VIX below which it is not looked for."""
RECENT_DECAY = 0.82
"""Memory of the VIX's recent average, per session: five sessions or so."""
MONTH = 21
LEAST_KAPPA, MOST_KAPPA = 0.25, 12.0
_NOTHING, _SCORINGS = 1e-18, 50


class Days(NamedTuple):
    """M consecutive sessions, and the M - 1 moves between them.

    Shapes: [M], but `gain` and `vix_gain` [M - 1]
    Units:  vix a fraction; slow_variance a year; rate and dividend_yield continuous a year
    """

    log_close: torch.Tensor
    vix: torch.Tensor
    recent: torch.Tensor  # average of the VIX's logarithm over the last days, RECENT_DECAY as its memory
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

        S' / S - 1 = (r - q) dt + drift + d scale z    d = VIX (VIX / usual)^power / sqrt(252); z of mean 0, variance 1
        ln VIX'    = ln VIX + back (recent - ln VIX) + pull (mean - ln VIX) + ln(bias u)      u of mean 1
        v'         = v + kappa (theta - v) dt + xi sqrt(v dt) w,   v = VIX^2: a square-root process, fitted to months

    The power says how much more of its VIX the index realises in wild markets than in calm ones. A good part of a day's
    move of the VIX is gone within days; what is left goes back over months. Without the one or the other options would
    be cheap in calm worlds: they would promise a rise of volatility that history does not bring.

    Units: per session, kappa, theta and xi per year; a jump's mean and deviation in d
    """

    drift: float  # in excess of carry
    drift_error: float  # standard error of the drift
    scale: float  # volatility realised over that of a usual VIX: below 1, option sellers are paid a premium
    usual: float  # the VIX's geometric mean
    least: float  # its extremes
    most: float
    power: float
    scale_spread: float  # standard deviation of the scale's logarithm from year to year, beyond chance
    back: float
    pull: float
    mean: float
    bias: float
    kappa: float
    theta: float
    xi: float
    rho: float  # of z and w
    calm_scale: float  # the scale of returns that are no jumps
    jump_chance: float
    jump_mean: float
    jump_deviation: float

    def unit(self, vix: torch.Tensor) -> torch.Tensor:
        """The d of each VIX: a return's deviation per session where the scale is 1."""
        seen = vix.clamp(self.least, self.most)  # beyond what was seen nobody knows of a power
        return vix * (seen / self.usual) ** self.power / math.sqrt(SESSIONS_YEAR)


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
    recent = _average(torch.log(vix), RECENT_DECAY)
    gain, vix_gain, fit = _fitted(close, vix, recent, (rate - dividend_yield) * SESSION_YEARS)
    return Days(
        log_close=torch.log(close),
        vix=vix,
        recent=recent,
        slow_variance=_average(vix**2, SLOW_DECAY),
        rate=rate,
        dividend_yield=dividend_yield,
        spread_scale=torch.from_numpy(spread_scale(dates)).to(vix),
        gain=gain,
        vix_gain=vix_gain,
    ), fit


def _fitted(
    close: torch.Tensor, vix: torch.Tensor, recent: torch.Tensor, carry: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, Fit]:
    """Standardised moves [M - 1] of index and VIX [M] beyond a carry [M] per session, and what standardised them."""
    returns = close[1:] / close[:-1] - 1.0 - carry[:-1]
    level = torch.log(vix)
    usual = torch.exp(level[:-1].mean())
    power = _power(returns / vix[:-1], level[:-1] - level[:-1].mean())
    unit = vix[:-1] * (vix[:-1] / usual) ** power / math.sqrt(SESSIONS_YEAR)
    drift = (returns / unit).mean() / (1.0 / unit).mean()  # calm days tell more of it than wild ones
    raw = (returns - drift) / unit
    scale = raw.square().mean().sqrt()
    z = raw / scale

    back, pull = _goes_back(level[:-1], recent[:-1], level.diff())
    to_come = level.diff() - back * (recent - level)[:-1] + pull * level[:-1]
    mean = to_come.mean() / pull
    moved = torch.exp(to_come - pull * mean)
    bias = moved.mean()

    variance = vix**2
    kappa, theta, xi = _square_root(variance[:-MONTH], variance[MONTH:] - variance[:-MONTH], MONTH * SESSION_YEARS)
    noise = variance.diff() / torch.sqrt(variance[:-1])
    noise = noise - noise.mean()
    spread = noise.square().mean().sqrt()

    calm = z.abs() <= JUMP_AT
    jump = raw[~calm] if bool((~calm).any()) else raw.new_zeros(1)
    figures = {
        "drift": drift,
        "drift_error": scale / ((1.0 / unit).mean() * math.sqrt(len(returns))),
        "scale": scale,
        "usual": usual,
        "least": vix.min(),
        "most": vix.max(),
        "power": power,
        "scale_spread": _yearly_spread(z),
        "back": back,
        "pull": pull,
        "mean": mean,
        "bias": bias,
        "kappa": kappa,
        "theta": theta,
        "xi": xi,
        "rho": (z * noise).mean() / spread if bool(spread > _NOTHING) else spread,
        "calm_scale": raw[calm].square().mean().sqrt(),
        "jump_chance": (~calm).double().mean(),
        "jump_mean": jump.mean(),
        "jump_deviation": jump.std(correction=0),
    }
    return z, moved / bias, Fit(**{name: float(value) for name, value in figures.items()})


def _power(returns: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """The b of variances proportional to e^{2 b level} that the squares of returns [M] agree with best.

    The normal law's quasi-likelihood, by scoring, shrunk as far as chance may have made it; a level [M] of mean zero
    that hardly moves tells nothing.
    """
    squares, spread = returns.square(), level.square().mean()
    power = torch.zeros_like(spread)
    if bool(spread <= LEAST_SPREAD**2):
        return power
    seen = squares
    for _ in range(_SCORINGS):
        power = (power + ((seen / seen.mean() - 1.0) * level).mean() / (2.0 * spread)).clamp(-MOST_POWER, MOST_POWER)
        seen = squares * torch.exp(-2.0 * power * level)
    chance = ((seen / seen.mean()).square().mean() - 1.0) / (4.0 * len(level) * spread)
    return power**3 / (power**2 + chance)


def _goes_back(level: torch.Tensor, recent: torch.Tensor, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of its distance to its recent average, and to its mean, a level goes back: least squares.

    What never moves goes back at once; a pull is at least that of a year, or a short history that rises would rise on.
    """
    apart, level, change = (values - values.mean() for values in (recent - level, level, change))
    least = level.new_tensor(SESSION_YEARS)
    if bool(level.square().mean() <= _NOTHING) or bool(apart.square().mean() <= _NOTHING):
        return torch.zeros_like(least), torch.ones_like(least)
    aa, ll, al, ac, lc = apart @ apart, level @ level, apart @ level, apart @ change, level @ change
    pull = torch.maximum((al * ac - aa * lc) / (aa * ll - al * al), least)
    return (ac + pull * al) / aa, pull


def _square_root(variance: torch.Tensor, change: torch.Tensor, years: float) -> tuple[torch.Tensor, ...]:
    """Kappa, theta and xi of a square-root process by its changes [M] over some years: least squares in sqrt(v).

    E change = g (theta - v),   its variance xi^2 (v g (1 - g) + theta g^2 / 2) / kappa,   g = 1 - e^{-kappa T}
    """
    weight = 1.0 / variance
    count, whole = weight.sum(), variance.sum()
    determinant = count * whole - len(variance) ** 2
    slope = (count * change.sum() - len(variance) * (change * weight).sum()) / determinant.clamp(min=_NOTHING)
    fast, lazy = (math.expm1(-kappa * years) for kappa in (MOST_KAPPA, LEAST_KAPPA))
    kappa = -torch.log1p(slope.clamp(fast, lazy)) / years
    gone = -torch.expm1(-kappa * years)  # share of the distance to theta that is gone after so long
    theta = ((change + gone * variance) * weight).sum() / (gone * count)
    noise = change - gone * (theta - variance)
    of_one = (len(variance) * gone * (1.0 - gone) + count * theta * gone.square() / 2.0) / kappa
    return kappa, theta, ((noise.square() * weight).sum() / of_one).sqrt()


def _yearly_spread(z: torch.Tensor) -> torch.Tensor:
    """Deviation of the logarithm of each year's volatility from the whole's, less what 252 draws vary by themselves."""
    size = int(SESSIONS_YEAR)
    years = z[: len(z) // size * size].view(-1, size)
    logs = 0.5 * torch.log(years.square().mean(dim=1))
    chance = 0.25 * (z**4).mean() / size - 0.25 / size
    return (logs.var(correction=0) - chance).clamp(min=0.0).sqrt() if len(years) > 1 else z.new_zeros(())


def _average(values: torch.Tensor, decay: float) -> torch.Tensor:
    """Average of all values so far, older ones counting less; as the modelled history's slow one."""
    out, level, weight = [], 0.0, 0.0
    for value in values.tolist():
        level, weight = decay * level + value, decay * weight + 1.0
        out.append(level / weight)
    return torch.tensor(out, dtype=values.dtype, device=values.device)


assert PAST <= FEWEST_SESSIONS
