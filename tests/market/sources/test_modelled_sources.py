"""The modelled S&P 500 and the simulated world as sources: real facts of the series, the fit, no look-ahead."""

import dataclasses
import hashlib
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.cache import to_columns
from clstm_core.market.calendars import is_trading_day
from clstm_core.market.source import check_tables
from clstm_core.market.sources import open_source
from clstm_core.market.sources.simulated import Simulated
from clstm_core.market.sources.sp500_modelled import SP500Modelled, load_index
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.black_scholes import simulated_columns
from clstm_core.market.worlds.sp500 import BURN_IN, SP500Surface
from clstm_core.market.worlds.variance import fit_variance_model, variance_design
from clstm_core.specs import CELL_INDEX

WINDOW = (date(2014, 9, 2), date(2014, 12, 31))


@pytest.fixture(scope="module")
def source() -> SP500Modelled:
    return SP500Modelled(MarketConfig())


@pytest.fixture(scope="module")
def days(source) -> list[date]:
    return [day for day in source.list_snapshots() if WINDOW[0] <= day <= WINDOW[1]]


@pytest.fixture(scope="module")
def tables(source, days):
    return check_tables(source.read(days))


def test_the_series_is_the_real_one(source):
    index = load_index()
    assert len(index.date) == 5031
    assert (index.date[0], index.date[-1]) == (np.datetime64("1999-01-04"), np.datetime64("2018-12-31"))
    close = dict(zip(index.date.tolist(), index.close.tolist(), strict=True))
    assert close[date(2009, 3, 9)] == pytest.approx(676.53, abs=0.01)
    rate = dict(zip(index.date.tolist(), index.rate.tolist(), strict=True))
    # One-month bills: about 5% before the crisis, nothing after it, about 2.2% in the autumn of 2018.
    assert 0.04 < rate[date(2007, 3, 1)] < 0.06
    assert 0.0 <= rate[date(2013, 3, 1)] < 0.002
    assert rate[date(2018, 11, 1)] == pytest.approx(12 * np.log1p(0.0018), abs=3e-4)
    vix = dict(zip(index.date.tolist(), index.vix.tolist(), strict=True))
    assert vix[date(2014, 1, 3)] == pytest.approx(0.1376)
    assert np.isnan(vix[date(2013, 12, 31)])
    assert source.list_snapshots() == index.date[BURN_IN:].tolist()


def test_the_premium_is_fitted_on_training_dates_and_its_error_is_told(source):
    fit = source.fit
    assert fit.dates > 200
    stop = source.surface.index.date[source.surface.train_stop].item()
    assert date(2014, 1, 1) <= fit.first < fit.last < stop
    assert 1.0 < fit.premium_ratio < 1.4
    assert abs(fit.bias) < 0.5
    assert fit.rmse < 2.0
    assert f"{fit.rmse:.2f} vol points" in " ".join(source.notes)
    findings = source.read([date(2014, 9, 2)]).findings
    assert findings.filter(pl.col("check") == "premium_fit")["detail"][0] == next(
        note for note in source.notes if note.startswith("Premium assumed")
    )


def test_quotes_carry_the_vix_they_were_fitted_to(source, tables, days):
    """The exchange's own strip formula over the quoted mids of the two expiries around 30 days, without the model."""
    ratio = []
    for day in days[::20]:
        at = source.surface.index.date.tolist().index(day)
        spot, rate = source.surface.index.close[at], source.surface.index.rate[at]
        quotes = tables.quotes.filter(pl.col("snapshot").dt.date() == day).with_columns(
            tte=(pl.col("expiration") - pl.col("snapshot")).dt.total_seconds() / (365 * 86400)
        )
        points = []
        for (tte,), expiry in quotes.group_by("tte", maintain_order=True):
            forward = spot * np.exp((rate - 0.019) * tte)
            otm = expiry.filter((pl.col("bid") > 0) & ((pl.col("strike") >= forward) == (pl.col("right") == "C"))).sort(
                "strike"
            )
            strike, mid = otm["strike"].to_numpy(), ((otm["bid"] + otm["ask"]) / 2).to_numpy()
            strip = np.sum(2 * np.gradient(strike) * np.exp(rate * tte) * mid / strike**2)
            points.append((tte, strip))
        points.sort()
        total = np.interp(30 / 365, [p[0] for p in points], [p[1] for p in points])
        ratio.append(np.sqrt(total * 365 / 30) / source.surface.index.vix[at])
    # The listed wings end before the integral does, so the strip lies a little low.
    assert 0.85 < np.mean(ratio) < 1.1


def test_the_twin_without_a_premium_is_cheaper_and_otherwise_the_same(source, days, tables):
    twin = SP500Modelled(MarketConfig(premium=False)).read(days[:20])
    keys = ["snapshot", "contract_id"]
    both = tables.quotes.join(twin.quotes, on=keys, suffix="_twin")
    assert both.height > 5_000
    mid, other = both["bid"] + both["ask"], both["bid_twin"] + both["ask_twin"]
    assert (mid >= other - 1e-9).all()
    cheap = (other > 4) & (other < 60)
    assert (mid / other).filter(cheap).median() > 1.05
    assert twin.findings.filter(pl.col("check") == "premium_fit")["detail"][0].startswith("Zero-premium twin")


def hedged_gain(market: MarketTensors, cell: str) -> float:
    """Mean gain of selling a cell's contract at mid and hedging it every session to expiry, over its mean price.

    Training dates only; money is carried at the rate and shares earn the dividend yield.
    """
    start, stop = market.split("train")
    row = market.grid_row_TG[start:stop, CELL_INDEX[cell]]
    row = row[row >= 0]
    contract = market.row_contract_Q[row]
    row = row[market.settle_index_K[contract] < stop]
    contract = market.row_contract_Q[row]
    price = market.mark_Q[row]
    gain = price - market.settle_value_K[contract]
    while len(row):
        t = market.row_snapshot_Q[row]
        years = market.time_years_T[t + 1] - market.time_years_T[t]
        share = market.spot_T[t + 1] * torch.exp(market.dividend_yield_T[t] * years)
        loan = market.spot_T[t] * torch.exp(market.rate_T[t] * years)
        gain[: len(row)] += market.delta_Q[row] * (share - loan)
        alive = market.next_row_Q[row] >= 0
        # Ended contracts go to the back, where nothing is added any more.
        order = torch.cat([torch.nonzero(alive).squeeze(1), torch.nonzero(~alive).squeeze(1)])
        gain[: len(row)] = gain[: len(row)][order]
        row = market.next_row_Q[row][alive]
    return float(gain.mean() / price.mean())


@pytest.mark.parametrize("premium", [False, True])
def test_selling_earns_the_premium_and_nothing_without_it(premium):
    """On the real path, training dates, hedged daily: the twin's options are worth what they cost at every strike."""
    config = MarketConfig(premium=premium)
    source = SP500Modelled(config)
    tables = source.read(source.list_snapshots()[: source.surface.train_stop - BURN_IN + 70])
    market = build_market_tensors(
        *(to_columns(frame) for frame in (tables.quotes, tables.underlyings, tables.rates)),
        dataclasses.replace(config, train_fraction=0.98, validation_fraction=0.01),
        embargo=0,
        info={"source": source.name, "label": source.label, "spread": source.spread},
    )
    cells = ("near_call_atm", "near_put_atm", "near_put_30", "near_put_20", "near_put_10", "near_call_20")
    gains = {cell: hedged_gain(market, cell) for cell in cells}
    if premium:
        assert all(0.08 < gain < 0.6 for gain in gains.values()), gains
    else:
        assert all(abs(gain) < 0.06 for gain in gains.values()), gains


def test_quotes_do_not_depend_on_later_sessions(source, days, tables):
    """The training dates' fit stays; everything after the 20th session is replaced."""
    cut = days[20]
    other = SP500Modelled(source.config)
    index = source.surface.index
    after = index.date > np.datetime64(cut)
    wild = index.close * np.where(after, np.linspace(0.5, 3.0, len(after)), 1.0)
    surface = SP500Surface(index._replace(close=wild), source.surface.scheduled, source.config)
    assert surface.train_stop > np.flatnonzero(after)[0]
    surface.__dict__["fit"] = source.fit
    other.__dict__["surface"] = surface
    design_rows = np.flatnonzero(index.date <= np.datetime64(cut))
    model = fit_variance_model(index.close, variance_design(index.close), BURN_IN, source.surface.train_stop)
    surface.__dict__["_expected_TH"] = model.total_variance(variance_design(wild))
    np.testing.assert_array_equal(surface._expected_TH[design_rows], source.surface._expected_TH[design_rows])
    seen = other.read(days[:21]).quotes
    assert seen.equals(tables.quotes.filter(pl.col("snapshot").dt.date() <= cut))


def test_reading_part_gives_the_same_rows_as_reading_all(source, days, tables):
    part = source.read(days[30:40])
    expected = tables.quotes.filter(pl.col("snapshot").dt.date().is_in(days[30:40]))
    assert part.quotes.equals(expected)
    assert part.underlyings["snapshot"].dt.date().max() == days[39]


def test_expiries_are_sessions_and_quotes_are_on_ticks(tables):
    for day in tables.quotes["expiration"].dt.convert_time_zone("America/New_York").dt.date().unique().to_list():
        assert is_trading_day(day)
    assert (tables.quotes["ask"] > tables.quotes["bid"]).all()
    assert (tables.quotes["bid"] >= 0).all()
    cents = (tables.quotes["bid"] * 100).to_numpy()
    np.testing.assert_allclose(cents / 5, np.round(cents / 5), atol=1e-6)
    assert tables.quotes.select("snapshot", "contract_id").is_unique().all()


def test_short_tenors_get_short_expiries(days):
    short = SP500Modelled(MarketConfig(near_days=5.0, far_days=9.0)).read(days[:10]).quotes
    left = (short["expiration"] - short["snapshot"]).dt.total_days()
    assert left.max() <= 21
    assert short.filter(left <= 7)["expiration"].dt.weekday().n_unique() >= 3


def test_a_training_window_without_a_vix_is_refused():
    with pytest.raises(
        MarketDataError, match=r"train_fraction=0\.5 ends the training window .* Use train_fraction=0\.80"
    ):
        _ = SP500Modelled(MarketConfig(train_fraction=0.5)).fit


def test_a_date_that_is_no_session_is_refused(source):
    with pytest.raises(MarketDataError, match="no modelled session on 2014-12-25"):
        source.read([date(2014, 12, 25)])
    with pytest.raises(MarketDataError, match="no date at all"):
        source.read([])


def test_the_simulated_source_hands_over_its_columns():
    config = MarketConfig(source="simulated", n_snapshots=30)
    source = Simulated(config)
    days = source.list_snapshots()
    assert len(days) == 30
    tables = check_tables(source.read(days))
    quotes, underlyings, _ = simulated_columns(config)
    assert tables.quotes.height == len(quotes["bid"])
    np.testing.assert_array_equal(tables.quotes["bid"].to_numpy(), quotes["bid"])
    assert tables.quotes["contract_id"].to_list() == quotes["contract_id"].tolist()
    assert tables.underlyings.height == len(underlyings["close"])
    part = source.read(days[3:5])
    assert part.quotes["snapshot"].n_unique() == 2


@pytest.mark.parametrize(
    ("config", "sessions", "rows", "digest"),
    [
        (
            MarketConfig(),
            [date(1999, 4, 6), date(2008, 10, 15), date(2018, 12, 31)],
            1_538,
            "6fdf0e669404fee1",
        ),
        (MarketConfig(source="simulated", n_snapshots=40, seed=3), None, 17_488, "ea1a4bcc0be847e1"),
    ],
)
def test_quotes_are_those_of_the_first_release(config, sessions, rows, digest):
    """A frozen hash of names, dates, strikes and prices in ticks: no change of rooms may change a market."""
    source = open_source(config)
    quotes = source.read(sessions or source.list_snapshots()).quotes
    ticks = [(pl.col(side) / 0.05).round().cast(pl.Int64).alias(side[0]) for side in ("bid", "ask")]
    facts = quotes.select("snapshot", "contract_id", "expiration", "strike", "multiplier", *ticks)
    assert facts.height == rows
    assert hashlib.sha256(facts.write_csv().encode()).hexdigest()[:16] == digest


def test_an_expiry_that_nobody_knew_to_be_closed_stays_listed():
    """Friday 2001-09-14: quoted as a week away on the 7th, as nobody knew; settled on the last session there was."""
    source = SP500Modelled(MarketConfig())
    listed = source.read([date(2001, 9, 7)]).quotes["expiration"].dt.date().unique().to_list()
    assert date(2001, 9, 14) in listed
    assert date(2001, 9, 10) not in listed
