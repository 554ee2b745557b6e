"""Every switch changes what it says and nothing else, and what is switched never passes for a result."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import pytest
import torch

from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig
from clstm_core.errors import EvaluationError
from clstm_core.evaluation.backtest import run_backtests, trade
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.baselines.straddles import HedgedStraddle
from clstm_core.evaluation.baselines.writing import PutWrite
from clstm_core.evaluation.books_audit import audit_books
from clstm_core.evaluation.compare import compare
from clstm_core.evaluation.conventions import words
from clstm_core.evaluation.conventions.delays import LAGS, Delayed, Handed, Noted
from clstm_core.evaluation.conventions.rows import sin_rows
from clstm_core.evaluation.conventions.sins import NO_MARGIN, SINS, Sinner
from clstm_core.evaluation.conventions.sweep import TABLES, sweep_conventions
from clstm_core.evaluation.policies import load_checkpoint
from clstm_core.evaluation.protocol import CONVENTION
from clstm_core.evaluation.trial_ledger import enter, place_of
from clstm_core.specs import MARKET_FEATURES

CONFIG = EnvConfig()
SIN = {sin.name: sin for sin in SINS}


def rules():
    return [PutWrite("put_write", "PUT"), HedgedStraddle("hedged_straddle", "hedged")]


def rung(folder):
    return load_checkpoint(folder, modes=("argmax",))[0]


@pytest.fixture(scope="module")
def rungs(ladder):
    return {f"clstm_{folder.name}_argmax": partial(rung, folder) for folder in ladder}


@pytest.fixture(scope="module")
def members(market, rungs, tmp_path_factory):
    """The clean backtests, as the headline has them."""
    out_dir = tmp_path_factory.mktemp("clean")
    policies = [*(make() for make in rungs.values()), *rules()]
    return run_backtests(policies, market, CONFIG, "test", out_dir=out_dir, meta={"run": "tiny"})


@pytest.fixture(scope="module")
def judged(members):
    return members[1]


@pytest.fixture(scope="module")
def swept(judged, members, rungs, market):
    told = []
    found = sweep_conventions(
        judged, members, rungs, rules, market, CONFIG, meta={"run": "tiny"}, progress=lambda *done: told.append(done)
    )
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    return found


def of_sin(swept, name):
    return next(account for account in swept.accounts if account.name == f"{CONVENTION}_{name}")


def of_lag(swept, lag):
    return next(account for account in swept.accounts if account.name == f"delay_{lag:+d}")


def same_but_for_names(a, b, tables=TABLES):
    return [name for name in tables if not a.table(name).equals(b.table(name))]


def test_the_clean_walk_is_the_judged_backtest_to_the_bit(swept, judged):
    assert swept.apart == []
    assert judged.manifest["summary"]["n_fills"] > 0
    assert swept.sins[0]["sin"] == "clean"
    assert swept.sins[0]["total_return"] == judged.manifest["summary"]["total_return"]


def test_another_walk_is_told_apart(judged, members, rungs, market):
    other = {judged.name: rungs[members[0].name], members[0].name: rungs[members[0].name]}
    short = (judged.manifest["window"]["start"], judged.manifest["window"]["start"] + 12)
    cut = run_backtests([rungs[judged.name]()], market, CONFIG, short, out_dir=judged.folder.parent)[0]
    clean = trade([Noted(other[judged.name]())], market, CONFIG, short)[0]
    assert "decisions" in same_but_for_names(cut, clean)


@pytest.mark.parametrize(
    ("sin", "changed"),
    [
        ("same_quotes", {"fill_lag": 0}),
        ("mid_fills", {"fill_rule": "fraction", "fill_fraction": 0.0}),
        ("free_margin", NO_MARGIN),
    ],
)
def test_a_sin_of_the_account_is_a_backtest_with_those_settings_and_no_others(
    swept, rungs, judged, market, sin, changed
):
    found = of_sin(swept, sin)
    settings = found.manifest["env"]
    differing = {name for name, value in judged.manifest["env"].items() if settings[name] != value}
    assert differing == set(changed)
    alone = trade([rungs[judged.name]()], market, dataclasses.replace(CONFIG, **changed), "test")[0]
    assert same_but_for_names(found, alone) == []
    assert not found.table("equity").equals(judged.table("equity"))


def test_free_margin_asks_for_none(swept, judged):
    assert of_sin(swept, "free_margin").table("equity")["margin_usd"].abs().max() < 1e-3
    assert judged.table("equity")["margin_usd"].max() > 1e3


@pytest.mark.parametrize("sin", ["window_scaler", "centred_volatility", "hindsight_grid"])
def test_a_sin_of_sight_or_listing_is_traded_under_the_clean_settings(swept, judged, sin):
    assert of_sin(swept, sin).manifest["env"] == judged.manifest["env"]


def test_shown_what_the_environment_shows_a_sinner_is_the_policy_to_the_bit(rungs, judged, market):
    alike = trade([Sinner(rungs[judged.name](), "alike", market.features_TF)], market, CONFIG, "test")[0]
    assert same_but_for_names(alike, judged) == []


def test_every_account_of_the_sweeps_recomputes_to_the_cent(swept):
    assert len(swept.accounts) == 1 + len(SINS) + len(LAGS)
    wrong, worst = audit_books(swept.accounts, Places(Path("/")))
    assert wrong == []
    assert worst < 0.01


def test_rows_tell_each_convention_once(swept, members):
    assert [row["sin"] for row in swept.sins] == ["clean", *SIN]
    assert [row["fill_lag"] for row in swept.delays] == list(LAGS)
    assert [row["possible"] for row in swept.delays] == [lag >= 0 for lag in LAGS]
    names = [member.name for member in members]
    assert list(dict.fromkeys(row["policy"] for row in swept.costs)) == names
    paid = {name: [row["spread_multiple"] for row in swept.costs if row["policy"] == name] for name in names}
    assert paid.pop(names[0]) == [0.0, 1.0, 2.0]  # the rung that is not judged
    assert set(map(tuple, paid.values())) == {(0.0, 0.56, 0.75, 1.0, 2.0)}
    touch = [row for row in swept.costs if row["paid"] == "touch"]
    assert [row["total_return"] for row in touch] == [m.manifest["summary"]["total_return"] for m in members]
    assert [row["policy"] for row in swept.break_evens] == names
    json.dumps([swept.sins, swept.delays, swept.costs, swept.break_evens], allow_nan=False)


def test_the_mid_of_the_sins_is_the_mid_of_the_costs(swept, judged):
    mid = next(row for row in swept.costs if row["policy"] == judged.name and row["paid"] == "mid")
    assert mid["total_return"] == next(row for row in swept.sins if row["sin"] == "mid_fills")["total_return"]


def test_the_clean_lag_of_the_delays_is_the_clean_walk(swept, judged):
    same = of_lag(swept, CONFIG.fill_lag)
    assert same.table("equity").equals(judged.table("equity"))
    row = next(row for row in swept.delays if row["fill_lag"] == CONFIG.fill_lag)
    assert (row["less_clean"], row["growth_less_clean"], row["n_missed"]) == (0.0, 0.0, 0)


def test_where_the_run_is_judged_without_a_lag_that_is_no_sin(rungs, judged, market, tmp_path):
    """An order of tomorrow is given once the clean walk has written it down."""
    config = dataclasses.replace(CONFIG, fill_lag=0)
    clean = run_backtests([rungs[judged.name]()], market, config, "test", out_dir=tmp_path)
    found = sweep_conventions(clean[0], clean, {judged.name: rungs[judged.name]}, list, market, config)
    assert found.apart == []
    assert [row["sin"] for row in found.sins] == ["clean", *(name for name in SIN if name != "same_quotes")]
    by_lag = {row["fill_lag"]: row for row in found.delays}
    assert by_lag[0]["less_clean"] == 0.0
    assert by_lag[-1]["n_orders"] + by_lag[-1]["n_missed"] > 0.9 * by_lag[0]["n_orders"]


class BuysAndHedges(Rule):
    """Sells a near put at one snapshot and hedges it at the next, then closes everything."""

    def __init__(self, first: int):
        super().__init__("rule", "for a test")
        self.first = first

    def write(self, env, state, orders):
        at = int(state.snapshot_index_N[0]) - self.first
        if at == 3:
            orders.leg_row_NP[0, 0] = env.view.cell_rows(state.snapshot_index_N)[0, 5]
            orders.leg_quantity_NP[0, 0] = -3
        orders.hedge_N[0] = at == 5
        orders.close_all_N[0] = at == 9


def test_a_delay_moves_every_fill_by_as_many_sessions_and_alters_no_quantity(market):
    start, _ = market.split("test")
    noted = Noted(BuysAndHedges(start))
    clean = trade([noted], market, CONFIG, (start, start + 40))[0].table("fills")
    ordered = clean.filter(clean["reason"].is_in(["open", "close", "hedge"]))
    assert {"open", "close", "hedge"} <= set(ordered["reason"])
    at = {int(ns): index for index, ns in enumerate(market.snapshot_T.tolist())}
    when = [at[int(ns)] for ns in ordered["snapshot"].dt.epoch("ns")]
    for lag in LAGS:
        handed = Handed(lag)
        late = Delayed(noted, handed, market)
        config = dataclasses.replace(CONFIG, fill_lag=handed.env_lag)
        fills = trade([late], market, config, (start, start + 40))[0].table("fills")
        fills = fills.filter(fills["reason"].is_in(["open", "close", "hedge"]))
        if late.missed:  # a put that is listed for the first time has no quote to be sold at the day before
            assert lag < 0
            continue
        moved = [at[int(ns)] for ns in fills["snapshot"].dt.epoch("ns")]
        assert [m - w for m, w in zip(moved, when, strict=True)] == [lag - CONFIG.fill_lag] * len(when), lag
        assert fills["quantity"].to_list() == ordered["quantity"].to_list()
        assert fills["contract_id"].to_list() == ordered["contract_id"].to_list()


def test_an_order_whose_contract_is_gone_is_left_out_whole_and_counted(market):
    start, _ = market.split("test")

    class SellsWhatSettles(Rule):
        def write(self, env, state, orders):
            last = (market.next_row_Q < 0) & (market.row_snapshot_Q == start + 3)
            if int(state.snapshot_index_N[0]) == start + 3 and bool(last.any()):
                orders.leg_row_NP[0, :2] = torch.stack(
                    [last.nonzero()[0, 0], env.view.cell_rows(state.snapshot_index_N)[0, 5]]
                )
                orders.leg_quantity_NP[0, :2] = -1

    for first in range(start, start + 40):  # a session on which something settles next
        if bool(((market.next_row_Q < 0) & (market.row_snapshot_Q == first + 3)).any()):
            start = first
            break
    noted = Noted(SellsWhatSettles("rule", "for a test"))
    trade([noted], market, dataclasses.replace(CONFIG, fill_lag=0), (start, start + 12))
    late = Delayed(noted, Handed(2), market)
    account = trade([late], market, CONFIG, (start, start + 12))[0]
    assert late.missed == 1
    assert account.table("fills").is_empty()


def test_nothing_of_the_sweeps_is_entered_written_or_compared(swept, judged, members, market, rungs, tmp_path):
    places = Places(tmp_path)
    assert all(account.manifest[CONVENTION] for account in swept.accounts)
    with pytest.raises(EvaluationError, match="nobody may judge by"):
        enter(places, swept.accounts, "2026-01-01")
    assert not place_of(places).exists()
    for account in swept.accounts:
        with pytest.raises(EvaluationError, match="nobody may judge by"):
            compare([*members, account])
        assert account.manifest["policy"] != "checkpoint"
    with pytest.raises(EvaluationError, match="nobody may judge by"):
        run_backtests(
            [rungs[judged.name]()], market, CONFIG, "test", out_dir=tmp_path / "bt", meta={CONVENTION: "planted"}
        )
    assert not [path for path in (tmp_path / "bt").glob("*") if path.is_dir() and not path.name.startswith(".")]


class Reader(Rule):
    """Holds the index where a feature is above zero, and nothing elsewhere."""

    reads = True
    column = MARKET_FEATURES.index("realised_vol_21d")

    def decide(self, env, obs, mask):
        self.seen = obs[:, self.column]
        return super().decide(env, obs, mask)

    def write(self, env, state, orders):
        spot = env.view.snapshot(state.snapshot_index_N)[:, 0]
        wanted = torch.where(self.seen > 0, torch.floor(0.8 * state.equity_N / spot), 0.0)
        orders.share_quantity_N[:] = (wanted - state.shares_N).long()


def planted(market, pays: bool):
    """A market whose volatility feature, read ten sessions on, says where the index goes after the fill, or noise."""
    returns = torch.zeros_like(market.spot_T)
    returns[:-2] = market.spot_T[2:] / market.spot_T[1:-1] - 1.0  # of a fill at t + 1
    noise = torch.randn(market.n_snapshots, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    features = market.features_TF.clone()
    features[10:, Reader.column] = (returns if pays else noise)[:-10].float()
    features[:10, Reader.column] = 0.0
    return dataclasses.replace(market, features_TF=features)


@pytest.mark.parametrize("pays", [True, False])
def test_hindsight_is_inflation_where_it_pays_and_none_where_it_does_not(market, pays):
    world, window = planted(market, pays), market.split("test")
    sin = SIN["centred_volatility"]
    clean = trade([Reader("reader", "for a test")], world, CONFIG, window)[0]
    leaky = Sinner(Reader("reader", "for a test"), "leaky", sin.seen(world, window, clean))
    row = sin_rows(clean, [(sin, trade([leaky], world, CONFIG, window)[0])])[1]
    if pays:
        assert row["inflation"] > 0.0
        assert row["ci_low"] > 0.0
        assert row["verdict"] == words.FLATTERS
    else:
        assert row["ci_low"] < 0.0 < row["ci_high"]
        assert row["verdict"] == words.UNTOLD


def test_words_say_what_the_intervals_hold(swept, judged):
    said = words.sins_words(swept.sins)
    assert said.startswith("Of 6 conventions that nobody may judge by")
    assert said.endswith("Nothing here counts as a result.")
    assert all(row["title"].lower() in said.lower() for row in swept.sins[1:])
    delays = words.delays_words(swept.delays)
    assert delays.startswith("Filled a session later than it is judged, its growth would differ by")
    assert "which nobody can do" in delays
    assert words.costs_words(swept.costs, swept.break_evens, judged.name).startswith("Break-even spread: ")
    assert [words.effect(*given) for given in ((None,) * 3, (0.1, None, None), (0.1, 0.05, 0.2), (0.1, -0.1, 0.2))] == [
        words.UNRATED,
        words.TOO_SHORT,
        words.FLATTERS,
        words.UNTOLD,
    ]
    assert words.effect(-0.2, -0.3, -0.1) == words.HARMS
