"""Products of bfloat16: proven besides in float32, kept by a resumed run, and never far from float32."""

import dataclasses
import json

import pytest

from clstm_core.checkpoint import load_checkpoint
from clstm_core.config import ModelConfig, seed_100m
from clstm_core.errors import SelfTestError
from clstm_core.model import engine, lstm_kernel
from clstm_core.ppo.learner import Learner
from clstm_core.ppo.self_test import EXACT, ROUNDED, require, run_self_test
from clstm_core.train.loop import train

WHY_NOT = lstm_kernel.why_not(32, half=True)
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture
def half(tiny):
    return dataclasses.replace(tiny(model=ModelConfig(hidden_dim=32)), precision="bfloat16")


def test_the_self_test_is_passed_in_float32_and_with_its_own_tolerance_in_bfloat16(half, toys):
    learner = Learner(half, toys.NoiseEnv(8, length=6))
    rounded = require(run_self_test(learner.model, learner.env, half.ppo, tolerance=ROUNDED), ROUNDED)
    with learner.in_precision(engine.FLOAT32):
        exact = require(run_self_test(learner.model, learner.env, half.ppo))
    assert exact.state_at_start != rounded.state_at_start
    assert learner.model.actor_trunk.lstm.kernel.half


def test_a_forgotten_state_is_noticed_within_the_wider_tolerance(half, toys):
    learner = Learner(half, toys.NoiseEnv(8, length=6))

    def forget(data):
        return data._replace(start=data.start | (data.start.new_ones(data.start.shape)))

    report = run_self_test(learner.model, learner.env, half.ppo, plant=forget, tolerance=ROUNDED)
    with pytest.raises(SelfTestError, match=r"expected at most 0\.05"):
        require(report, ROUNDED)


def test_a_run_says_and_keeps_its_precision(half, toys, tmp_path):
    def go(config, stop=None):
        return train(config, toys.NoiseEnv(8, seed=1), run_dir=tmp_path, stop=stop)

    automatic = dataclasses.replace(half, precision="auto")
    part = go(automatic, stop=lambda: True)
    first = load_checkpoint(tmp_path / "checkpoints" / "latest").meta
    assert first["precision"] in (engine.FLOAT32, engine.BFLOAT16)
    assert first["precision"] in first["engine"]
    assert first["engine"] == part.engine
    with pytest.MonkeyPatch.context() as patch:  # a resume measures nothing
        other = engine.BFLOAT16 if first["precision"] == engine.FLOAT32 else engine.FLOAT32
        patch.setattr("clstm_core.ppo.learner.chosen", lambda *_: other)
        go(automatic)
    assert load_checkpoint(tmp_path / "checkpoints" / "100").meta["precision"] == first["precision"]


def test_the_self_tests_of_both_precisions_stay_with_the_run(half, toys, tmp_path):
    train(half, toys.NoiseEnv(8, seed=1), run_dir=tmp_path, stop=lambda: True)
    report = json.loads((tmp_path / "self_test.json").read_text())
    assert report["max_ratio_error"] <= EXACT.ratio
    assert report["bfloat16"]["max_ratio_error"] <= ROUNDED.ratio
    assert report["bfloat16"]["passed"]


def test_learning_in_bfloat16_stays_close_to_float32(half, toys):
    curves = []
    for precision in (engine.FLOAT32, engine.BFLOAT16):
        learner = Learner(dataclasses.replace(half, precision=precision), toys.NoiseEnv(8, seed=1))
        learner.warm_up()
        curves.append([learner.iterate() for _ in range(3)])
    for one, other in zip(*curves, strict=True):
        for name in ("value_loss", "entropy", "mean_reward", "bootstrapped_explained_variance"):
            assert one[name] == pytest.approx(other[name], rel=0.05, abs=0.02), name


def test_the_published_recipe_takes_the_faster_precision():
    assert seed_100m().precision == "auto"
