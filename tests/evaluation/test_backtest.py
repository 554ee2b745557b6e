"""Backtests on a simulated market: ledgers that add up, accounts that do not see each other, manifests that tell."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from clstm_core.config import WITHOUT_BUDGET, EnvConfig
from clstm_core.errors import EvaluationError
from clstm_core.evaluation import ledgers, recompute
from clstm_core.evaluation.attribution import TERMS, by_month
from clstm_core.evaluation.backtest import load_backtest, resolve_window, run_backtest, run_backtests, windows_of
from clstm_core.evaluation.baselines.catalogue import CORE, baselines
from clstm_core.evaluation.baselines.chance import RandomPolicy
from clstm_core.evaluation.baselines.rule import Rule, cell_rows
from clstm_core.evaluation.baselines.straddles import ShortStraddle
from clstm_core.evaluation.compare import compare
from clstm_core.evaluation.ladder import backtest_baselines, backtest_ladder
from clstm_core.evaluation.pairing import series
from clstm_core.evaluation.policies import load_checkpoint

CAPITAL = 5_000_000.0


@pytest.fixture(scope="module")
def results(market, ladder, tmp_path_factory):
    """Every baseline and both rungs over the test window and its companions."""
    out_dir = tmp_path_factory.mktemp("backtests")
    steps = []
    found = backtest_ladder(
        ladder, market, EnvConfig(), None, out_dir, lambda *done: steps.append(done), meta={"run": "tiny"}
    )
    found += backtest_baselines(market, EnvConfig(), None, out_dir, meta={"run": "tiny"})
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == list(range(1, steps[-1][1] + 1))
    return found


def headline(results, name):
    return next(
        r for r in results if r.name == name and r.manifest["window"]["name"] == "test" and r.manifest["fill_lag"] == 1
    )


def test_every_equity_curve_follows_from_fills_and_quotes_to_the_cent(results, capsys) -> None:
    for result in results:
        status = recompute.main([str(result.folder)])
        assert status == 0, f"{result.name} {result.manifest['window']} {capsys.readouterr().out}"
    capsys.readouterr()
    assert {r.manifest["fill_lag"] for r in results} == {0, 1}
    assert {r.manifest["window"]["name"] for r in results} == {"test", "validation", "in_sample"}


def test_every_policy_that_should_trade_did(results) -> None:
    for name in {result.name for result in results} - {"cash", "clstm_020_argmax", "clstm_020_stochastic"}:
        assert headline(results, name).manifest["summary"]["n_fills"] > 0, name
    assert headline(results, "cash").manifest["summary"]["n_fills"] == 0


def test_the_judged_window_meets_every_baseline_and_the_others_the_core(results, market) -> None:
    found = {}
    for result in results:
        if result.manifest["policy"] != "checkpoint":
            key = (result.manifest["window"]["name"], result.manifest["fill_lag"])
            found.setdefault(key, set()).add(result.name)
    every = {policy.name for policy in baselines(market)}
    assert found.pop(("test", 1)) == found.pop(("test", 0)) == every
    assert found == {("validation", 1): set(CORE), ("in_sample", 1): set(CORE)}


def test_tampering_with_a_price_is_found(results, edit, tmp_path) -> None:
    import shutil

    folder = tmp_path / "tampered"
    shutil.copytree(headline(results, "put_write").folder, folder)
    dearer = pl.when(pl.int_range(pl.len()) == 0).then(pl.col("price") + 0.05).otherwise(pl.col("price"))
    edit(folder, "fills", lambda table: table.with_columns(dearer.alias("price")))
    assert recompute.main([str(folder)]) == 1


def test_the_tables_have_their_columns(results) -> None:
    for result in results[:4]:
        for name, columns in ledgers.TABLES.items():
            schema = result.table(name).schema
            assert {column: schema[column] for column in columns} == dict(columns)


def test_equity_has_a_first_row_and_one_a_step(results, market) -> None:
    start, stop = market.split("test")
    for name in ("cash", "clstm_100_stochastic"):
        equity = headline(results, name).table("equity")
        for part in equity.partition_by("episode"):
            assert part["step"].to_list() == list(range(stop - start))
            assert part["equity_usd"][0] == part["cash_usd"][0] == CAPITAL
            assert part["snapshot"].cast(pl.Int64).to_list() == market.snapshot_T[start:stop].tolist()
            assert part["spot"].to_list() == market.spot_T[start:stop].tolist()


def test_cash_earns_the_rate_and_nothing_else(results) -> None:
    result = headline(results, "cash")
    equity = result.table("equity")
    expected = CAPITAL * np.cumprod(1.0 + equity["cash_return"].to_numpy())
    assert equity["equity_usd"].to_numpy() == pytest.approx(expected, rel=1e-12)
    assert result.manifest["summary"]["sharpe"] is None
    assert result.manifest["summary"]["max_drawdown"] == 0.0


def test_buy_and_hold_holds_the_index_and_reinvests_its_dividends(results) -> None:
    equity = headline(results, "buy_and_hold").table("equity")
    idle = (equity["cash_usd"] / equity["equity_usd"])[2:]
    assert idle.abs().max() < 0.003
    assert equity["shares"][-1] > equity["shares"][2]
    assert equity["dividends_usd"][2:].min() > 0
    # after its purchase the curve moves with the index and what it pays
    growth = equity["equity_usd"][-1] / equity["equity_usd"][2]
    paid = equity["dividends_usd"][3:].sum() / equity["equity_usd"][2]
    assert growth == pytest.approx(equity["spot"][-1] / equity["spot"][2] + paid, rel=0.001)


def test_put_write_is_cash_secured_and_rolls_at_expiry(results) -> None:
    result = headline(results, "put_write")
    fills = result.table("fills")
    opens = fills.filter(pl.col("reason") == "open")
    assert (opens["quantity"] < 0).all()
    assert opens["contract_id"].n_unique() == opens.height
    assert opens.height >= 2
    assert set(fills["reason"]) == {"open", "expiry"}
    held = result.table("positions").group_by("step").agg(pl.len())
    assert held["len"].max() == 1
    assert opens["price"].to_list() == opens["bid"].to_list()
    # strike x multiplier x contracts within the equity, and one contract more would not be
    strike = opens["contract_id"].str.extract(r"(\d{8})$").cast(pl.Float64) / 1000
    need = (-opens["quantity"] * strike * opens["multiplier"]).to_numpy()
    assert (need <= CAPITAL * 1.2).all()
    assert need[0] <= CAPITAL < need[0] + strike[0] * 100


def test_buy_write_covers_every_call_it_sells(results) -> None:
    result = headline(results, "buy_write")
    positions = result.table("positions")
    short = positions.group_by("step").agg((-pl.col("quantity") * pl.col("multiplier")).sum().alias("short"))
    both = result.table("equity").join(short, on="step")
    assert both.height > 20
    assert (both["shares"] == both["short"]).all()
    assert both["cash_usd"].min() > -0.05 * CAPITAL


def test_the_straddle_sells_a_call_and_a_put_of_one_strike(results) -> None:
    fills = headline(results, "short_straddle").table("fills").filter(pl.col("reason") == "open")
    pairs = fills.group_by("step").agg(pl.len(), pl.col("quantity").n_unique().alias("sizes"))
    assert (pairs["len"] == 2).all()
    assert (pairs["sizes"] == 1).all()
    summary = headline(results, "short_straddle").manifest["summary"]
    assert 0.02 < summary["max_margin_used"] < 0.5


def test_an_account_does_not_see_the_others(market, ladder, tmp_path) -> None:
    policy = load_checkpoint(ladder[1], modes=("argmax",))[0]
    alone = run_backtest(policy, market, EnvConfig(), "validation", out_dir=tmp_path / "alone")
    among = run_backtests([*baselines(market), policy], market, EnvConfig(), "validation", out_dir=tmp_path / "among")[
        -1
    ]
    assert among.id == alone.id
    for name in ledgers.TABLES:
        assert_frame_equal(alone.table(name), among.table(name))


def test_the_same_backtest_has_the_same_id_and_another_seed_another(market, tmp_path) -> None:
    first, again = (run_backtest(RandomPolicy(3), market, EnvConfig(), "validation", out_dir=tmp_path) for _ in "ab")
    other = run_backtest(RandomPolicy(4), market, EnvConfig(), "validation", out_dir=tmp_path)
    assert first.id == again.id == first.folder.name
    assert other.id != first.id
    assert len(list(tmp_path.iterdir())) == 2


def test_stochastic_episodes_differ_and_are_kept_apart(results) -> None:
    equity = headline(results, "clstm_100_stochastic").table("equity")
    assert equity["episode"].n_unique() == 4
    final = equity.filter(pl.col("step") == pl.col("step").max())["equity_usd"]
    assert final.n_unique() == 4


def test_decisions_name_their_actions(results) -> None:
    decisions = headline(results, "clstm_100_argmax").table("decisions")
    assert decisions["value"].is_finite().all()
    assert not decisions.filter(pl.col("action_name") == "rule").height
    rule = headline(results, "put_write").table("decisions")
    assert set(rule["action_name"]) == {"rule"}
    assert rule["value"].null_count() == rule.height


def test_rewards_add_up_to_the_excess_over_cash(results) -> None:
    config = EnvConfig()
    for name in ("buy_and_hold", "clstm_100_argmax"):
        equity = headline(results, name).table("equity")
        value, cash = equity["equity_usd"].to_numpy(), equity["cash_return"].to_numpy()
        excess = (value[1:] - value[:-1] * (1 + cash[1:])) / CAPITAL * 1e4 * config.reward_scale
        rewards = headline(results, name).table("decisions")["reward"].to_numpy()
        assert rewards == pytest.approx(excess, abs=1e-3)


def test_attribution_adds_up_to_the_profit(results) -> None:
    for name in ("put_write", "short_straddle", "clstm_100_stochastic"):
        result = headline(results, name)
        months = by_month(result.table("equity"))
        found = months.sum().row(0, named=True)
        profit = result.manifest["summary"]["final_equity_usd"] - CAPITAL
        assert found["pnl_usd"] == pytest.approx(profit, abs=0.01)
        assert sum(found[term] for term in TERMS) == pytest.approx(profit, abs=0.01)
        assert months["month"].is_sorted()
        assert found["fees_usd"] < 0
        assert found["spread_usd"] < 0


def test_the_manifest_tells_what_it_is(results, market) -> None:
    manifest = headline(results, "clstm_020_argmax").manifest
    assert manifest["quotes"] == {"path": market.info["quotes_path"], "sha256": market.info["quotes_sha256"]}
    assert (manifest["label"], manifest["source"], manifest["run"]) == ("simulated quotes", "simulated", "tiny")
    assert (manifest["policy"], manifest["milestone"], manifest["mode"]) == ("checkpoint", "020", "argmax")
    assert (manifest["fill_rule"], manifest["fill_lag"], manifest["premium"]) == ("touch", 1, True)
    assert manifest["env"]["capital_usd"] == CAPITAL
    assert set(manifest["files"]) == {f"{name}.parquet" for name in ledgers.TABLES}
    assert load_backtest(headline(results, "clstm_020_argmax").folder).manifest == manifest


def test_the_comparison_of_all(results, market) -> None:
    found = compare(results)
    assert len(found.rows) == len(results)
    assert found.champion is not None
    assert found.trials == 4
    assert "simulated quotes (simulated, spread modelled), premium assumed" in found.verdict
    assert "Trained on earlier sessions of simulated." in found.verdict
    assert found.overfitting["rows"]
    against = {pair["against"] for pair in found.pairs if pair["policy_name"] == "clstm_020_argmax"}
    assert against == {policy.name for policy in baselines(market)} | {"clstm_100_argmax"}


def test_a_fraction_of_the_spread_is_recorded_and_still_adds_up(market, tmp_path) -> None:
    config = EnvConfig(fill_rule="fraction", fill_fraction=0.5)
    found = {}
    straddle = ShortStraddle("short_straddle", "Short straddle")
    for name, env_config in (("half", config), ("touch", EnvConfig())):
        result = run_backtest(straddle, market, env_config, "validation", out_dir=tmp_path)
        assert recompute.main([str(result.folder)]) == 0
        found[name] = result
    assert set(found["half"].table("fills")["fill_rule"]) == {"fraction 0.5"}
    assert found["half"].manifest["summary"]["spread_usd"] < found["touch"].manifest["summary"]["spread_usd"]


def test_an_account_too_small_for_one_contract_says_so(market, tmp_path) -> None:
    config = dataclasses.replace(EnvConfig(), capital_usd=50_000.0)
    done = run_backtests(baselines(market), market, config, "validation", out_dir=tmp_path)
    found = {result.name: result for result in done}
    for name in ("put_write", "buy_write"):
        assert found[name].manifest["summary"]["n_fills"] == 0
        assert "equity below one whole contract" in found[name].manifest["notes"][0]
    assert found["buy_and_hold"].manifest["summary"]["n_fills"] > 0


def test_windows(market) -> None:
    assert windows_of(market) == ["test", "validation", "in_sample"]
    name, start, stop = resolve_window(market, "in_sample")
    train, test = market.split("train"), market.split("test")
    assert (name, stop, stop - start) == ("in_sample", train[1], test[1] - test[0])
    with pytest.raises(EvaluationError, match="expected at least two snapshots"):
        resolve_window(market, (10, 11))
    with pytest.raises(EvaluationError, match="inside the market"):
        resolve_window(market, (10, market.n_snapshots + 1))


def test_two_policies_of_one_name_are_refused(market, tmp_path) -> None:
    with pytest.raises(EvaluationError, match="expected one name each"):
        run_backtests([Rule("cash", ""), Rule("cash", "")], market, EnvConfig(), "validation", out_dir=tmp_path)


def test_a_written_backtest_loads_and_an_altered_one_does_not(market, tmp_path) -> None:
    written = run_backtest(Rule("cash", "Cash"), market, EnvConfig(), "validation", out_dir=tmp_path)
    assert load_backtest(written.folder).manifest == written.manifest
    (written.folder / "fills.parquet").write_bytes(b"")
    with pytest.raises(EvaluationError, match=r"altered file .*fills\.parquet: .* Run it again"):
        load_backtest(written.folder)
    with pytest.raises(EvaluationError, match=r"no backtest at .*nowhere"):
        load_backtest(tmp_path / "nowhere")


class Gambler(Rule):
    """Sells as many naked calls as margin allows, then holds: a rule that can be ruined."""

    def write(self, env, state, orders):
        rows = cell_rows(env, state, "near_call_atm")
        orders.leg_row_NP[:, :1] = torch.where((state.age_N == 0)[:, None], rows, -1)
        orders.leg_quantity_NP[:, 0] = torch.where(state.age_N == 0, -150, 0)


def test_a_ruined_account_ends_its_ledger_there_and_still_adds_up(market, tmp_path) -> None:
    # an account counts as ruined after losing a hundredth, so that a common day's move ruins it
    config = EnvConfig(capital_usd=4_000_000.0, ruin_fraction=0.99, **WITHOUT_BUDGET)
    both = [Gambler("gambler", "Naked calls"), Rule("cash", "Cash")]
    results = run_backtests(both, market, config, "validation", out_dir=tmp_path)
    gambler, cash = results
    equity = gambler.table("equity")
    assert gambler.manifest["summary"]["n_ruined"] == 1
    assert equity.height < cash.table("equity").height
    assert equity["terminated"].to_list() == [False] * (equity.height - 1) + [True]
    assert equity["equity_usd"][-1] <= 0.99 * 4_000_000.0
    assert gambler.table("decisions").height == equity.height - 1
    assert recompute.main([str(gambler.folder)]) == 0
    aligned = series(results)
    assert aligned["gambler"].log_returns.shape == aligned["cash"].log_returns.shape


class Seller(Rule):
    """Sells one call to open in every session, closing what it has in every third."""

    def write(self, env, state, orders):
        orders.close_all_N[:] = state.age_N % 3 == 0
        orders.leg_row_NP[:, :1] = cell_rows(env, state, "near_call_20")
        orders.leg_quantity_NP[:, 0] = -1


@pytest.mark.parametrize("lag", [0, 1])
def test_premium_sold_starts_anew_with_the_fills_of_every_21st_session(market, tmp_path, capsys, lag) -> None:
    result = run_backtest(Seller("seller", "Seller"), market, EnvConfig(fill_lag=lag), "test", out_dir=tmp_path)
    assert recompute.main([str(result.folder)]) == 0, capsys.readouterr().out
    equity, fills = result.table("equity"), result.table("fills")
    premium = (equity["premium_sold"] * equity["equity_usd"]).to_numpy()
    opened = fills.filter(pl.col("reason") == "open").sort("step")
    sold = -(opened["quantity"] * opened["multiplier"] * opened["price"]).to_numpy()
    assert len(sold) == len(premium) - 1 > 63  # every session fills
    for step in range(1, len(premium)):
        begins = (step - 1 + lag) // 21 * 21 - lag + 1  # the step whose fill is the first of the stretch
        assert premium[step] == pytest.approx(sold[max(begins, 1) - 1 : step].sum(), rel=1e-9)
