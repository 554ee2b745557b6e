"""The kill switch: limits tighten it, a person alone loosens it, it survives a restart, it binds."""

import dataclasses
import json

import numpy as np
import pytest

from clstm_core.errors import ConfigError, ShadowError
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ShadowLog
from clstm_core.shadow.runner import Opening, ShadowRunner, set_switch, switch_of
from clstm_core.shadow.sources.replay import Replay
from clstm_core.shadow.switch import ACTIVE, HALTED, LEGAL, REDUCING, allowed_of, tighter, tripped
from clstm_core.specs import ACTIONS

CALM = {
    "kind": "decided",
    "action": 0,
    "equity_usd": 100.0,
    "dollar_gamma_per_percent": 0.0,
    "net_exposure": 0.0,
    "gross_exposure": 0.0,
    "crash_loss": 0.0,
    "vega_per_point": 0.0,
    "missing_sessions": 0,
    "terminated": False,
}


@pytest.mark.parametrize(
    ("limit", "fact", "state"),
    [
        ({"halt_drawdown": 0.2}, {"equity_usd": 79.0}, HALTED),
        ({"reduce_drawdown": 0.2}, {"equity_usd": 79.0}, REDUCING),
        ({"max_net_exposure": 1.0}, {"net_exposure": 1.01}, REDUCING),
        ({"max_gross_exposure": 1.0}, {"gross_exposure": 1.01}, REDUCING),
        ({"max_crash_loss": 0.1}, {"crash_loss": 0.11}, REDUCING),
        ({"max_vega_per_point": 0.1}, {"vega_per_point": 0.11}, REDUCING),
        ({"max_dollar_gamma": 0.1}, {"dollar_gamma_per_percent": -11.0}, REDUCING),
        ({"max_missing_sessions": 1}, {"missing_sessions": 2}, REDUCING),
        ({}, {"terminated": True}, HALTED),
    ],
)
def test_each_limit_trips_beyond_it_and_not_at_it(limit, fact, state):
    limits = dataclasses.replace(Limits.none(), **limit)
    found, reasons = tripped([CALM], CALM | fact, limits)
    assert found == state
    assert len(reasons) == 1
    assert tripped([CALM], CALM, limits) == (ACTIVE, [])
    assert limit == {} or tripped([CALM], CALM | fact, Limits.none()) == (ACTIVE, [])


def test_too_many_orders_reduce():
    limits = dataclasses.replace(Limits.none(), max_orders=3, rate_sessions=5)
    traded = [CALM | {"action": 7}] * 4
    assert tripped(traded[:3], CALM, limits)[0] == ACTIVE
    assert tripped(traded, CALM, limits)[0] == REDUCING
    assert tripped([*traded, *[CALM] * 5], CALM, limits)[0] == ACTIVE


@pytest.mark.parametrize("name", ["equity_usd", "net_exposure", "crash_loss", "vega_per_point"])
def test_what_is_not_a_number_passes_no_limit(name):
    found, reasons = tripped([CALM], CALM | {name: float("nan")}, Limits())
    assert found != ACTIVE
    assert "nan" in reasons[0]


def switched(state):
    return {"kind": "switched", "switch": state}


def test_tightening_forgives_no_drawdown_and_loosening_does():
    """A person who reduces an account that fell by 20% must not put off the halt at 25%."""
    limits = dataclasses.replace(Limits.none(), halt_drawdown=0.25)
    fell = [CALM | {"switch": ACTIVE}, CALM | {"switch": ACTIVE, "equity_usd": 80.0}]
    now = CALM | {"equity_usd": 74.0}
    assert tripped([*fell, switched(REDUCING)], now, limits)[0] == HALTED
    assert tripped([*fell, switched(ACTIVE)], now, limits)[0] == HALTED  # it was active before
    assert tripped([*fell, switched(REDUCING), switched(ACTIVE)], now, limits)[0] == ACTIVE
    orders = dataclasses.replace(Limits.none(), max_orders=1)
    busy = [CALM | {"switch": REDUCING, "action": 7}] * 3
    assert tripped(busy, CALM, orders)[0] == REDUCING
    assert tripped([*busy, switched(ACTIVE)], CALM, orders)[0] == ACTIVE


def test_hold_close_and_hedge_are_what_reducing_leaves():
    every = np.ones(len(ACTIONS), dtype=bool)
    assert [ACTIONS[at] for at in np.flatnonzero(allowed_of(every, REDUCING))] == ["hold", "close_all", "hedge_delta"]
    assert np.flatnonzero(allowed_of(every, HALTED)).tolist() == [0]
    assert allowed_of(every, ACTIVE).all()
    assert tighter(REDUCING, ACTIVE) == tighter(ACTIVE, REDUCING) == REDUCING


def test_a_drawdown_reduces_for_good_until_a_person_resumes(shadow, market, bundle, tmp_path):
    limits = dataclasses.replace(Limits.none(), reduce_drawdown=0.02)
    log = shadow(limits=limits, most=40)
    states = [row["switch"] for row in log.decided]
    tripped_at = states.index(REDUCING)
    assert set(states[tripped_at:]) == {REDUCING}
    assert "drawdown" in log.decided[tripped_at]["reasons"][0]
    for row in log.decided[tripped_at:]:
        assert row["action"] in LEGAL[REDUCING]
    folder = tmp_path / "account"
    with ShadowLog.writing(folder) as writing:
        assert set_switch(writing, ACTIVE, " looked  at it ") == REDUCING
    assert ShadowLog(folder).entries[-1]["reasons"] == ["looked at it"]
    with ShadowLog.writing(folder) as writing:
        ShadowRunner(writing, Opening(bundle=bundle, limits=limits, unqualified=True), Replay(market)).run(most=1)
    assert switch_of(ShadowLog(folder)) == ACTIVE  # the drawdown is counted from where it was resumed


def test_halted_it_holds_and_the_account_lives_on(shadow, market, bundle, tmp_path):
    shadow(most=10)
    folder = tmp_path / "account"
    with ShadowLog.writing(folder) as writing:
        set_switch(writing, HALTED, "drill")
    log = shadow()
    after = log.decided[10:]
    assert {row["action_name"] for row in after} == {"hold"}
    assert {row["switch"] for row in after} == {HALTED}
    # the order decided before the halt is carried out, none after it
    orders = [fill for row in after[1:] for fill in row["fills"] if fill["reason"] not in ("expiry", "liquidation")]
    assert orders == []
    assert len({row["equity_usd"] for row in after}) > 1


def test_switching_asks_for_a_reason_and_an_account(shadow, tmp_path):
    with ShadowLog.writing(tmp_path / "nothing") as log, pytest.raises(ShadowError, match="no shadow account"):
        set_switch(log, HALTED, "why")
    shadow(most=1)
    with ShadowLog.writing(tmp_path / "account") as log, pytest.raises(ShadowError, match="no reason"):
        set_switch(log, HALTED, "  ")


def test_limits_come_from_the_bundle_and_a_file(tmp_path):
    account = {"max_net_exposure": 1.5, "max_gross_exposure": 2.5, "max_crash_loss": 0.2, "max_vega": 0.004}
    file = tmp_path / "limits.json"
    file.write_text(json.dumps({"max_orders": 10, "max_net_exposure": None}))
    found = Limits.from_file(file, account)
    assert (found.max_orders, found.max_net_exposure, found.max_crash_loss) == (10, None, 0.2)
    assert found.max_vega_per_point == 0.008
    assert Limits(**found.to_dict()) == Limits.kept(found.to_dict()) == found
    assert Limits.kept({"max_orders": 10}) == dataclasses.replace(Limits.none(), max_orders=10)
    with pytest.raises(ConfigError, match="states limit max_moon: unknown here"):
        Limits.kept({"max_moon": 1.0})
    for text, words in (
        ('{"max_ordres": 1}', "state max_ordres"),
        ('{"max_orders": -1}', "at least 0"),
        ('{"max_crash_loss": NaN}', "at least 0"),
        ('{"rate_sessions": 0}', "rate_sessions=0: expected a whole number"),
        ('{"rate_sessions": null}', "rate_sessions=None: expected a whole number"),
        ("[", "cannot"),
        ("[" * 100_000, "cannot read"),
        (f'{{"max_orders": 1{"0" * 400}}}', "limits .*limits.json: limit max_orders=1000"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            Limits.from_file(file, account)
