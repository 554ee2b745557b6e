"""What a bundle would do on the last session of a table: the env's own observation, mask and fills, and why not."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from clstm_core.config import EnvConfig, MarketConfig, ModelConfig, RunConfig
from clstm_core.deployment.bundle import build_bundle, load_bundle
from clstm_core.deployment.decide import decide_now
from clstm_core.deployment.decided_words import lines_of
from clstm_core.deployment.quotes_file import market_of_file
from clstm_core.env.options_env import OptionsEnv
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.worlds.black_scholes import simulated_columns
from clstm_core.specs import ACTIONS
from orchestration.cli import app
from tests.saved import save_policy

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "table" / "quotes.csv"
MEMORY, SESSIONS = 21, 34
ENV = EnvConfig(horizon=MEMORY)


def dates(instants):
    return pl.Series(np.asarray(instants)).cast(pl.Datetime("ns")).dt.date()


def write_table(folder, *, sessions, closes=None):
    """The first sessions of a simulated world as a table, with the closes of so many sessions up to the last one."""
    quotes, underlyings, _ = simulated_columns(MarketConfig(source="simulated", n_snapshots=SESSIONS, seed=7))
    columns = {name: quotes[name].tolist() for name in ("strike", "right", "bid", "ask")}
    frame = pl.DataFrame({"date": dates(quotes["snapshot"]), "expiration": dates(quotes["expiration"]), **columns})
    days = frame["date"].unique().sort()[:sessions]
    folder.mkdir(parents=True, exist_ok=True)
    frame.filter(pl.col("date").is_in(days.implode())).write_csv(folder / "quotes.csv")
    prices = pl.DataFrame({"date": dates(underlyings["snapshot"]), "close": underlyings["close"]})
    prices = prices.filter(pl.col("date") <= days[-1])
    prices.tail(prices.height if closes is None else closes).write_csv(folder / "underlyings.csv")
    (folder / "metadata.json").write_text(json.dumps({"label": "simulated quotes", "underlying": "SIM"}))
    return folder / "quotes.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("table"), sessions=SESSIONS - 4)


@pytest.fixture(scope="module")
def folder(policy, make_env, tmp_path_factory):
    """A bundle of the small policy, which nothing says was chosen."""
    root = tmp_path_factory.mktemp("bundle")
    config = RunConfig(env=ENV, model=ModelConfig(hidden_dim=16, attention_window=4))
    checkpoint = save_policy(root / "checkpoints" / "100", policy, config)
    return build_bundle(
        checkpoint, root / "bundle", make_env=make_env, provenance={"run": "small"}, parity_steps=30
    ).folder


@pytest.fixture(scope="module")
def bundle(folder):
    return load_bundle(folder)


@pytest.fixture
def held(table, bundle, tmp_path):
    """An account with shares and two option legs that the table quotes, and its file."""
    market = market_of_file(table, MarketConfig()).market
    first, last = market.row_offset_T1[-2:].tolist()
    rows = [row for row in range(first, last) if market.can_buy_Q[row] and market.can_sell_Q[row]][:2]
    names = [market.contract_id(int(market.row_contract_Q[row])) for row in rows]
    legs = [{"contract": name, "quantity": quantity} for name, quantity in zip(names, (-3, 2), strict=True)]
    path = tmp_path / "account.json"
    path.write_text(json.dumps({"cash": 4_800_000, "shares": 40, "legs": legs}))
    return path


def masked(env):
    return {ACTIONS[index] for index in (~env.observe()[1][-1]).nonzero()[:, 0].tolist()}


def test_it_sees_what_the_env_sees_at_that_session_of_a_longer_history(table, tmp_path):
    """What comes later changes neither the observation nor the mask of the last session."""
    from clstm_core.deployment.decide import _standing_through

    today = market_of_file(table, MarketConfig())
    longer = market_of_file(write_table(tmp_path / "longer", sessions=SESSIONS), MarketConfig()).market
    last = today.market.n_snapshots - 1
    assert int(longer.snapshot_T[last]) == int(today.market.snapshot_T[last])
    env = OptionsEnv(longer, ENV, n_envs=1, dtype=torch.float64, window=(last, last + 3), fixed_start=True)
    expected, legal = env.observe()
    seen, mask = _standing_through(today, ENV, MEMORY, None).observe()
    torch.testing.assert_close(seen[-1:], expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(mask[-1:], legal)


def test_it_takes_the_likeliest_legal_action_and_says_what_that_trades(bundle, table):
    found = decide_now(bundle, table)
    assert found.session == str(pl.read_csv(table, try_parse_dates=True)["date"].max())
    assert found.action == max(found.probabilities, key=found.probabilities.get)
    assert found.action not in found.refused
    assert found.walked == MEMORY - 1, "with this session it has seen what it remembers, and has not forgotten yet"
    options = [row for row in found.orders if "strike" in row]
    assert options, "the small policy opens something here: else this test asks too little"
    fees = sum(ENV.commission_per_contract_usd * row["quantity"] for row in options)
    fees += sum(ENV.commission_per_share_usd * row["quantity"] for row in found.orders if "strike" not in row)
    paid = sum(row["cash"] for row in found.orders) - fees
    assert found.after["cash"] == pytest.approx(ENV.capital_usd + paid, abs=0.01)
    for row in options:
        assert row["bid"] < row["mid"] < row["ask"]
        assert row["fill"] == (row["ask"] if row["side"] == "buy" else row["bid"])
    assert all(row["used"] <= row["for_actions"] * 1.001 for row in found.budget)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("with_account", [False, True])
def test_every_action_that_is_masked_has_a_reason_and_no_other(bundle, table, held, with_account):
    from clstm_core.deployment.decide import _standing_through

    account = held if with_account else None
    found = decide_now(bundle, table, account)
    env = _standing_through(market_of_file(table, MarketConfig()), ENV, MEMORY, account)
    assert set(found.refused) == masked(env)
    assert all(found.refused.values())
    assert ("close_all" in found.refused) is not with_account
    if not with_account:
        assert found.refused["close_all"] == "nothing is held"
        assert "less than one" in found.refused["hedge_delta"]


def test_reasons_name_what_is_full(bundle, table, held):
    stated = json.loads(held.read_text())
    held.write_text(json.dumps(stated | {"premium_sold": 10_000_000}))
    found = decide_now(bundle, table, held)
    assert "limit on premium" in found.refused["near_cash_secured_put"]
    assert "0 is left" in found.refused["near_cash_secured_put"]


def test_cells_that_nothing_fills_are_named(bundle, tmp_path):
    """A table whose near expiries are gone leaves the near packages without contracts."""
    path = write_table(tmp_path / "far", sessions=SESSIONS - 4)
    frame = pl.read_csv(path, try_parse_dates=True)
    frame.filter((pl.col("expiration") - pl.col("date")) > timedelta(days=46)).write_csv(path)
    found = decide_now(bundle, path)
    assert found.refused["near_long_call"] == "no contract is listed and quoted for the cell near call atm"


def test_an_account_is_read_from_its_file(bundle, table, held):
    found = decide_now(bundle, table, held)
    empty = decide_now(bundle, table)
    assert found.after["equity"] != pytest.approx(empty.after["equity"])
    told = json.loads(held.read_text())
    told["legs"][0]["contract"] = told["legs"][0]["contract"].replace(" ", "").lower()
    held.write_text(json.dumps(told))
    assert decide_now(bundle, table, held).to_dict() == found.to_dict(), "spaces and case of a symbol say nothing"


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ("[1]", "expected cash"),
        ('{"shares": 1}', "expected cash"),
        ('{"cash": 1, "margin": 2}', "expected cash"),
        ('{"cash": "much"}', "cash in"),
        ('{"cash": NaN}', "expected a number"),
        ('{"cash": 1, "legs": {}}', "list of at most 8"),
        ('{"cash": 1, "legs": [{"contract": "X"}]}', "leg 1"),
        ('{"cash": 1, "legs": [{"contract": "X", "quantity": 1}]}', "none of the"),
        ("{", "cannot read the account"),
    ],
)
def test_an_account_that_says_something_else_is_refused(bundle, table, tmp_path, stated, words):
    path = tmp_path / "account.json"
    path.write_text(stated)
    with pytest.raises(ConfigError, match=words):
        decide_now(bundle, table, path)


def test_missing_sessions_are_counted(bundle, tmp_path):
    with pytest.raises(MarketDataError, match=r"has 2 sessions before its last one, 2024-03-06.* 19 are missing"):
        decide_now(bundle, SAMPLE)
    path = write_table(tmp_path / "short", sessions=4, closes=20)
    with pytest.raises(MarketDataError, match="2 are missing"):
        decide_now(bundle, path)


def test_closes_beside_the_table_count_as_sessions_to_look_back_on(bundle, tmp_path):
    found = decide_now(bundle, write_table(tmp_path / "few", sessions=3))
    assert found.walked == 2


def test_only_what_expires_by_the_next_session_settles_there(table):
    market = market_of_file(table, MarketConfig()).market
    day = np.datetime64(int(market.snapshot_T[-1]), "ns").astype("datetime64[D]")
    expiry = market.expiration_K.numpy().astype("datetime64[ns]").astype("datetime64[D]")
    settles = market.settle_index_K.numpy() == market.n_snapshots
    assert (expiry[settles] <= np.busday_offset(day, 1)).all()
    alive = expiry > np.busday_offset(day, 3)
    assert alive.any()
    assert not settles[alive].any()


def test_the_command_says_it_in_words_and_as_json(folder, table):
    done = CliRunner().invoke(app, ["decide", "--bundle", str(folder), "--quotes", str(table)])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("UNQUALIFIED: this policy is no champion")
    assert "(simulated quotes (user's table))" in lines[1]
    for words in ("Orders", "margin", "Risk budget after it", "may not take", "Memory:", "Nothing was sent"):
        assert words in done.output
    done = CliRunner().invoke(app, ["decide", "--bundle", str(folder), "--quotes", str(table), "--json"])
    assert json.loads(done.output)["action"] in lines[2]


def test_a_champion_is_not_called_unqualified(bundle, table):
    import dataclasses

    found = dataclasses.replace(decide_now(bundle, table), qualified=True, standing="champion: the best")
    assert not any("UNQUALIFIED" in line for line in lines_of(found))


@pytest.mark.parametrize(
    ("bundle_at", "quotes_at", "words"),
    [
        ("nowhere", SAMPLE, "no bundle at"),
        (None, Path("/no/such.csv"), "no quotes at"),
        (None, SAMPLE, "19 are missing"),
    ],
)
def test_wrong_uses_are_one_sentence_and_exit_with_two(folder, bundle_at, quotes_at, words):
    done = CliRunner().invoke(app, ["decide", "--bundle", bundle_at or str(folder), "--quotes", str(quotes_at)])
    assert done.exit_code == 2
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1
    assert words in done.output


def test_a_bundle_is_verified_from_the_terminal(folder, tmp_path):
    verified = CliRunner().invoke(app, ["bundle", "verify", str(folder)])
    assert verified.exit_code == 0
    assert "Whole: " in verified.output
    assert "UNQUALIFIED" in verified.output
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    (damaged / "config.json").write_text("{}")
    refused = CliRunner().invoke(app, ["bundle", "verify", str(damaged)])
    assert refused.exit_code == 2
    assert "config.json" in refused.output
    nothing = CliRunner().invoke(app, ["bundle", "verify", str(tmp_path)])
    assert (nothing.exit_code, "no bundle at" in nothing.output) == (2, True)
