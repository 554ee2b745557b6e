"""The modelled S&P 500 and the simulated world as sources: real facts of the series, the level, no look-ahead."""

import dataclasses
import hashlib
import json
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market import public_series
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.cache import to_columns
from clstm_core.market.calendars import is_trading_day, session_ends
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.realism.model_free import strip_variance, thirty_day_volatility
from clstm_core.market.source import check_tables
from clstm_core.market.sources import default_config, open_source
from clstm_core.market.sources.simulated import Simulated
from clstm_core.market.sources.sp500_modelled import SP500Modelled, load_history
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.black_scholes import simulated_columns
from clstm_core.market.worlds.sp500 import BURN_IN, SP500World
from clstm_core.specs import CELL_INDEX

WINDOW = (date(2014, 9, 2), date(2014, 12, 31))


@pytest.fixture(scope="module")
def source() -> SP500Modelled:
    return SP500Modelled(default_config("sp500_modelled"))


@pytest.fixture(scope="module")
def days(source) -> list[date]:
    return [day for day in source.list_snapshots() if WINDOW[0] <= day <= WINDOW[1]]


@pytest.fixture(scope="module")
def tables(source, days):
    return check_tables(source.read(days))


def test_the_series_are_the_real_ones_as_they_were_known(source):
    history, without = load_history()
    assert len(history.date) == 8313
    assert (history.date[0], history.date[-1]) == (np.datetime64("1990-01-02"), np.datetime64("2022-12-28"))
    at = {day: index for index, day in enumerate(history.date.tolist())}
    assert history.close[at[date(2009, 3, 9)]] == pytest.approx(676.53, abs=0.01)
    assert history.vix[at[date(2008, 11, 20)]] == pytest.approx(0.8086)
    assert without == [date(1991, 3, 1), date(1997, 1, 31), date(1997, 11, 26), date(1999, 12, 31)]
    assert history.vix[at[date(1999, 12, 31)]] == history.vix[at[date(1999, 12, 30)]]
    # a bill's discount of 4.96% for February 2007, known in March: 100 x .0496 x 91 / 360 off, continuous on 365 days
    february = -np.log(1 - 0.0503 * 91 / 360) * 365 / 91
    assert history.rate[at[date(2007, 3, 1)]] == pytest.approx(february, abs=2e-4)
    # dividends of March 2016: those of September 2015 (42.3 points a year), with half of their growth from 38.3
    day = at[date(2016, 3, 15)]
    assert np.expm1(history.dividend_yield[day]) * history.close[day] == pytest.approx(44.4, abs=0.6)
    assert source.list_snapshots() == history.date[BURN_IN:].tolist()


def test_what_is_fitted_is_fitted_on_training_dates_and_told(source):
    world = source.world
    assert world.history.date[world.train_stop - 1] == np.datetime64("2012-12-31")
    later = world.history.date > np.datetime64("2012-12-31")
    wild = world.history._replace(
        close=world.history.close * np.where(later, 3.0, 1.0), vix=np.where(later, 0.9, world.history.vix)
    )
    other = SP500World(wild, world.scheduled, source.config)
    assert (other.reversion, other.fair) == (world.reversion, world.fair)
    assert f"{world.reversion:.1f} a year" in " ".join(source.notes)
    findings = source.read([date(2014, 9, 2)]).findings
    assert findings.filter(pl.col("check") == "shape")["detail"][0] in source.notes


def test_the_quotes_charge_what_the_vix_says(source, tables):
    """The exchange's own strip over the listed mids, without the model."""
    history = source.world.history
    carry = pl.DataFrame(
        {"snapshot": session_ends(history.date), "rate": history.rate, "vix": history.vix}
    ).with_columns(pl.col("snapshot").cast(tables.quotes.schema["snapshot"]))
    found = thirty_day_volatility(strip_variance(tables.quotes, carry)).join(carry, on="snapshot")
    assert found.height == tables.quotes["snapshot"].n_unique()
    error = 100 * (found["volatility"] - found["vix"])
    assert abs(error.mean()) < 0.2
    assert error.abs().max() < 1.0


HALF_DAYS = [date(2014, 11, 28), date(2014, 12, 24)]


def test_half_days_are_priced_and_settled_at_their_own_close(days, tables):
    """They closed at 13:00 New York, 18:00 UTC; every other session of the winter at 21:00, of the summer at 20:00."""
    for frame in (tables.quotes, tables.underlyings.filter(pl.col("snapshot").dt.date() >= WINDOW[0])):
        snapshots = frame["snapshot"].unique().sort()
        assert snapshots.dt.date().to_list() == days
        assert snapshots.filter(snapshots.dt.hour() == 18).dt.date().to_list() == HALF_DAYS
        assert set(snapshots.dt.hour()) == {18, 20, 21}
    expirations = tables.quotes["expiration"].unique()
    assert (
        expirations.filter(expirations.dt.hour() == 18).dt.date().to_list() == HALF_DAYS[:1]
    )  # the other: a Wednesday
    friday = tables.quotes.filter(pl.col("expiration").dt.date() == HALF_DAYS[0])
    last = friday.filter(pl.col("snapshot") == pl.col("snapshot").max())
    # nothing is quoted on the day itself; from Wednesday's close 45 hours were left
    assert last["snapshot"].dt.date()[0] == date(2014, 11, 26)
    assert (last["expiration"] - last["snapshot"]).dt.total_hours().unique().to_list() == [45]


def test_time_to_expiry_cash_and_settlement_agree_on_half_days(source, tables):
    market = build_market_tensors(
        *(to_columns(frame) for frame in (tables.quotes, tables.underlyings, tables.rates)),
        source.config,
        embargo=0,
        info={"source": source.name, "label": source.label, "spread": source.spread},
    )
    sessions = market.snapshot_T.numpy().astype("datetime64[ns]").astype("datetime64[D]")
    ends = market.expiration_K.numpy().astype("datetime64[ns]")
    mine = torch.from_numpy(ends == np.datetime64("2014-11-28T18:00"))
    assert int(mine.sum()) > 10
    at = int(np.searchsorted(sessions, np.datetime64("2014-11-28")))
    assert set(market.settle_index_K[mine].tolist()) == {at}
    assert int(market.snapshot_T[at]) == int(market.expiration_K[mine][0])
    paid = (market.right_K * (market.spot_T[at] - market.strike_K)).clamp(min=0.0)
    torch.testing.assert_close(market.settle_value_K[mine], paid[mine])
    left = market.expiration_K[market.row_contract_Q] - market.snapshot_T[market.row_snapshot_Q]
    torch.testing.assert_close(market.tte_years_Q, left.double() / YEAR_NS, rtol=1e-9, atol=0.0)
    hours = (market.time_years_T[1:] - market.time_years_T[:-1]) * YEAR_NS / 3.6e12
    assert hours[at - 1 : at + 1].tolist() == pytest.approx([45.0, 75.0])  # from Wednesday, to Monday


def test_the_twin_is_cheaper_and_lists_the_same(source, days, tables):
    twin = SP500Modelled(dataclasses.replace(source.config, premium=False)).read(days[:20])
    keys = ["snapshot", "contract_id"]
    both = tables.quotes.join(twin.quotes, on=keys, suffix="_twin")
    assert both.height == twin.quotes.height > 5_000
    mid, other = both["bid"] + both["ask"], both["bid_twin"] + both["ask_twin"]
    dear = (other > 20) & (other < 120)
    assert (mid / other).filter(dear).median() > 1.05
    assert twin.findings.filter(pl.col("check") == "level")["detail"][0].startswith("Zero-premium twin")


def test_the_stressed_world_lists_the_same_wider_and_a_point_lower(source, days, tables):
    stressed = SP500Modelled(dataclasses.replace(source.config, stress=True)).read(days[:20])
    both = tables.quotes.join(stressed.quotes, on=["snapshot", "contract_id"], suffix="_stressed")
    assert both.height == stressed.quotes.height > 5_000
    plain, wide = both["ask"] - both["bid"], both["ask_stressed"] - both["bid_stressed"]
    dear = plain > 0.24  # a tick of rounding weighs little
    assert 1.4 < (wide / plain).filter(dear).median() < 2.1
    assert (both["bid_stressed"] <= both["bid"] + 1e-9).all()
    lower = (both["bid"] + both["ask"] - both["bid_stressed"] - both["ask_stressed"]).filter(both["ask"] > 4)
    assert (lower >= -0.11).all()
    assert (lower.mean() or 0.0) > 0
    assert "Stressed world" in " ".join(stressed.findings["detail"])


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


@pytest.mark.slow
@pytest.mark.parametrize("premium", [False, True])
def test_selling_earns_the_premium_and_nothing_without_it(premium):
    """On the real path, training dates, hedged daily: the twin's options are worth what they cost at every strike."""
    config = dataclasses.replace(default_config("sp500_modelled"), premium=premium)
    source = SP500Modelled(config)
    tables = source.read(source.list_snapshots()[: source.world.train_stop - BURN_IN + 70])
    market = build_market_tensors(
        *(to_columns(frame) for frame in (tables.quotes, tables.underlyings, tables.rates)),
        config,
        embargo=0,
        info={"source": source.name, "label": source.label, "spread": source.spread},
    )
    cells = (
        "near_call_atm",
        "near_put_atm",
        "near_put_30",
        "near_put_20",
        "near_put_10",
        "near_put_05",
        "near_call_20",
    )
    gains = {cell: hedged_gain(market, cell) for cell in cells}
    if premium:
        assert all(0.05 < gain < 0.6 for gain in gains.values()), gains
    else:
        assert all(abs(gain) < 0.05 for gain in gains.values()), gains


def test_quotes_do_not_depend_on_later_sessions(source, days, tables):
    """The training dates' fit stays; everything after the 20th session is replaced."""
    cut = days[20]
    history = source.world.history
    after = history.date > np.datetime64(cut)
    wild = {
        name: getattr(history, name) * np.where(after, np.linspace(0.5, 3.0, len(after)), 1.0)
        for name in ("close", "vix", "rate", "dividend_yield")
    }
    other = SP500Modelled(source.config)
    other.__dict__["loaded"] = source.loaded._replace(history=history._replace(**wild))
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


def test_a_training_window_too_short_to_fit_on_is_refused():
    config = MarketConfig(train_until="1990-06-29", validation_until="1991-06-28")
    with pytest.raises(
        MarketDataError, match=r"holds \d+ dates to fit the surface on: expected at least 250\. .*train_until"
    ):
        _ = SP500Modelled(config).world.reversion


@pytest.mark.parametrize("name", ["vix_close.csv", "us_treasury_bill_3m.csv", "sp500_dividend_yield.csv"])
def test_a_series_that_is_gone_is_named(name, monkeypatch, tmp_path):
    for file in public_series.FILES:
        if file != name:
            (tmp_path / file).write_bytes((public_series.FOLDER / file).read_bytes())
    monkeypatch.setattr(public_series, "FOLDER", tmp_path)
    with pytest.raises(MarketDataError, match=f"missing series .*{name}.*Restore"):
        load_history()


def test_the_series_are_the_published_files():
    described = json.loads((public_series.FOLDER / "metadata.json").read_text())
    assert set(described) == set(public_series.FILES)
    for name, facts in described.items():
        assert hashlib.sha256((public_series.FOLDER / name).read_bytes()).hexdigest() == facts["sha256"]


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
            default_config("sp500_modelled"),
            [date(1999, 4, 6), date(2008, 10, 15), date(2018, 12, 31)],
            2_514,
            "51a83e65ce5e7be7",
        ),
        (MarketConfig(source="simulated", n_snapshots=40, seed=3), None, 17_488, "ea1a4bcc0be847e1"),
    ],
)
def test_quotes_are_those_that_were_written_down(config, sessions, rows, digest):
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
