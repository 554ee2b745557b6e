"""A proof counts what it met, and one that met nothing of what it covers has failed with a sentence."""

from collections import Counter

import pytest

from clstm_core.audit.proofs.conservation import conservation
from clstm_core.audit.proofs.fees_never_help import fees_never_help
from clstm_core.audit.proofs.invariance import invariance
from clstm_core.audit.proofs.martingale_exact import martingale_exact
from clstm_core.audit.proofs.martingale_sampled import martingale_sampled
from clstm_core.audit.proofs.no_look_ahead import no_look_ahead
from clstm_core.audit.sessions.events import ALL_MULTIPLIERS, every_event
from clstm_core.audit.sessions.scene import Scene
from clstm_core.audit.worlds.listed import build_listed, listed_tables
from clstm_core.audit.worlds.markets import whole
from clstm_core.config import EnvConfig


def test_what_was_never_met_is_named() -> None:
    finding = every_event(Counter({"open": 3}), ("open", "liquidation", "PM settlement"))
    assert finding.ratio > 1
    assert "never met: liquidation, PM settlement; expected each at least once" in finding.detail


def test_every_multiplier_must_settle() -> None:
    met = Counter({"settlement, multiplier 10": 4, "settlement, multiplier 50": 1})
    assert every_event(met, (ALL_MULTIPLIERS,)).ratio > 1
    assert every_event(met + Counter({"settlement, multiplier 100": 1}), (ALL_MULTIPLIERS,)).ratio == 0


@pytest.mark.parametrize("name", ["conservation", "exact", "sampled", "look_ahead", "fees", "invariance"])
def test_a_walk_too_short_to_meet_anything_fails(premium_market, name: str) -> None:
    tables = listed_tables(30, fair=False)
    rough, fair = whole(build_listed(tables)), whole(build_listed(listed_tables(30, fair=True)))
    short = Scene(market=premium_market, config=EnvConfig(horizon=2), n_envs=2, n_steps=2)
    in_fair = Scene(market=fair, config=EnvConfig(horizon=2), n_envs=2, n_steps=3)
    findings = {
        "conservation": lambda: conservation(short, listed=tables),
        "exact": lambda: martingale_exact(in_fair, snapshots=1, max_envs=200),
        "sampled": lambda: martingale_sampled(short),
        "look_ahead": lambda: no_look_ahead(short, premium_market, n_cuts=1, table_snapshots=70, listed=tables),
        "fees": lambda: fees_never_help(short, rough),
        "invariance": lambda: invariance(short, rough),
    }[name]()
    missing = [finding for finding in findings if finding.check == "events missing"]
    assert len(missing) == 1
    assert missing[0].ratio > 1
    assert "never met: " in missing[0].detail
