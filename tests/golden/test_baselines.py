"""Every baseline on a frozen market: a hash of its fills and twelve statistics, so that a change shows as one diff."""

import dataclasses
import hashlib
import json
import math

import polars as pl
import pytest

from clstm_core.config import EnvConfig
from clstm_core.evaluation.backtest import run_backtests
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.ledgers import contract_names

WINDOW = (0, 75)
QUANTUM_USD = 1e-4
"""Prices and fees are hashed in hundredths of a cent: a tick of 0.05 is 500 of them, another CPU's last bit none."""

STATISTICS = (
    "final_equity_usd",
    "total_return",
    "ratio",
    "max_drawdown",
    "turnover",
    "spread_usd",
    "fees_usd",
    "n_fills",
    "n_expiries",
    "n_liquidations",
    "max_margin_used",
)

CASES = {
    f"{name}, lag {lag}": EnvConfig(fill_lag=lag, **rule)
    for name, rule in {"touch": {}, "fraction 0.5": {"fill_rule": "fraction", "fill_fraction": 0.5}}.items()
    for lag in (1, 0)
}


def fills_sha256(fills: pl.DataFrame) -> str:
    """Sixteen hex digits of what was traded, when, at which price and fee; the order within a step says nothing."""
    lines = sorted(
        f"{episode} {step} {snapshot:%Y-%m-%d} {contract or 'underlying'} {reason} {quantity:.0f} "
        f"{round(price / QUANTUM_USD)} {round(fee / QUANTUM_USD)}"
        for episode, step, snapshot, contract, reason, quantity, price, fee in fills.select(
            "episode", "step", "snapshot", "contract_id", "reason", "quantity", "price", "fee_usd"
        ).iter_rows()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def walk(market, config, folder, *names):
    """The baselines, or those of them that are named, over the frozen window."""
    policies = [policy for policy in baselines(market) if not names or policy.name in names]
    return {result.name: result for result in run_backtests(policies, market, config, WINDOW, out_dir=folder)}


@pytest.fixture(scope="module")
def walked(market, tmp_path_factory):
    """Every baseline in every case."""
    folder = tmp_path_factory.mktemp("golden")
    return {case: walk(market, config, folder / case) for case, config in CASES.items()}


def test_baselines_trade_as_they_did(walked, golden):
    found = {}
    for case, results in walked.items():
        for name, result in results.items():
            summary = result.manifest["summary"]
            figures = {key: summary[key] for key in STATISTICS}
            found[f"{case}, {name}"] = {"fills_sha256": fills_sha256(result.table("fills"))} | figures
    assert len(found) == 44
    golden("baselines", found)


def test_the_frozen_market_is_the_one_that_was_committed(frozen):
    metadata = json.loads((frozen.folder / "metadata.json").read_text())
    assert metadata.keys() >= {"sha256", "origin", "licence", "date"}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in frozen.folder.glob("*.parquet")}
    assert found == metadata["sha256"]
    assert sum(path.stat().st_size for path in frozen.folder.iterdir()) < 300_000


def test_the_window_holds_what_golden_figures_are_for(walked, market):
    """Both fill lags trade, options settle in and out of the money, something held is unquoted, shares change hands."""
    fills = pl.concat(result.table("fills") for results in walked.values() for result in results.values())
    settled = fills.filter(pl.col("reason") == "expiry")["price"]
    assert (settled > 0).any()
    assert (settled == 0).any()
    assert {"open", "close", "hedge", "expiry"} <= set(fills["reason"])
    assert {"option", "underlying"} == set(fills["kind"])
    assert any(result.table("positions")["stale"].any() for result in walked["touch, lag 1"].values())
    assert bool((market.can_buy_Q & ~market.can_sell_Q).any())


def test_no_figure_of_a_fill_sits_where_rounding_could_go_either_way(walked):
    """What the hash rounds is far from a half of its unit, by more than any processor's arithmetic differs."""
    for results in walked.values():
        for result in results.values():
            fills = result.table("fills")
            assert all(quantity == round(quantity) for quantity in fills["quantity"])
            for value in [*fills["price"], *fills["fee_usd"]]:
                assert abs(math.modf(abs(value) / QUANTUM_USD)[0] - 0.5) > 1e-6


@pytest.mark.parametrize(
    ("column", "change"), [("price", 0.05), ("price", -0.05), ("fee_usd", 0.01), ("quantity", 1.0), ("step", 1)]
)
def test_the_hash_sees_a_tick_a_cent_a_contract_and_a_day(walked, column, change):
    fills = walked["touch, lag 1"]["put_write"].table("fills")
    for row in range(fills.height):
        moved = fills.with_columns(
            pl.when(pl.int_range(pl.len()) == row).then(pl.col(column) + change).otherwise(pl.col(column)).alias(column)
        )
        assert fills_sha256(moved) != fills_sha256(fills)


def test_the_hash_forgives_the_last_bits_and_the_order_within_a_step(walked):
    for name in ("buy_write", "random"):
        fills = walked["fraction 0.5, lag 0"][name].table("fills")
        noisy = fills.with_columns(pl.col("price") * (1 + 2e-15), pl.col("fee_usd") * (1 - 2e-15)).reverse()
        assert fills_sha256(noisy) == fills_sha256(fills)


def dearer_commission(frozen, fills):
    """A cent more per contract."""
    return frozen.build(frozen.tables), dataclasses.replace(CASES["touch, lag 1"], commission_per_contract_usd=0.66)


def one_settlement_moved(frozen, fills):
    """The value of one settlement in the money that the put writer lived through, by a tick."""
    market = frozen.build(frozen.tables)
    contract = fills.filter((pl.col("reason") == "expiry") & (pl.col("price") > 0))["contract_id"][0]
    value = market.settle_value_K.clone()
    value[list(contract_names(market)).index(contract)] += 0.05
    return dataclasses.replace(market, settle_value_K=value), CASES["touch, lag 1"]


def one_quote_moved(frozen, fills):
    """The bid that filled the put writer's first sale, a tick lower, in the canonical quotes."""
    here = (pl.col("contract_id") == fills["contract_id"][0]) & (pl.col("snapshot") == fills["snapshot"][0])
    moved = pl.when(here).then(pl.col("bid") - 0.05).otherwise(pl.col("bid")).alias("bid")
    quotes = frozen.tables["quotes"].with_columns(moved)
    assert (quotes["bid"] != frozen.tables["quotes"]["bid"]).sum() == 1
    return frozen.build({**frozen.tables, "quotes": quotes}), CASES["touch, lag 1"]


@pytest.mark.parametrize("plant", [dearer_commission, one_settlement_moved, one_quote_moved])
def test_a_planted_change_shows(plant, frozen, walked, tmp_path):
    honest = walked["touch, lag 1"]["put_write"].table("fills")
    market, config = plant(frozen, honest)
    altered = walk(market, config, tmp_path, "put_write")["put_write"].table("fills")
    assert fills_sha256(altered) != fills_sha256(honest)


def test_an_altered_line_is_named_with_what_was_found_and_expected(golden, tmp_path):
    golden = dataclasses.replace(golden, folder=tmp_path, update=False)
    (tmp_path / "tale.json").write_text('{"a": {"n": 1, "x": 2.0}, "b": {"n": 1}}')
    with pytest.raises(AssertionError, match=r"a: x 2\.1, expected 2\.0\nb: missing\nc: not expected"):
        golden("tale", {"a": {"n": 1, "x": 2.1}, "c": {}})
    golden("tale", {"a": {"n": 1, "x": 2.0 + 1e-9}, "b": {"n": 1}})
