"""The contract grid: for each snapshot and cell of specs.CELLS, the listed contract nearest to it as known then.

Nothing but that snapshot's own two-sided quotes is read: no volume, no later quote, no later listing.
"""

from typing import NamedTuple

import numpy as np

from clstm_core.market.clock import DAY_YEARS
from clstm_core.specs import CELLS, RIGHT_CALL, RIGHT_PUT, TENORS

MIN_TTE_YEARS = 0.5 * DAY_YEARS
"""Contracts closer than half a day to settlement are in no cell."""

ATM_TOLERANCE = 0.15
"""Largest distance of the at-the-money call's delta from one half."""


class Chain(NamedTuple):
    """Two-sided quoted rows of all snapshots, in columns; sorted by snapshot."""

    snapshot: np.ndarray  # int64 index
    expiration: np.ndarray  # int64, UTC nanoseconds
    strike: np.ndarray
    right: np.ndarray  # +1 call, -1 put
    tte_years: np.ndarray
    forward: np.ndarray
    delta: np.ndarray  # signed


def delta_tolerance(target: float) -> float:
    """How far a contract's unsigned delta may lie from its cell's target: 0.03 at 0.05, 0.13 at 0.30."""
    return 0.4 * target + 0.01


def choose_expirations(
    snapshot: np.ndarray,
    expiration: np.ndarray,
    right: np.ndarray,
    tte_years: np.ndarray,
    n_snapshots: int,
    *,
    target_days: float,
    tolerance: float,
) -> np.ndarray:
    """Expiration nearest the target tenor at each snapshot, among those that quote calls and puts; -1 where none.

    Shapes: snapshot, expiration, right, tte_years [rows] of two-sided quotes; the result [T] int64 UTC nanoseconds
    Units:  target_days calendar days; expirations outside (1 +- tolerance) x target do not count; ties go to the nearer
    """
    days = tte_years / DAY_YEARS
    near = (tte_years > MIN_TTE_YEARS) & (np.abs(days - target_days) <= tolerance * target_days)
    rows = np.flatnonzero(near)
    chosen = np.full(n_snapshots, -1, dtype=np.int64)
    if len(rows) == 0:
        return chosen
    dates, code = np.unique(expiration[rows], return_inverse=True)
    key = snapshot[rows] * len(dates) + code.reshape(-1)
    pairs, first, index = np.unique(key, return_index=True, return_inverse=True)
    sides = np.bincount(index.reshape(-1), weights=(right[rows] > 0).astype(np.float64), minlength=len(pairs))
    both = (sides > 0) & (sides < np.bincount(index.reshape(-1), minlength=len(pairs)))
    row = rows[first[both]]
    distance = np.abs(days[row] - target_days)
    order = np.lexsort((expiration[row], distance, snapshot[row]))
    at, start = np.unique(snapshot[row][order], return_index=True)
    chosen[at] = expiration[row][order][start]
    return chosen


def build_grid(chain: Chain, expirations: dict[str, np.ndarray]) -> np.ndarray:
    """Index into `chain` of each cell's contract, -1 where none is near enough.

    Shapes:  chain columns [rows]; expirations: per tenor [T] as `choose_expirations` gives; the result [T, G] int64
    Assumes: a contract already taken by a cell nearer the money is not given to a farther one of the same side
    """
    n_snapshots = len(next(iter(expirations.values())))
    grid = np.full((n_snapshots, len(CELLS)), -1, dtype=np.int64)
    in_tenor = {tenor: chain.expiration == expirations[tenor][chain.snapshot] for tenor in TENORS}
    atm = {tenor: _at_the_money(chain, in_tenor[tenor], n_snapshots) for tenor in TENORS}
    for column, cell in enumerate(CELLS):
        if cell.same_strike_as_near:
            grid[:, column] = _calendar(chain, in_tenor["far"], atm["near"][RIGHT_CALL], cell.right, n_snapshots)
            grid[expirations["near"] == expirations["far"], column] = -1
        elif cell.delta is None:
            grid[:, column] = atm[cell.tenor][cell.right]
        else:
            side = np.flatnonzero(in_tenor[cell.tenor] & (chain.right == cell.right))
            distance = np.abs(np.abs(chain.delta[side]) - cell.delta)
            close = distance <= delta_tolerance(cell.delta)
            grid[:, column] = _nearest(chain, side[close], distance[close], n_snapshots)
            taken = [
                other for other in range(column) if (CELLS[other].tenor, CELLS[other].right) == (cell.tenor, cell.right)
            ]
            repeated = (grid[:, taken] == grid[:, [column]]).any(axis=1)
            grid[repeated, column] = -1
    return grid


def _nearest(chain: Chain, rows: np.ndarray, distance: np.ndarray, n_snapshots: int) -> np.ndarray:
    """Of `rows`, the one of least distance at each snapshot (ties to the lower strike), -1 where none."""
    out = np.full(n_snapshots, -1, dtype=np.int64)
    order = np.lexsort((chain.strike[rows], distance, chain.snapshot[rows]))
    at, start = np.unique(chain.snapshot[rows][order], return_index=True)
    out[at] = rows[order][start]
    return out


def _match(chain: Chain, calls: np.ndarray, puts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows with the same snapshot and strike among `calls` and `puts` (one expiration a snapshot each)."""
    strikes, code = np.unique(np.concatenate([chain.strike[calls], chain.strike[puts]]), return_inverse=True)
    code = code.reshape(-1)
    key_call = chain.snapshot[calls] * len(strikes) + code[: len(calls)]
    key_put = chain.snapshot[puts] * len(strikes) + code[len(calls) :]
    _, i, j = np.intersect1d(key_call, key_put, return_indices=True)
    return calls[i], puts[j]


def _at_the_money(chain: Chain, in_tenor: np.ndarray, n_snapshots: int) -> dict[int, np.ndarray]:
    """Call and put of the strike nearest the forward that quotes both."""
    call, put = _match(
        chain,
        np.flatnonzero(in_tenor & (chain.right == RIGHT_CALL)),
        np.flatnonzero(in_tenor & (chain.right == RIGHT_PUT)),
    )
    near = np.abs(chain.delta[call] - 0.5) <= ATM_TOLERANCE
    call, put = call[near], put[near]
    chosen = _nearest(chain, call, np.abs(chain.strike[call] - chain.forward[call]), n_snapshots)
    put_of = np.full(len(chain.snapshot) + 1, -1, dtype=np.int64)
    put_of[call] = put
    return {RIGHT_CALL: chosen, RIGHT_PUT: put_of[chosen]}


def _calendar(chain: Chain, in_far: np.ndarray, near_atm: np.ndarray, right: int, n_snapshots: int) -> np.ndarray:
    """Far contracts of one side at the strike of the near at-the-money cell."""
    rows = np.flatnonzero(in_far & (chain.right == right))
    target = near_atm[chain.snapshot[rows]]
    same = (target >= 0) & (chain.strike[rows] == chain.strike[target])
    return _nearest(chain, rows[same], np.zeros(int(same.sum())), n_snapshots)
