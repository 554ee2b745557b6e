"""The outside judge on markets that are true, flattering, short or quoted by nobody."""

import dataclasses
import math
import os

import numpy as np
import polars as pl
import pytest
import torch

from clstm_core.artifacts.manifests import RealismVerdict
from clstm_core.market.cache import ensure_quotes
from clstm_core.market.public_series import VIX, read_table
from clstm_core.market.realism.judge import Band, judge
from clstm_core.market.realism.model_free import strip_variance, thirty_day_volatility
from clstm_core.market.realism.names import CHECKS
from clstm_core.market.realism.shape import shape_of
from clstm_core.market.sources import default_config, open_source
from clstm_core.options import black_scholes
from clstm_core.realism_verdict import ensure_realism


@pytest.fixture(scope="module")
def market():
    """The default market with its quotes from 1998 on: every figure that is published, in a third of the time."""
    source = open_source(default_config("sp500_modelled"))
    return source.read([day for day in source.list_snapshots() if 1998 <= day.year <= 2016])


@pytest.fixture(scope="module")
def found(market):
    return judge(market.quotes, market.underlyings, market.rates, read_table(VIX))


def test_the_default_market_agrees_with_what_was_published(found):
    for check in CHECKS:
        assert found.asked(check)
        assert not found.failed(check), found.words(check)
    ours = {band.name: band for band in found.bands}
    assert ours["BXM 1999-2004, growth"].outside == pytest.approx(5.588, abs=1e-3)
    assert ours["PUT 2007-2015, growth"].outside == pytest.approx(5.912, abs=1e-3)
    assert {row["year"] for row in found.volatility} == set(range(1998, 2017))


def test_a_market_that_pays_sellers_too_much_is_found(market):
    """Every option a tenth dearer: sellers earn what nobody earned, and the volatility leaves the VIX."""
    dear = market.quotes.with_columns(pl.col("bid", "ask") * 1.1)
    found = judge(dear, market.underlyings, market.rates, read_table(VIX))
    assert found.failed("option_selling")
    assert found.failed("volatility_level")
    assert "left; farthest out" in found.words("option_selling")


def test_a_wrong_dividend_is_found(market):
    without = market.rates.with_columns(dividend_yield=pl.lit(0.0))
    found = judge(market.quotes, market.underlyings, without, read_table(VIX))
    assert found.failed("total_return")


def test_the_smile_and_the_spreads_stand_beside_real_chains_and_decide_nothing(found):
    shown = {band.name: band for band in found.bands if band.within is None}
    put = shown["10-delta put over the money, 24-38 days"]
    assert put.ours is not None
    assert 1.2 < put.ours < 1.6
    assert shown["full spread at the money"].outside == 0.094
    assert all(band.holds is None for band in shown.values())


def test_a_short_market_is_asked_nothing(market):
    last = market.quotes["snapshot"].unique().sort()[-30:]
    part = market.quotes.filter(pl.col("snapshot").is_in(last.implode()))
    found = judge(part, market.underlyings, market.rates, read_table(VIX))
    for check in ("option_selling", "deviation", "total_return"):
        assert not found.asked(check)
        assert "Nothing to compare" in found.words(check)
    assert found.asked("volatility_level")


def flat_chain(vol: float, days: float, spread: float = 0.0) -> pl.DataFrame:
    """One snapshot's calls and puts at one volatility, to 8 standard deviations."""
    snapshot = pl.datetime(2020, 1, 2, 21, time_unit="ns", time_zone="UTC")
    strike = 1000.0 * np.exp(np.arange(-1.2, 0.8, 0.004))
    s, t, sigma, r, q = (
        torch.full((len(strike),), x, dtype=torch.float64) for x in (1000.0, days / 365, vol, 0.03, 0.0)
    )
    k = torch.from_numpy(strike)
    parts = []
    for right, side in (("C", 1.0), ("P", -1.0)):
        price = black_scholes.price(s, k, t, sigma, r, q, torch.full_like(k, side)).numpy()
        parts.append(pl.DataFrame({"strike": strike, "right": right, "bid": price - spread, "ask": price + spread}))
    return pl.concat(parts).with_columns(
        pl.max_horizontal("bid", 0.0).alias("bid"),
        snapshot=snapshot,
        expiration=snapshot + pl.duration(seconds=int(days * 86_400)),
    )


@pytest.mark.parametrize("vol", [0.12, 0.3])
def test_the_strip_of_a_flat_smile_is_its_volatility(vol):
    quotes = pl.concat([flat_chain(vol, 23.0), flat_chain(vol, 37.0)])
    carry = quotes.select("snapshot").unique().with_columns(rate=pl.lit(0.03))
    strips = strip_variance(quotes, carry)
    assert strips.height == 2
    for variance in strips["variance"]:
        assert math.sqrt(variance) == pytest.approx(vol, rel=4e-3)
    assert thirty_day_volatility(strips)["volatility"][0] == pytest.approx(vol, rel=4e-3)


def test_the_strip_ends_where_two_neighbours_have_no_bid():
    quotes = flat_chain(0.2, 30.0, spread=0.05)
    carry = quotes.select("snapshot").unique().with_columns(rate=pl.lit(0.03))
    whole = strip_variance(quotes, carry)
    # bids far out, behind the gap, are not counted
    far = pl.col("strike") < 450.0
    revived = quotes.with_columns(bid=pl.when(far & (pl.col("right") == "P")).then(0.04).otherwise("bid"))
    assert strip_variance(revived, carry).equals(whole)


def test_the_shape_of_a_flat_smile_is_flat():
    quotes = flat_chain(0.2, 30.0, spread=0.02)
    carry = (
        quotes.select("snapshot")
        .unique()
        .with_columns(spot=pl.lit(1000.0), rate=pl.lit(0.03), dividend_yield=pl.lit(0.0))
    )
    shape = shape_of(quotes, carry)
    assert shape.put_over_money[0.10] == pytest.approx(1.0, abs=1e-3)
    assert shape.money_spread == pytest.approx(0.04 / 1.14, rel=0.05)  # vega at the money: 1.14 per point
    assert shape_of(quotes.clear(), carry).chains == 0


@pytest.mark.parametrize(("ours", "holds"), [(5.9, True), (6.91, True), (7.0, False), (None, None)])
def test_a_band_holds_within_its_width(ours, holds):
    band = Band(check="option_selling", name="x", unit="%", ours=ours, outside=5.91, within=1.0)
    assert band.holds is holds
    assert dataclasses.replace(band, within=None).holds is None


def test_the_verdict_is_kept_by_the_quotes_and_read_again(tmp_path):
    config = default_config("simulated", n_snapshots=60)
    quotes = ensure_quotes(config, tmp_path)
    verdict, stood = ensure_realism(quotes, tmp_path)
    assert not stood
    assert "nothing was published" in verdict.verdict or "agrees" in verdict.verdict or "differs" in verdict.verdict
    again, stood = ensure_realism(quotes, tmp_path)
    assert stood
    assert again == verdict
    rows = verdict.rows()["gate_results"]
    assert [row["name"] for row in rows] == list(CHECKS)
    assert {row["data_sha256"] for row in rows} == {verdict.parents["quotes"]}
    verdict.place.write_text(verdict.place.read_text().replace("simulated", "real"))
    assert RealismVerdict.kept(verdict.place) is None
    _, stood = ensure_realism(quotes, tmp_path)
    assert not stood


@pytest.mark.parametrize("name", ["spx_barchart", "spx_cboe"])
def test_real_sets_are_judged_by_what_there_is_to_judge(name):
    folder = os.environ.get("CLSTM_REAL_DATA")
    if not folder:
        pytest.skip("CLSTM_REAL_DATA is not set: no real market data to test against")
    source = open_source(default_config(name, data_dir=folder))
    tables = source.read(source.list_snapshots())
    found = judge(tables.quotes, tables.underlyings, tables.rates, read_table(VIX))
    for check in ("option_selling", "deviation", "total_return"):
        assert not found.asked(check)
    assert not found.failed("volatility_level"), found.words("volatility_level")
