"""Whether what the champion saw follows from the past: market features made anew, and its decisions walked again.

A decision leaves its value in the ledger: the critic's answer to all that the policy has seen so far. Shown what tables
and ledgers say of the snapshots up to a decision, the same checkpoint must give the same value, decision by decision.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from clstm_core.evaluation.policies import load_checkpoint
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evidence_audit.book import book_features
from clstm_core.evidence_audit.case import Case, MarketFiles
from clstm_core.evidence_audit.features import Past
from clstm_core.evidence_audit.finding import Finding
from clstm_core.specs import ACTIONS, MARKET_FEATURES

SAMPLED = 24
"""Snapshots per window and market whose features are made anew, the first and the last among them."""

ABSOLUTE, RELATIVE = 2e-6, 1e-5
"""What a feature may differ by: it is kept in float32."""

VALUE_TOLERANCE = 1e-5
"""What a value may differ by, relative to 1 + its size: float32 through a recurrent network."""


def observations_rebuilt(case: Case) -> Finding:
    """Features of sampled snapshots against the tensors, and the champion's decisions against a walk of our own."""
    wrong: list[str] = []
    counted = 0
    markets = {case.evaluation.identity: case.evaluation, case.training.identity: case.training}
    walks = _walks(case)
    markets |= {market.identity: market for _, market in walks}
    for market in markets.values():
        sampled = _sampled(market)
        counted += len(sampled)
        wrong += _features(case, market, sampled)
    decisions = 0
    for result, market in walks:
        apart = _walked(case, result, market)
        decisions += len(apart)
        odd = np.flatnonzero(~(apart <= VALUE_TOLERANCE))
        if len(odd):
            worst = float(np.nan_to_num(apart, nan=np.inf).max())
            wrong.append(
                f"{len(odd)} of {len(apart)} decisions of {result.name} on {result.manifest['window']['name']} dates "
                f"({result.id}) do not follow from what was known, the first at step {odd[0] + 1}: values differ by "
                f"{worst:.2g}, expected at most {VALUE_TOLERANCE:g}"
            )
    return Finding(
        name="observations_rebuilt",
        counted=counted if decisions or not walks else 0,
        wrong=wrong,
        words=f"Features of {counted} snapshots made anew without later data; {decisions} decisions of the champion "
        f"walked again on them in {len(walks)} backtests.",
    )


def _walks(case: Case) -> list[tuple[Backtest, MarketFiles]]:
    """The champion's backtests at the configured lag, wherever it was judged or chosen, with their markets."""
    champion = case.comparison["champion"]
    if champion is None:
        return []
    found: list[tuple[Backtest, MarketFiles]] = []
    known = {case.evaluation.identity: case.evaluation}
    for result in case.everything:
        m = result.manifest
        if result.name != champion["name"] or m["window"]["name"] == "in_sample":
            continue
        if m["fill_lag"] != case.config.env.fill_lag:
            continue
        identity = m["data_sha256"]
        known.setdefault(identity, MarketFiles(case.places, identity))
        found.append((result, known[identity]))
    return found


def _sampled(market: MarketFiles) -> list[int]:
    """Indices spread evenly over each window of a market."""
    found: set[int] = set()
    for start, stop in market.splits.values():
        found.update(np.unique(np.linspace(start, stop - 1, min(SAMPLED, stop - start)).astype(int)).tolist())
    return sorted(found)


def _features(case: Case, market: MarketFiles, sampled: list[int]) -> list[str]:
    """What differs between features made anew and those of the tensors."""
    near, far = float(market.info["near_days"]), float(market.info["far_days"])
    past = Past(market, sampled, near, far, case.config.market.tenor_tolerance)
    own = np.stack([past.features(t) for t in sampled])
    kept = market.tensors["features_TF"][sampled].astype(np.float64)
    odd = ~(np.abs(own - kept) <= ABSOLUTE + RELATIVE * np.abs(own))
    if not odd.any():
        return []
    row, column = (int(index[0]) for index in np.nonzero(odd))
    return [
        f"{int(odd.any(axis=1).sum())} of {len(sampled)} snapshots of {market.info['source']} have features that do "
        f"not follow from their past: {MARKET_FEATURES[column]} on {market.snapshots[sampled[row]].date()} is "
        f"{kept[row, column]:.6g}, expected {own[row, column]:.6g}"
    ]


def _walked(case: Case, result: Backtest, market: MarketFiles) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How far each recorded value lies from the checkpoint's own answer, relative to 1 + its size [steps]."""
    decisions = result.table("decisions").sort("step")
    at = market.snapshots.search_sorted(decisions["snapshot"]).to_numpy()
    features = market.tensors["features_TF"][at].astype(np.float32)
    own = book_features(result, market, case.config.env).astype(np.float32)
    seen = torch.from_numpy(np.concatenate([features, own], axis=1))
    folder = case.run.checkpoint(result.manifest["milestone"])
    policy = load_checkpoint(folder, modes=("argmax",), seed=int(result.manifest["seed"]))[0]
    policy.reset(1)
    # what is decided is not asked here: a value does not depend on which actions are legal
    account: Any = SimpleNamespace(orders_for=lambda action: action)
    every = torch.ones(1, len(ACTIONS), dtype=torch.bool)
    values = np.empty(len(seen))
    for step, observation in enumerate(seen):
        policy.decide(account, observation[None], every)
        values[step] = float(policy.last.value_N[0])
    said = decisions["value"].to_numpy()
    return np.abs(values - said) / (1.0 + np.abs(said))
