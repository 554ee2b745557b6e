"""What an account saw of itself, made anew from its ledgers: beside what the environment showed it."""

import numpy as np
import polars as pl
import pytest

from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import TensorsManifest
from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.evaluation.backtest import run_backtests
from clstm_core.evaluation.policies import Decided
from clstm_core.evidence_audit.book import book_features
from clstm_core.evidence_audit.case import MarketFiles
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.tensors import load_market
from clstm_core.specs import ACTIONS, BOOK_FEATURES

CONFIG = MarketConfig(source="simulated", n_snapshots=380, train_fraction=0.5, validation_fraction=0.2, seed=3)
PROGRAMME = (
    "near_risk_reversal",
    "near_bear_call_spread",
    "near_protective_put",
    "near_bull_put_spread",
    "hedge_delta",
)


class _Programme:
    """Trades a list of actions over and over, liquidating every `period` steps, and keeps what it was shown.

    It trades from step `since` on and not from step `until` on: then it holds what it has.
    """

    name, label, kind, n_episodes, reads = "programme", "a programme", "baseline", 1, True

    def __init__(self, actions: tuple[str, ...], period: int, since: int = 0, until: int = 1_000_000):
        self.actions, self.period, self.since, self.until = actions, period, since, until
        self.shown: list[np.ndarray] = []

    def reset(self, n_envs: int) -> None:
        self.last = Decided.rule(n_envs)
        self.shown = []

    def decide(self, env, obs, mask):
        step = len(self.shown)
        self.shown.append(obs[0].numpy().copy())
        name = "close_all" if step % self.period == self.period - 1 else self.actions[step % len(self.actions)]
        action = ACTIONS.index(name)
        self.last.action_N[:] = action if mask[0, action] and self.since <= step < self.until else 0
        return env.orders_for(self.last.action_N)

    def notes(self) -> list[str]:
        return []

    def describe(self) -> dict:
        return {"checkpoint": None}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A simulated market, as files and as tensors."""
    places = Places(tmp_path_factory.mktemp("market") / "data")
    folder = ensure_tensors(ensure_quotes(CONFIG, places.cache), CONFIG, places.cache, embargo=42)
    found = MarketFiles(places, TensorsManifest.read(folder / FILE).identity)
    return found, load_market(folder)


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("period", [7, 1000])
def test_the_book_is_the_one_that_was_shown(files, tmp_path, lag, period) -> None:
    """Two legs of one contract, held long and short at once, are two legs: counted, paid for and marked apart."""
    tables, market = files
    policy = _Programme(PROGRAMME, period)
    env = EnvConfig(fill_lag=lag)
    result = run_backtests([policy], market, env, "test", out_dir=tmp_path)[0]
    held = (
        result.table("positions")
        .group_by("step", "contract_id")
        .agg(bought=(pl.col("quantity") > 0).any(), sold=(pl.col("quantity") < 0).any())
    )
    assert held.filter("bought", "sold").height > 3, "no contract was held long and short: the test tests nothing"
    shown = np.stack(policy.shown)[:, -len(BOOK_FEATURES) :]
    rebuilt = book_features(result, tables, env)
    np.testing.assert_allclose(rebuilt[: len(shown)], shown, rtol=1e-4, atol=2e-6)
    assert np.abs(shown).max(axis=0)[BOOK_FEATURES.index("legs_held")] > 0.5


def test_what_nobody_trades_any_more_is_still_paid_for(files, tmp_path) -> None:
    """A book that is held without a fill to the window's end."""
    tables, market = files
    start, stop = market.split("test")
    policy, env = _Programme(("near_bull_put_spread",), 1000, stop - start - 9, stop - start - 7), EnvConfig()
    result = run_backtests([policy], market, env, "test", out_dir=tmp_path)[0]
    last_fill, last_held = (result.table(name)["step"].max() for name in ("fills", "positions"))
    assert last_held > last_fill + 3, "nothing is held without a fill: the test tests nothing"
    shown = np.stack(policy.shown)[:, -len(BOOK_FEATURES) :]
    rebuilt = book_features(result, tables, env)
    np.testing.assert_allclose(rebuilt[: len(shown)], shown, rtol=1e-4, atol=2e-6)
