"""Books that add up and are not true: a flow is forged, cash and equity follow; tried on every kind of set."""

import os

import polars as pl
import pytest

from clstm_core.artifacts.folder import file_sha256
from clstm_core.config import EnvConfig
from clstm_core.evaluation.backtest import run_backtests
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.recompute import LEDGERS, faults, recompute
from clstm_core.evaluation.recomputed.market import read_market
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.cache import ensure_quotes, ensure_tensors, to_columns
from clstm_core.market.sources import default_config
from clstm_core.market.sources.sp500_modelled import SP500Modelled
from clstm_core.market.tensors import load_market

REAL_DATA = os.environ.get("CLSTM_REAL_DATA")
real = pytest.mark.skipif(not REAL_DATA, reason="CLSTM_REAL_DATA names no folder of real option quotes")
STEP = ["episode", "step"]
CASH_FLOWS = {"interest_usd": 1.0, "dividends_usd": 1.0, "borrow_usd": -1.0}


def modelled(folder):
    """The last half year of the modelled market: what a test can afford."""
    config = default_config("sp500_modelled")
    source = SP500Modelled(config)
    tables = source.read(source.list_snapshots()[-130:])
    for name in ("quotes", "underlyings", "rates"):
        getattr(tables, name).write_parquet(folder / f"{name}.parquet")
    quotes = folder / "quotes.parquet"
    info = {
        "source": config.source,
        "label": "modelled quotes",
        "spread": "modelled",
        "quotes_path": str(quotes),
        "quotes_sha256": file_sha256(quotes),
    }
    columns = (to_columns(table) for table in (tables.quotes, tables.underlyings, tables.rates))
    return build_market_tensors(*columns, config, embargo=42, info=info)


def vendors(name):
    def build(folder):
        config = default_config(name, data_dir=str(REAL_DATA))
        cache = folder / "cache"
        return load_market(ensure_tensors(ensure_quotes(config, cache), config, cache, embargo=42))

    return build


@pytest.fixture(
    scope="module",
    params=[
        "simulated",
        "modelled",
        pytest.param("spx_barchart", marks=real),
        pytest.param("spx_cboe", marks=real),
    ],
)
def books(request, tmp_path_factory):
    """Every baseline's tables, facts and canonical tables over the whole of one set, at both lags."""
    vendor = request.param not in ("simulated", "modelled")
    folder = request.getfixturevalue("real_home") if vendor else tmp_path_factory.mktemp(request.param)
    if request.param == "simulated":
        traded = request.getfixturevalue("market")
    else:
        traded = modelled(folder) if request.param == "modelled" else vendors(request.param)(folder)
    found, whole = [], (0, traded.n_snapshots)
    for lag in (0, 1):
        config = EnvConfig(fill_lag=lag)
        for result in run_backtests(baselines(traded), traded, config, whole, out_dir=folder / "backtests"):
            tables = {name: result.table(name) for name in LEDGERS}
            quotes = folder / result.manifest["quotes"]["path"]
            market = read_market(quotes.parent, tables["fills"], tables["positions"])
            found.append((tables, market, result.manifest))
    return found


def test_true_books_pass(books) -> None:
    for tables, market, facts in books:
        differences, counts = recompute(tables, market, facts)
        assert faults(differences, counts) == {}, facts["name"]
        assert max(differences.values()) < 1e-4


def found_in(tables, market, facts):
    """What is found in forged books but of their risk budgets: half of the time, and a forgery is found without."""
    env = {name: value for name, value in facts["env"].items() if name != "max_net_exposure"}
    return faults(*recompute(tables, market, {**facts, "env": env}))


def with_cash(tables, more: pl.DataFrame):
    """Tables whose cash and equity take `more` (episode, step, more) in from each step on."""
    equity = tables["equity"].sort(STEP).join(more.group_by(STEP).agg(pl.col("more").sum()), on=STEP, how="left")
    total = pl.col("more").fill_null(0.0).cum_sum().over("episode")
    equity = equity.with_columns(pl.col("cash_usd") + total, pl.col("equity_usd") + total).drop("more")
    return tables | {"equity": equity}


def forged_flow(tables, column: str, factor: float):
    """A flow times `factor`, in cash, in equity and in what is called carry."""
    equity = tables["equity"]
    more = equity.select(*STEP, more=pl.col(column) * (factor - 1.0) * CASH_FLOWS[column])
    forged = with_cash(tables, more)
    changed = forged["equity"].with_columns(
        pl.col(column) * factor, pl.col("carry_usd") + pl.col(column) * (factor - 1.0) * CASH_FLOWS[column]
    )
    return forged | {"equity": changed}


def forged_fills(tables, which: pl.Expr, price: pl.Expr, bucket: str, sign: float):
    """Fills at another price, paid from cash and booked as `bucket`."""
    fills = tables["fills"].with_columns(price=pl.when(which).then(price).otherwise("price"), before="price")
    gained = fills.select(*STEP, more=-pl.col("quantity") * (pl.col("price") - pl.col("before")) * pl.col("multiplier"))
    forged = with_cash(tables | {"fills": fills.drop("before")}, gained)
    booked = gained.group_by(STEP).agg(pl.col("more").sum())
    equity = forged["equity"].join(booked, on=STEP, how="left").sort(STEP)
    return forged | {"equity": equity.with_columns(pl.col(bucket) + sign * pl.col("more").fill_null(0.0)).drop("more")}


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.01, 2.0])
@pytest.mark.parametrize("column", CASH_FLOWS)
def test_a_forged_flow_is_found(books, column, factor) -> None:
    tried = 0
    for tables, market, facts in books:
        if tables["equity"][column].abs().sum() * abs(factor - 1.0) > 0.01:
            found = found_in(forged_flow(tables, column, factor), market, facts)
            assert column.removesuffix("_usd") in found or "cash" in found, (facts["name"], facts["fill_lag"])
            tried += 1
    if tried == 0:
        assert column == "borrow_usd"
        pytest.skip("no baseline is short shares for long here")


@pytest.mark.parametrize("price", [pl.lit(0.0), pl.col("price") * 0.5, pl.col("price") * 1.001, pl.col("price") + 0.01])
def test_a_forged_settlement_is_found(books, price) -> None:
    expiry, tried = pl.col("reason") == "expiry", 0
    for tables, market, facts in books:
        if tables["fills"].filter(expiry & (pl.col("price") > 0)).is_empty():
            continue
        forged = forged_fills(tables, expiry & (pl.col("price") > 0), price, "settlement_usd", 1.0)
        assert "expiries at another value than the settlement" in found_in(forged, market, facts)
        tried += 1
    assert tried or facts["source"] == "spx_cboe"  # eleven sessions


@pytest.mark.parametrize("price", [pl.col("price") * 0.99, pl.col("price") + 0.01, pl.lit(1.0)])
def test_forged_share_prices_are_found(books, price) -> None:
    shares, tried = pl.col("kind") == "underlying", 0
    for tables, market, facts in books:
        if tables["fills"].filter(shares).height:
            forged = forged_fills(tables, shares, price, "slippage_usd", -1.0)
            assert "shares at another price than the spot's" in found_in(forged, market, facts)
            tried += 1
    assert tried


def test_other_spots_are_found(books) -> None:
    """A spot that rises faster makes shares worth more, in the ledger's own terms."""
    for tables, market, facts in books:
        more = tables["equity"].with_columns(pl.col("spot") * 1.001)
        more = more.with_columns(equity_usd=pl.col("equity_usd") + pl.col("shares") * pl.col("spot") * (1 - 1 / 1.001))
        found = found_in(tables | {"equity": more}, market, facts)
        assert "spots that are not the underlying's" in found


def test_marks_between_the_quotes_are_found(books) -> None:
    """Long contracts marked a tenth above mid, options and equity with them."""
    tried = 0
    for tables, market, facts in books:
        fresh = ~pl.col("stale")
        positions = tables["positions"].with_columns(mark=pl.when(fresh).then(pl.col("mark") + 0.1).otherwise("mark"))
        if tables["positions"].filter(fresh).is_empty():
            continue
        gained = positions.filter(fresh).group_by(STEP)
        gained = gained.agg(more=(pl.col("quantity") * pl.col("multiplier")).sum() * 0.1)
        equity = tables["equity"].join(gained, on=STEP, how="left").with_columns(pl.col("more").fill_null(0.0))
        equity = equity.with_columns(pl.col("options_mark_usd", "equity_usd") + pl.col("more")).drop("more")
        found = found_in(tables | {"positions": positions, "equity": equity}, market, facts)
        assert "marks that are not the quotes' mid" in found
        tried += 1
    assert tried


def test_free_trades_are_found(books) -> None:
    """No commission anywhere: fees are zero in fills and equity, and cash is richer by them."""
    for tables, market, facts in books:
        if tables["fills"]["fee_usd"].sum() > 0:
            gained = tables["fills"].select(*STEP, more="fee_usd")
            forged = with_cash(tables, gained)
            forged |= {
                "fills": tables["fills"].with_columns(fee_usd=0.0),
                "equity": forged["equity"].with_columns(fees_usd=0.0),
            }
            assert "fees other than the configuration's" in found_in(forged, market, facts)


def test_fills_at_the_decisions_own_quotes_are_not_called_later(books) -> None:
    """Books of lag 0 under a manifest that says lag 1, and the other way round."""
    for tables, market, facts in books:
        if tables["fills"].filter(pl.col("reason") != "expiry").height:
            other = dict(facts) | {"env": facts["env"] | {"fill_lag": 1 - facts["env"]["fill_lag"]}}
            assert "fills at another snapshot than their lag's" in found_in(tables, market, other)


def test_a_root_that_settles_at_another_hour_is_found(books) -> None:
    tables, market, facts = next(item for item in books if item[0]["fills"].filter(pl.col("kind") == "option").height)
    quotes = market.quotes.with_columns(pl.col("expiration").dt.offset_by("-390m"))
    found = found_in(tables, market._replace(quotes=quotes), facts)
    settled = market.quotes.filter(pl.col("expiration") < market.underlyings["snapshot"].max())
    known = set(settled["root"]) & {"SPXW", "SPXM", "SIM"}
    assert ("contracts that settle at another hour than their root's" in found) == bool(known)
    own_table = dict(facts) | {"source": "table"}
    assert "contracts that settle at another hour than their root's" not in found_in(
        tables, market._replace(quotes=quotes), own_table
    )


def test_stale_marks_that_flatter_are_found(books) -> None:
    """What nobody quoted marked a tenth higher where it is held long, options and equity with it."""
    for tables, market, facts in books:
        stale = pl.col("stale")
        if tables["positions"].filter(stale).is_empty():
            continue
        positions = tables["positions"].with_columns(mark=pl.when(stale).then(pl.col("mark") + 0.1).otherwise("mark"))
        gained = positions.filter(stale).group_by(STEP)
        gained = gained.agg(more=(pl.col("quantity") * pl.col("multiplier")).sum() * 0.1)
        equity = tables["equity"].join(gained, on=STEP, how="left").with_columns(pl.col("more").fill_null(0.0))
        equity = equity.with_columns(pl.col("options_mark_usd", "equity_usd") + pl.col("more")).drop("more")
        found = found_in(tables | {"positions": positions, "equity": equity}, market, facts)
        assert "stale marks that are not their last volatility's" in found
