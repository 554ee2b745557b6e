"""The folds' accounts as one record: what was earned on each session that nobody had trained on, in order of dates.

An account begins anew in each fold with the same capital, so returns are joined, not money: the record's curve is the
product of one plus each session's return. The move from one fold's last session to the next one's first is nobody's:
the one account has ended, the other has not begun.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from clstm_core.errors import EvaluationError
from clstm_core.evaluation.pairing import series
from clstm_core.evaluation.periods import Account
from clstm_core.evaluation.protocol import Backtest
from clstm_core.evaluation.statistics import Floats

CAPITAL = 1.0
"""What the joined curve begins with: a multiple, no money."""
CASH = "cash"
ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One fold's test: what each seed's chosen rung and each baseline returned on its sessions.

    Shapes: dates (ISO text) [T + 1]; log_returns by seed and by baseline [T]; excess by baseline [T, E]; cash, spot [T]
    Units:  log_returns: log of 1 + return, of a baseline with several accounts their mean; excess: return less cash's;
            cash and spot: simple returns of cash and of the underlying's price
    """

    fold: int
    dates: list[str]
    cash: Floats
    spot: Floats
    seeds: Mapping[int, Floats]
    baselines: Mapping[str, Floats]

    @property
    def sessions(self) -> int:
        """Returns that it holds."""
        return self.cash.size


@dataclass(frozen=True, kw_only=True)
class Record:
    """Consecutive pieces joined; arrays as in `Piece` over all sessions, `fold` [T] says whose each is."""

    fold: np.ndarray
    first: str
    dates: list[str]  # of the sessions at which each return ended [T]
    cash: Floats
    spot: Floats
    seeds: Mapping[int, Floats]
    baselines: Mapping[str, Floats]

    @property
    def policy(self) -> Floats:
        """The seeds' mean log return [T]: not one account that spreads its money, and no drawdown is taken of it."""
        return np.mean(list(self.seeds.values()), axis=0)

    def account(self, log_returns: Floats) -> Account:
        """Log returns [T] as a curve from `CAPITAL`, beside cash and the underlying on those sessions."""
        return Account(
            dates=[self.first, *self.dates],
            equity=CAPITAL * np.exp(np.concatenate([[0.0], np.cumsum(log_returns)])),
            spot=np.concatenate([[1.0], np.cumprod(1.0 + self.spot)]),
            cash=self.cash,
        )

    def table(self) -> pl.DataFrame:
        """One row per session: fold, date, cash and spot returns, each seed's and each baseline's log return."""
        return pl.DataFrame(
            {
                "fold": self.fold,
                "date": self.dates,
                "cash_return": self.cash,
                "spot_return": self.spot,
                **{f"seed_{seed}": values for seed, values in self.seeds.items()},
                **{f"baseline_{name}": values for name, values in self.baselines.items()},
            }
        )


def piece_of(fold: int, chosen: Mapping[int, Backtest], baselines: Sequence[Backtest]) -> Piece:
    """One fold's test, paired by date: every account on the same sessions.

    Args:
        chosen: by seed, the backtest of the rung that its validation chose
        baselines: on the same dates at the same lag, cash among them: an account that never ends early

    Raises: EvaluationError where there is no cash, or dates disagree
    """
    cash = next((result for result in baselines if result.name == CASH), None)
    if cash is None:
        raise EvaluationError(f"fold {fold} has no account of cash beside its policies. Backtest the baselines first.")
    account = Account.of(cash.table("equity"))
    found = series(baselines)
    return Piece(
        fold=fold,
        dates=account.dates,
        cash=account.cash,
        spot=account.market,
        seeds={seed: series([result, cash])[result.name].log_returns for seed, result in chosen.items()},
        baselines={result.name: found[result.name].log_returns for result in baselines},
    )


def joined(pieces: Sequence[Piece]) -> Record:
    """The pieces as one record, in order of dates.

    Raises: EvaluationError where a session is in two tests, or the pieces are of other seeds or baselines
    """
    if not pieces:
        raise EvaluationError("no fold to join: expected at least one that was judged. Run the walk-forward first.")
    pieces = sorted(pieces, key=lambda piece: piece.dates[0])
    for before, after in pairwise(pieces):
        if after.dates[0] <= before.dates[-1]:
            raise EvaluationError(
                f"folds {before.fold} and {after.fold} are both judged on {after.dates[0]}: expected no session in two "
                "tests. Cut the history otherwise."
            )
        if (set(before.seeds), set(before.baselines)) != (set(after.seeds), set(after.baselines)):
            raise EvaluationError(
                f"folds {before.fold} and {after.fold} have other seeds or baselines: found "
                f"{sorted(before.seeds)} and {sorted(after.seeds)}, expected the same. Run the missing ones."
            )
    first = pieces[0]

    def over(of: Sequence[Floats]) -> Floats:
        return np.concatenate(of)

    return Record(
        fold=np.concatenate([np.full(piece.sessions, piece.fold) for piece in pieces]),
        first=first.dates[0],
        dates=[day for piece in pieces for day in piece.dates[1:]],
        cash=over([piece.cash for piece in pieces]),
        spot=over([piece.spot for piece in pieces]),
        seeds={seed: over([piece.seeds[seed] for piece in pieces]) for seed in first.seeds},
        baselines={name: over([piece.baselines[name] for piece in pieces]) for name in first.baselines},
    )


def excess_of(log_returns: Floats, cash: Floats) -> Floats:
    """Simple returns less those of cash [T]; what differs by rounding is none."""
    beyond = np.expm1(log_returns) - cash
    return np.where(np.abs(beyond) < ROUNDING, 0.0, beyond)
