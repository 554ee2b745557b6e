"""Proof 3: whatever comes after t, what is seen, allowed and filled at t stays bit for bit the same."""

import dataclasses
from collections import Counter

from clstm_core.audit.proofs.in_time.built import built_in_time, fitted_in_time, listed_in_time
from clstm_core.audit.proofs.in_time.modelled import modelled_in_time, published_in_time
from clstm_core.audit.proofs.in_time.walked import EVENTS, traded_in_time, within_its_window
from clstm_core.audit.reference.terms import Tables
from clstm_core.audit.result import Finding
from clstm_core.audit.sessions.events import every_event
from clstm_core.audit.sessions.scene import Scene
from clstm_core.audit.worlds.listed import build_listed
from clstm_core.audit.worlds.markets import whole
from clstm_core.market.tensors import MarketTensors


def no_look_ahead(
    scene: Scene, market: MarketTensors, *, n_cuts: int, table_snapshots: int, listed: Tables | None = None
) -> list[Finding]:
    """Nothing traded, fitted, built or modelled knows the future: sessions in the scene, and how `market` was made.

    Args:
        listed: tables of a rough listed world, walked, built and fitted beside the market
    """
    findings = [
        *traded_in_time(scene, n_cuts=n_cuts),
        *fitted_in_time(market),
        *built_in_time(market, n_snapshots=table_snapshots, n_cuts=n_cuts),
        *modelled_in_time(),
        *published_in_time(),
    ]
    # where the market is proven wrong already, the listed world would say no more than that again
    if listed is not None and all(finding.ratio <= 1.0 for finding in findings):
        place = dataclasses.replace(scene, market=whole(build_listed(listed)), n_envs=2 * scene.n_envs)
        met: Counter[str] = Counter()
        findings += traded_in_time(place, n_cuts=n_cuts, label="listed world, ", met=met)
        findings += [*within_its_window(place), *listed_in_time(listed), every_event(met, EVENTS)]
    return findings
