"""The outside judge: a market's quotes against what others published and what real chains show.

Nothing of ours is asked for its opinion: the judge reads quotes, closes, bills and dividends, walks the published
indices by their rules, and computes volatility by the exchange's own formula.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from clstm_core.market.realism import published
from clstm_core.market.realism.index_rules import (
    Market,
    index_levels,
    monthly_deviation,
    monthly_expiries,
    total_return,
    yearly_returns,
)
from clstm_core.market.realism.model_free import strip_variance, thirty_day_volatility
from clstm_core.market.realism.shape import Shape, shape_of

SPAN_POINTS, MEAN_POINTS, DEVIATION_POINTS, TOTAL_POINTS, VIX_POINTS = 1.0, 1.0, 1.5, 0.3, 0.5
SHAPE_VIX = (0.14, 0.18)  # the real chains were quoted at 15 to 17
SHAPE_SINCE = np.datetime64("2016-01-01")
SHAPE_SESSIONS = 60

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """One figure of ours beside the outside's.

    Units: as `unit` says; `within` is the largest difference that holds, None where it is shown and decides nothing
    """

    check: str
    name: str
    unit: str
    ours: float | None
    outside: float | None
    within: float | None

    @property
    def difference(self) -> float | None:
        """Ours less theirs."""
        return None if self.ours is None or self.outside is None else self.ours - self.outside

    @property
    def holds(self) -> bool | None:
        """Whether the difference is in the band; None where nothing is asked, or there is nothing to ask it of."""
        return None if self.within is None or self.difference is None else abs(self.difference) <= self.within

    def row(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self) | {"difference": self.difference, "holds": self.holds}


@dataclass(frozen=True, kw_only=True, slots=True)
class Realism:
    """What the judge found.

    indices:    one row per index and calendar year: ours and, where one is published, theirs, percent
    volatility: one row per year: mean difference from the VIX, volatility points
    bands:      what is judged or shown
    """

    indices: Rows
    volatility: Rows
    bands: Sequence[Band]

    def failed(self, check: str) -> list[Band]:
        """Bands of a check that do not hold."""
        return [band for band in self.bands if band.check == check and band.holds is False]

    def asked(self, check: str) -> bool:
        """Whether this market has anything that the check can be asked of."""
        return any(band.check == check and band.within is not None and band.ours is not None for band in self.bands)

    def words(self, check: str) -> str:
        """What a check found, in a sentence."""
        if not self.asked(check):
            return "Nothing to compare: these sessions cover no whole year that anything was published for."
        bands = [band for band in self.bands if band.check == check and band.within is not None]
        worst = max(bands, key=lambda band: abs((band.ours or 0.0) - (band.outside or 0.0)) / (band.within or 1.0))
        start = (
            "All hold; nearest its band" if not self.failed(check) else f"{len(self.failed(check))} left; farthest out"
        )
        return (
            f"{start}: {worst.name} {worst.ours:.2f} against {worst.outside:.2f} {worst.unit} (band {worst.within:g})."
        )


def judge(quotes: pl.DataFrame, underlyings: pl.DataFrame, rates: pl.DataFrame, vix: pl.DataFrame) -> Realism:
    """Judge canonical tables.

    Shapes: as `schema.QUOTES`, `UNDERLYINGS`, `RATES`; vix: `date`, `close` in points, wherever there is one
    """
    path = _path(quotes, underlyings, rates)
    market = Market(*(path[name].to_numpy() for name in ("date", "spot", "rate", "dividend_yield")))
    market = market._replace(date=market.date.astype("datetime64[D]"))
    levels = _levels(market, quotes)
    yearly = {name: yearly_returns(market.date, level) for name, level in levels.items()}
    carry = path.select("snapshot", "date", "spot", "rate", "dividend_yield").join(
        vix.select("date", vix=pl.col("close") / 100.0), on="date", how="left"
    )
    volatility = _volatility(quotes, carry)
    bands = [
        *_option_selling(yearly),
        _deviation(market.date, levels["PUT"]),
        *_total_return(yearly["total_return"]),
        *(
            Band(
                check="volatility_level",
                name=f"{row['year']}, less the VIX",
                unit="volatility points",
                ours=row["bias"],
                outside=0.0,
                within=VIX_POINTS,
            )
            for row in volatility
        ),
        *_shape(quotes, carry),
    ]
    indices = [
        {"index": name, "year": year, "ours": ours, "published": _published(name).get(year)}
        for name, years in yearly.items()
        for year, ours in sorted(years.items())
    ]
    return Realism(indices=indices, volatility=volatility, bands=bands)


def _path(quotes: pl.DataFrame, underlyings: pl.DataFrame, rates: pl.DataFrame) -> pl.DataFrame:
    """Snapshot, date, spot, rate and dividend yield of every session that is quoted."""
    spot = pl.coalesce("parity_spot", "close") if "parity_spot" in underlyings.columns else pl.col("close")
    days = underlyings.select("snapshot", date=pl.col("snapshot").dt.date(), spot=spot)
    return (
        days.join(quotes.select("snapshot").unique(), on="snapshot", how="semi")
        .join(rates.unique("date", keep="last").select("date", "rate", "dividend_yield"), on="date", how="left")
        .sort("date")
        .with_columns(pl.col("rate", "dividend_yield").forward_fill().fill_null(0.0))
        .drop_nulls("spot")
    )


def _levels(market: Market, quotes: pl.DataFrame) -> dict[str, np.ndarray]:
    """Levels of every index."""
    slim = quotes.select(
        "strike",
        "right",
        date=pl.col("snapshot").dt.date(),
        expiry=pl.col("expiration").dt.date(),
        mid=(pl.col("bid") + pl.col("ask")) / 2,
    )
    expiries = slim["expiry"].unique().sort().to_numpy().astype("datetime64[D]")
    monthly = slim.filter(pl.col("expiry").is_in(monthly_expiries(expiries, market.date).tolist()))
    return index_levels(market, monthly) | {"total_return": total_return(market)}


def _published(index: str) -> dict[int, float]:
    found = published.BY_INDEX.get(index)
    return found.returns if found else {}


def _option_selling(yearly: dict[str, dict[int, float]]) -> list[Band]:
    bands = []
    for name in ("BXM", "PUT"):
        ours, theirs = yearly[name], _published(name)
        span = f"{min(theirs)}-{max(theirs)}"
        whole = set(theirs) <= set(ours)
        mean = float(np.mean([ours[year] - theirs[year] for year in theirs])) if whole else None
        bands += [
            Band(
                check="option_selling",
                name=f"{name} {span}, growth",
                unit="% a year",
                ours=_growth(ours, theirs) if whole else None,
                outside=_growth(theirs, theirs),
                within=SPAN_POINTS,
            ),
            Band(
                check="option_selling",
                name=f"{name} {span}, mean error of calendar years",
                unit="points",
                ours=mean,
                outside=0.0,
                within=MEAN_POINTS,
            ),
        ]
    both = sorted(set(yearly["PUT"]) & set(yearly["BXM"]))
    if both:
        gap = _growth(yearly["BXM"], both) - _growth(yearly["PUT"], both)
        name = f"BXM less PUT, growth {both[0]}-{both[-1]}"
        bands.append(Band(check="", name=name, unit="points a year", ours=gap, outside=None, within=None))
    return bands


def _deviation(dates: np.ndarray, put: np.ndarray) -> Band:
    first_year, first_month, last_year, last_month = published.PUT_DEVIATION_SPAN
    covered = (
        len(dates) > 0
        and dates[0] < np.datetime64(f"{first_year}-{first_month:02d}-01")
        and dates[-1] > np.datetime64(f"{last_year}-{last_month:02d}-20")
    )
    return Band(
        check="deviation",
        name=f"PUT {first_year}-{last_year}, standard deviation of monthly returns",
        unit="% a year",
        ours=monthly_deviation(dates, put, published.PUT_DEVIATION_SPAN) if covered else None,
        outside=published.PUT_DEVIATION,
        within=DEVIATION_POINTS,
    )


def _total_return(ours: dict[int, float]) -> list[Band]:
    theirs = published.TOTAL_RETURN.returns
    bands = []
    for first, last in ((1999, 2004), (2007, 2015)):
        span = range(first, last + 1)
        bands.append(
            Band(
                check="total_return",
                name=f"S&P 500 with dividends {first}-{last}, growth",
                unit="% a year",
                ours=_growth(ours, span) if set(span) <= set(ours) else None,
                outside=_growth(theirs, span),
                within=TOTAL_POINTS,
            )
        )
    return bands


def _volatility(quotes: pl.DataFrame, carry: pl.DataFrame) -> Rows:
    """Mean difference of the quotes' 30-day volatility from the VIX by year."""
    found = thirty_day_volatility(strip_variance(quotes, carry)).join(carry, on="snapshot").drop_nulls("vix")
    return (
        found.group_by(year=pl.col("date").dt.year())
        .agg(
            bias=100.0 * (pl.col("volatility") - pl.col("vix")).mean(),
            rmse=100.0 * ((pl.col("volatility") - pl.col("vix")) ** 2).mean().sqrt(),
            vix=100.0 * pl.col("vix").mean(),
            sessions=pl.len(),
        )
        .sort("year")
        .to_dicts()
    )


def _shape(quotes: pl.DataFrame, carry: pl.DataFrame) -> list[Band]:
    """Smile and spreads about a month out, at the VIX that the real chains were quoted at."""
    calm = carry.filter(pl.col("vix").is_between(*SHAPE_VIX))
    late = calm.filter(pl.col("date") >= SHAPE_SINCE.item())
    chosen = (late if late.height else calm).sort("date")
    chosen = chosen.gather_every(max(1, math.ceil(chosen.height / SHAPE_SESSIONS))) if chosen.height else chosen
    shape = shape_of(quotes.join(chosen.select("snapshot"), on="snapshot", how="semi"), chosen.drop("date", "vix"))
    return [Band(check="", within=None, **facts) for facts in _shape_facts(shape)]


def _shape_facts(shape: Shape) -> Rows:
    put = published.PUT_OVER_MONEY
    return [
        *(
            {
                "name": f"{100 * delta:.0f}-delta put over the money, 24-38 days",
                "unit": "times its volatility",
                "ours": shape.put_over_money[delta],
                "outside": put[delta],
            }
            for delta in put
        ),
        {
            "name": "full spread at the money",
            "unit": "volatility points",
            "ours": shape.money_spread,
            "outside": published.MONEY_SPREAD,
        },
        {
            "name": "calls below 3 delta without a bid",
            "unit": "share",
            "ours": shape.calls_without_bid,
            "outside": published.CALLS_WITHOUT_BID,
        },
    ]


def _growth(returns: dict[int, float], years: Any) -> float:
    """Compounded growth a year over calendar years, percent."""
    chosen = [returns[year] for year in years]
    return 100.0 * (math.prod(1.0 + value / 100.0 for value in chosen) ** (1.0 / len(chosen)) - 1.0)
