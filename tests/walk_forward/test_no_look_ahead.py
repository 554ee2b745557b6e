"""What comes after a fold's training changes nothing that is trained: no weight, no world, no scaler, no surface.

Two histories of the index and its VIX agree until the last training date and differ from then on; one that differs on
a training date is the control, without which none of this could fail.
"""

import dataclasses
from datetime import timedelta

import numpy as np
import pytest
import torch

from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, WorldsConfig, smoke
from clstm_core.market.sources import sp500_modelled
from clstm_core.market.tensors import load_market
from clstm_core.market.worlds.training import world_of
from clstm_core.specs import RUNGS
from clstm_core.train.envs import envs_on
from clstm_core.train.loop import train
from clstm_core.walk_forward.folds import Sizes, make_folds, market_of
from clstm_core.walk_forward.markets import fold_tensors

FIRST = 5000  # sessions left out before, so that the fold is a short one, with a past
SIZES = Sizes(folds=1, training=330, validation=61, embargo=84)
SESSIONS = SIZES.before_tests + 70


@pytest.fixture(scope="module")
def history():
    return sp500_modelled.load_history()


@pytest.fixture(scope="module")
def fold(history):
    """One fold of sessions in the middle of the history, and those sessions."""
    dates = history.history.date[FIRST : FIRST + SESSIONS].tolist()
    return make_folds(len(dates), SIZES)[0], dates


def altered(history, after):
    """The same history with other closes and another VIX on every session after a date."""
    series = history.history
    later = series.date > np.datetime64(after)
    swing = 1.0 + 0.15 * np.sin(np.arange(len(series.date)) / 9.0)
    return history._replace(
        history=series._replace(
            close=np.where(later, series.close * swing, series.close),
            vix=np.where(later, np.clip(1.4 * series.vix * swing, 0.09, 0.9), series.vix),
        )
    )


@pytest.fixture(scope="module")
def trained(history, fold, tmp_path_factory):
    """Builds the fold's market on a history and trains in it for five iterations: market, world, weights by rung."""

    def build(name, found, window_worlds):
        mine, dates = fold
        root = tmp_path_factory.mktemp(name)
        base = smoke()
        config = dataclasses.replace(
            base,
            env=EnvConfig(horizon=21),
            worlds=WorldsConfig(historical=1.0, heston=0.5) if window_worlds else WorldsConfig(),
            device="cpu",
            compile_env="off",
            market=dataclasses.replace(base.market, **market_of(mine, dates)),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sp500_modelled, "load_history", lambda: found)
            market = load_market(fold_tensors(config.market, Places(root / "data"), SIZES.embargo))
        env, heldout = envs_on(config, market)
        result = train(config, env, run_dir=root / "run", heldout_env=heldout)
        weights = {rung: torch_file(result.checkpoints[rung]) for rung in RUNGS}
        world = world_of(market, config.worlds, 21) if window_worlds else None
        return market, world, weights

    return build


def torch_file(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same_weights(one, other):
    return all(torch.equal(one[rung][name], other[rung][name]) for rung in RUNGS for name in one[rung])


@pytest.fixture(scope="module", params=[True, False], ids=["in worlds", "on the dates"])
def three(request, history, fold, trained):
    """The fold on the history itself, on one with another future, and on one that differs on the last training day."""
    last = fold[1][fold[0].train.stop - 1]
    return [
        trained("real", history, request.param),
        trained("future", altered(history, last), request.param),
        trained("past", altered(history, last - timedelta(days=40)), request.param),
    ]


def test_another_future_changes_no_weight(three):
    (_, _, real), (_, _, future), (_, _, past) = three
    assert same_weights(real, future)
    assert not same_weights(real, past)


def test_another_future_changes_no_scaler_and_no_surface(three):
    """Every quote and feature of the training dates is the same to the bit; those of the test are others."""
    (real, _, _), (future, _, _), (past, _, _) = three
    start, stop = real.split("train")
    assert real.info["splits"] == future.info["splits"]
    assert real.info["scaler"] == future.info["scaler"] != past.info["scaler"]
    rows = int(real.row_offset_T1[stop])
    assert rows == int(future.row_offset_T1[stop])
    for name in ("bid_Q", "ask_Q", "mark_Q", "implied_vol_Q", "delta_Q"):
        assert torch.equal(getattr(real, name)[:rows], getattr(future, name)[:rows]), name
    assert torch.equal(real.features_TF[start:stop], future.features_TF[start:stop])
    first, last = real.split("test")
    assert not torch.equal(real.spot_T[first:last], future.spot_T[first:last])


def test_another_future_changes_no_world(three):
    (_, real, _), (_, future, _), (_, past, _) = three
    if real is None:
        pytest.skip("trained on the dates: there is no world")
    assert real.paths.fit == future.paths.fit != past.paths.fit
    assert real.surface == future.surface
    for name, one, other in zip(real.paths.days._fields, real.paths.days, future.paths.days, strict=True):
        assert torch.equal(one, other), name


def test_the_surface_is_fitted_to_the_folds_own_training_dates(history, fold):
    """Of a rolling fold from its first training date on; what came before is known, and not fitted to."""
    from clstm_core.config import MarketConfig

    mine, dates = fold
    settings = market_of(mine, dates)

    def reversion(found, **changes):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sp500_modelled, "load_history", lambda: found)
            return sp500_modelled.SP500Modelled(MarketConfig(**(settings | changes))).world.reversion

    last = dates[mine.train.stop - 1]
    usual = reversion(history)
    assert reversion(altered(history, last)) == usual
    assert reversion(altered(history, last - timedelta(days=90))) != usual
    assert reversion(history, first_date="1995-01-03") != usual


def test_a_folds_market_ends_with_its_test(three, fold):
    mine, dates = fold
    for market, _, _ in three:
        days = (market.snapshot_T.numpy() // 86_400_000_000_000).astype("datetime64[D]").tolist()
        assert days == dates[mine.train.start : mine.test.stop]
