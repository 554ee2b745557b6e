"""A shadow account is the backtest of its days, to the last bit; and what is not is named."""

import dataclasses

import numpy as np
import pytest

from clstm_core.errors import ShadowError
from clstm_core.evaluation.backtest import run_backtest
from clstm_core.evaluation.policies import load_checkpoint
from clstm_core.shadow.columns import DECIDED
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.reconcile import compared, reconcile
from clstm_core.shadow.runner import account_config, nanoseconds, set_switch
from clstm_core.shadow.sources.replay import Replay
from clstm_core.shadow.switch import HALTED


def test_a_replay_of_all_sessions_is_the_backtest_to_the_cent(shadow, market, bundle, tmp_path):
    log = shadow()
    found = reconcile(log, market, bundle, tmp_path / "backtests")
    assert found.sessions == market.n_snapshots
    assert (found.decisions_equal, found.to_the_cent) == (True, True), found.words
    assert found.largest_usd == 0.0
    assert {row["action_name"] for row in log.decided} >= {"close_all", "hedge_delta"}
    assert sum(len(row["fills"]) for row in log.decided) > 50


def test_the_trained_network_itself_decides_so_in_a_backtest(shadow, market, bundle, tmp_path):
    """The reference of reconciliation is the bundle; here it is the checkpoint in PyTorch, as the chain judges it."""
    log = shadow()
    (policy,) = load_checkpoint(bundle.parent.parent / "runs" / "small" / "checkpoints" / "100", modes=("argmax",))
    config = account_config(log.facts["account"])
    result = run_backtest(policy, market, config, (0, market.n_snapshots), out_dir=tmp_path / "backtests")
    mine = log.decided
    assert result.table("decisions")["action"].to_list() == [row["action"] for row in mine[:-1]]
    assert result.table("equity")["equity_usd"].to_list() == [row["equity_usd"] for row in mine]
    values = result.table("decisions")["value"].to_numpy()
    assert np.allclose(values, [row["value"] for row in mine[:-1]], atol=1e-5)
    rewards = result.table("decisions")["reward"].to_numpy()
    assert np.allclose(rewards, np.float32([row["reward"] for row in mine[1:]]))


def test_a_planted_difference_is_named(shadow, market, bundle, tmp_path):
    log = shadow(most=20)
    result = reconcile(log, market, bundle, tmp_path / "backtests").reference
    tables = {name: result.table(name) for name in ("equity", "decisions", "fills")}
    masks = [np.array(row["mask"]) for row in log.decided]
    rows = [dict(row) for row in log.decided]
    assert compared(rows, tables, masks)["explanation"].unique().to_list() == [""]
    rows[5]["equity_usd"] += 0.01
    rows[7]["action_name"] = "hold"
    rows[9]["fills"] = [fill | {"price": fill["price"] + 0.01} for fill in rows[9]["fills"]]
    rows[11]["mask"] = [not legal for legal in rows[11]["mask"]]
    rows[13]["cash_usd"] = float("nan")
    said = compared(rows, tables, masks)["explanation"].to_list()
    assert "money differs by 0.0100" in said[5]
    assert "decided hold, the backtest" in said[7]
    assert "fills differ" in said[9]
    assert "legal then and not in the backtest" in said[11]
    assert "money differs by inf" in said[13]
    assert [at for at, words in enumerate(said) if words] == [5, 7, 9, 11, 13]


def test_sessions_that_were_refused_are_in_neither(shadow, market, bundle, tmp_path):
    spoilt = market.spot_T.clone()
    spoilt[[9, 10, 23]] = float("nan")
    log = shadow(source=Replay(dataclasses.replace(market, spot_T=spoilt)))
    assert [row["kind"] for row in log.entries[10:12]] == ["refused", "refused"]
    found = reconcile(log, market, bundle, tmp_path / "backtests")
    assert found.refused == 3
    assert found.sessions == market.n_snapshots - 3
    assert (found.decisions_equal, found.to_the_cent) == (True, True), found.words


def test_what_the_switch_forbade_is_forbidden_to_the_reference(shadow, market, bundle, tmp_path):
    log = shadow(limits=dataclasses.replace(Limits.none(), reduce_drawdown=0.02))
    assert {row["switch"] for row in log.decided} == {"ACTIVE", "REDUCING"}
    found = reconcile(log, market, bundle, tmp_path / "backtests")
    assert (found.decisions_equal, found.to_the_cent) == (True, True), found.words
    assert 0 < found.limited < found.sessions
    assert f"Sessions under a switch that was not ACTIVE: {found.limited}." in found.words


def test_a_halted_book_lives_on_to_its_expiry_as_in_the_backtest(shadow, market, bundle, tmp_path):
    shadow(most=1)  # one put, that the account can carry
    with ShadowLog.writing(tmp_path / "account") as log:
        set_switch(log, HALTED, "drill")
    log = shadow()
    reasons = {fill["reason"] for row in log.decided[2:] for fill in row["fills"]}
    assert "expiry" in reasons
    assert reasons <= {"expiry", "liquidation"}
    found = reconcile(log, market, bundle, tmp_path / "backtests")
    assert (found.decisions_equal, found.to_the_cent) == (True, True), found.words


def test_one_session_is_too_few_and_one_that_is_not_at_hand_is_named(shadow, market, bundle, tmp_path):
    with pytest.raises(ShadowError, match=r"1 session in .*: expected at least 2"):
        reconcile(shadow("one", most=1), market, bundle, tmp_path)
    from clstm_core.shadow.pair import snapshots_of

    with pytest.raises(ShadowError, match="is not in the market"):
        reconcile(shadow("some", most=4), snapshots_of(market, range(2, 30)), bundle, tmp_path)


def test_the_log_keeps_what_a_session_is_judged_by(shadow, market):
    rows = [row for row in shadow(most=30).entries if row["kind"] == DECIDED]
    for row in rows:
        assert row["action"] == int(np.where(row["allowed"], row["logits"], -np.inf).argmax())
        assert abs(sum(row["probabilities"]) - 1) < 1e-9
        assert len(row["observation_sha256"]) == 64
        marks = sum(leg["quantity"] * leg["multiplier"] * leg["mark"] for leg in row["legs"])
        assert abs(row["cash_usd"] + row["shares"] * row["spot"] + marks - row["equity_usd"]) < 1e-6
        assert nanoseconds(row["snapshot"]) in market.snapshot_T.tolist()
    assert any(row["hedge_ratio"] is not None for row in rows)
    assert any(order["limit_price"] > 0 for row in rows for order in row["orders"])
