"""Products of bfloat16: proven besides in float32, kept by a resumed run, and never far from float32."""

import dataclasses
import json

import pytest

from clstm_core.checkpoint import load_checkpoint
from clstm_core.config import ModelConfig, seed_100m
from clstm_core.errors import ConfigError, SelfTestError
from clstm_core.model import engine, lstm_kernel
from clstm_core.ppo.learner import Learner
from clstm_core.ppo.self_test import EXACT, ROUNDED, require, run_self_test
from clstm_core.train.loop import train

WHY_NOT = lstm_kernel.why_not(32, half=True)
needs_bf16 = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture
def half(tiny):
    return dataclasses.replace(tiny(model=ModelConfig(hidden_dim=32)), precision="bfloat16")


@needs_bf16
def test_the_self_test_is_passed_in_float32_and_with_its_own_tolerance_in_bfloat16(half, toys):
    learner = Learner(half, toys.NoiseEnv(8, length=6))
    rounded = require(run_self_test(learner.model, learner.env, half.ppo, tolerance=ROUNDED), ROUNDED)
    with learner.in_precision(engine.FLOAT32):
        exact = require(run_self_test(learner.model, learner.env, half.ppo))
    assert exact.state_at_start != rounded.state_at_start
    assert learner.model.actor_trunk.lstm.kernel.half


@needs_bf16
def test_a_forgotten_state_is_noticed_within_the_wider_tolerance(half, toys):
    learner = Learner(half, toys.NoiseEnv(8, length=6))

    def forget(data):
        return data._replace(start=data.start | (data.start.new_ones(data.start.shape)))

    report = run_self_test(learner.model, learner.env, half.ppo, plant=forget, tolerance=ROUNDED)
    with pytest.raises(SelfTestError, match=r"expected at most 0\.05"):
        require(report, ROUNDED)


@needs_bf16
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


@needs_bf16
def test_the_self_tests_of_both_precisions_stay_with_the_run(half, toys, tmp_path):
    train(half, toys.NoiseEnv(8, seed=1), run_dir=tmp_path, stop=lambda: True)
    report = json.loads((tmp_path / "self_test.json").read_text())
    assert report["max_ratio_error"] <= EXACT.ratio
    assert report["bfloat16"]["max_ratio_error"] <= ROUNDED.ratio
    assert report["bfloat16"]["passed"]


@needs_bf16
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


def begun_where_there_is_bf16(config, toys, run_dir):
    """A run's first part, of a machine that multiplies bfloat16; its products are faked where this one does not."""

    with pytest.MonkeyPatch.context() as patch:
        if WHY_NOT:
            patch.setattr(engine, "use_kernels", lambda *_: "faked")
            patch.setattr("clstm_core.ppo.learner.use_kernels", lambda *_: "faked")
        patch.setattr("clstm_core.ppo.learner.chosen", lambda *_: engine.BFLOAT16)
        train(config, toys.NoiseEnv(8, seed=1), run_dir=run_dir, stop=lambda: True)
    assert load_checkpoint(run_dir / "checkpoints" / "latest").meta["precision"] == engine.BFLOAT16


def without_bf16(hidden, *, half):
    return "This processor does not multiply bfloat16." if half else WHY_NOT_FLOAT


WHY_NOT_FLOAT = lstm_kernel.why_not(32, half=False)


def test_a_run_that_chose_bfloat16_by_itself_goes_on_in_float32_where_there_is_none(tiny, toys, tmp_path, monkeypatch):
    automatic = dataclasses.replace(tiny(model=ModelConfig(hidden_dim=32)), precision="auto")
    begun_where_there_is_bf16(automatic, toys, tmp_path)
    monkeypatch.setattr(engine, "why_not", without_bf16)
    ended = train(automatic, toys.NoiseEnv(8, seed=1), run_dir=tmp_path)
    assert "float32" in ended.engine
    assert "no longer bfloat16: This processor does not multiply bfloat16." in ended.engine
    assert load_checkpoint(tmp_path / "checkpoints" / "100").meta["precision"] == engine.FLOAT32


def test_a_run_that_asked_for_bfloat16_says_where_it_goes_on(tiny, toys, tmp_path, monkeypatch):
    asked = dataclasses.replace(tiny(model=ModelConfig(hidden_dim=32)), precision="bfloat16")
    begun_where_there_is_bf16(asked, toys, tmp_path)
    monkeypatch.setattr(engine, "why_not", without_bf16)
    with pytest.raises(ConfigError, match="goes on where there is a kernel for it"):
        train(asked, toys.NoiseEnv(8, seed=1), run_dir=tmp_path)
