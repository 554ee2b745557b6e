"""What a policy must not know, made from what it may: features and grids that look ahead, and nothing else altered."""

import dataclasses

import numpy as np
import torch

from clstm_core.env.episodes import last_snapshots
from clstm_core.errors import EvaluationError
from clstm_core.evaluation.policies import Policy
from clstm_core.market.build.grid import Chain, build_grid
from clstm_core.market.build.splits import fit_scaler
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import CELLS, MARKET_FEATURES, TENORS

HALF_WINDOW = 10
"""Sessions after the decision in a centred volatility of 21."""


def scaled_by_window(market: MarketTensors, window: tuple[int, int], policy: Policy) -> torch.Tensor:
    """Market features [T, F] that the policy's own scaler turns into those standardised over `window`.

        x' = m + s (x - m_w) / s_w,   m, s the scaler in the policy's weights, m_w, s_w the window's

    Raises: EvaluationError for a policy that has no scaler
    """
    buffers = dict(policy.model.named_buffers()) if hasattr(policy, "model") else {}
    width = len(MARKET_FEATURES)
    found = {
        end: next((value[:width].double() for name, value in buffers.items() if name.endswith(end)), None)
        for end in ("obs_mean", "obs_std")
    }
    mean, std = found["obs_mean"], found["obs_std"]
    if mean is None or std is None:
        raise EvaluationError(
            f"policy {policy.name} standardises nothing: found no obs_mean and obs_std among its weights, expected a "
            "checkpoint's. Leave this convention out for rules."
        )
    other = fit_scaler(market.features_TF.cpu().numpy(), window)
    scaled = (market.features_TF.double() - torch.tensor(other["mean"])) / torch.tensor(other["std"])
    return (mean + std * scaled).float()


def centred_volatility(market: MarketTensors) -> torch.Tensor:
    """Market features [T, F] whose realised volatility of 21 sessions is read `HALF_WINDOW` snapshots later.

    What is made of it follows: variance_premium = near_atm_vol^2 - realised_vol_21d^2.

    Assumes: one snapshot per session; at a history's end it is read at its last snapshot
    """
    column = {name: index for index, name in enumerate(MARKET_FEATURES)}
    last_T = last_snapshots(market.segment_end_T, market.n_snapshots)
    later_T = torch.minimum(torch.arange(market.n_snapshots) + HALF_WINDOW, last_T)
    features = market.features_TF.clone()
    realised = market.features_TF[later_T, column["realised_vol_21d"]]
    features[:, column["realised_vol_21d"]] = realised
    features[:, column["variance_premium"]] = market.features_TF[:, column["near_atm_vol"]] ** 2 - realised**2
    return features


def hindsight_grid(market: MarketTensors, window: tuple[int, int], *, ahead: int) -> MarketTensors:
    """The market whose grid chooses, among what is listed, by the deltas and forwards of `ahead` snapshots later.

    The builder's own rule (`market.build.grid.build_grid`) on other deltas: with `ahead` 0 the market's own grid. A
    contract that settles before is judged by its last snapshot; a cell without a candidate keeps its contract.

    Assumes: the candidates are contracts that the grid had pointed at by then: the tensors hold no others
    """
    start, stop = window
    rows = slice(int(market.row_offset_T1[start]), int(market.row_offset_T1[stop]))
    two_sided = market.can_buy_Q[rows] & market.can_sell_Q[rows]
    row = two_sided.nonzero().squeeze(1) + rows.start
    later = row
    for _ in range(ahead):
        following = market.next_row_Q[later]
        later = torch.where(following >= 0, following, later)
    contract, then = market.row_contract_Q[row], market.row_snapshot_Q[later]
    carry = (market.rate_T[then] - market.dividend_yield_T[then]) * market.tte_years_Q[later]
    known = market.delta_Q[later].isfinite()
    columns = {
        "snapshot": market.row_snapshot_Q[row],
        "expiration": market.expiration_K[contract],
        "strike": market.strike_K[contract],
        "right": market.right_K[contract],
        "tte_years": market.tte_years_Q[row],
        "forward": market.spot_T[then] * torch.exp(carry),
        "delta": market.delta_Q[later],
    }
    chain = Chain(**{name: values[known].numpy() for name, values in columns.items()})
    chosen = build_grid(chain, _expirations(market))
    rows_of = np.append(row[known].numpy(), -1)[chosen]
    own = market.grid_row_TG.numpy()
    inside = np.zeros(len(own), dtype=bool)
    inside[start:stop] = True
    grid = np.where(inside[:, None] & (rows_of >= 0), rows_of, own)
    return dataclasses.replace(market, grid_row_TG=torch.from_numpy(grid), identity="")


def _expirations(market: MarketTensors) -> dict[str, np.ndarray]:
    """The expiration of each tenor at each snapshot [T], read off the market's own grid; -1 where it points nowhere."""
    grid = market.grid_row_TG
    expiration_TG = torch.where(grid >= 0, market.expiration_K[market.row_contract_Q[grid.clamp(min=0)]], -1)
    return {tenor: expiration_TG[:, [cell.tenor == tenor for cell in CELLS]].amax(dim=1).numpy() for tenor in TENORS}
