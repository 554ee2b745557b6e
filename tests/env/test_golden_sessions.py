"""Sessions that must not move: which contracts filled when, as one hash, and what the accounts came to."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.specs import CLOSE_ALL

GOLDEN = json.loads((Path(__file__).parent / "golden_sessions.json").read_text())
STEPS, N_ENVS = 60, 16
DISCRETE = [
    "episode_N",
    "snapshot_N",
    "fill_snapshot_NX",
    "fill_contract_NX",
    "fill_quantity_NX",
    "fill_reason_NX",
    "leg_contract_NL",
    "leg_quantity_NL",
    "shares_N",
    "ordered_N",
    "unfilled_N",
    "rejected_N",
    "liquidated_N",
    "breached_N",
    "over_budget_N",
    "budget_breached_N",
    "terminated_N",
    "truncated_N",
]
SUMS = [
    "cash_N",
    "equity_N",
    "equity_liquidation_N",
    "option_mark_N",
    "margin_N",
    "net_exposure_N",
    "gross_exposure_N",
    "crash_loss_N",
    "vega_N",
    "premium_sold_N",
    "interest_N",
    "dividends_N",
    "borrow_N",
    "fees_N",
    "slippage_N",
    "settlement_N",
    "option_mark_change_N",
    "share_mark_change_N",
    "attribution_delta_N",
    "attribution_gamma_N",
    "attribution_vega_N",
    "attribution_theta_N",
    "attribution_carry_N",
    "attribution_residual_N",
]


def session(world, lag: int) -> dict:
    """A seeded session of random legal actions: a hash of everything that is whole, sums of what is money."""
    env = OptionsEnv(world, EnvConfig(horizon=21, fill_lag=lag), n_envs=N_ENVS, dtype=torch.float64, seed=3)
    generator, digest = torch.Generator().manual_seed(11), hashlib.sha256()
    sums = dict.fromkeys((*SUMS, "reward", "observation"), 0.0)
    for t in range(STEPS):
        mask = env.observe()[1].clone()
        mask[:, CLOSE_ALL] &= t % 40 == 39  # books live long enough to settle
        rank = (torch.rand(N_ENVS, generator=generator) * mask.sum(dim=1)).long()
        step = env.step((mask.cumsum(dim=1) > rank[:, None]).long().argmax(dim=1))
        for name in DISCRETE:
            digest.update(getattr(env.last, name).double().round().long().numpy().tobytes())
        for name in SUMS:
            sums[name] += float(getattr(env.last, name).abs().sum())
        sums["reward"] += float(step.reward.double().abs().sum())
        sums["observation"] += float(step.observation.double().abs().sum())
    return {"sha256": digest.hexdigest(), "sums": sums}


@pytest.mark.parametrize("lag", [0, 1])
def test_a_seeded_session_has_not_moved(world, lag):
    found, golden = session(world, lag), GOLDEN[f"fill_lag={lag}"]
    assert found["sums"] == pytest.approx(golden["sums"], rel=1e-7)
    assert found["sha256"] == golden["sha256"]
