"""A run that trains in worlds names the market that these are made of, and goes on with no other."""

import dataclasses

import pytest

from clstm_core.artifacts.manifest import write_named_by_content
from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, FineTuneConfig, MarketConfig, WorldsConfig
from clstm_core.errors import CheckpointError, ClstmError
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.tensors import load_market, write_market
from clstm_core.train.adopt import require_policy
from clstm_core.train.command import main
from clstm_core.train.envs import envs_on
from clstm_core.train.loop import train

HORIZON = 6


@pytest.fixture
def config(tiny):
    return dataclasses.replace(
        tiny(iterations=5), env=EnvConfig(horizon=HORIZON), worlds=WorldsConfig(historical=1.0), compile_env="off"
    )


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "data")


@pytest.fixture
def markets(places):
    """Two markets of the same shape, in the cache."""

    def made(seed):
        settings = MarketConfig(
            source="simulated",
            n_snapshots=520,
            train_fraction=0.6,
            validation_fraction=0.2,
            near_days=7.0,
            far_days=14.0,
            seed=seed,
        )
        market = simulated_market(settings, embargo=HORIZON + settings.feature_lookback)
        written = write_named_by_content(places.cache / "tensors", lambda place: write_market(market, place))
        return load_market(places.tensors(written.identity), identity=written.identity)

    return made(0), made(1)


def test_it_names_its_market_refuses_another_and_is_resumed(config, places, markets, capsys):
    folder, (one, other) = places.run("worlds").path, markets
    assert one.identity != other.identity
    assert not train(config, envs_on(config, one)[0], run_dir=folder, stop=lambda: True).completed
    assert RunInputs.read(folder / "inputs.json").training_data_sha256 == one.identity
    for wrong, named in ((other, other.identity[:12]), (dataclasses.replace(one, identity=""), "none")):
        with pytest.raises(CheckpointError, match=f"begun on other market tensors: found {named}"):
            train(config, envs_on(config, wrong)[0], run_dir=folder)
    assert main(["--resume", str(folder)]) == 0, capsys.readouterr().err


def test_inputs_of_another_market_without_a_checkpoint_are_written_anew(config, places, markets):
    from clstm_core.train.run import TrainingRun

    folder = places.run("worlds").path
    for market in markets:
        TrainingRun(config, envs_on(config, market)[0], None, folder)
        assert RunInputs.read(folder / "inputs.json").training_data_sha256 == market.identity


@pytest.mark.parametrize(
    ("worlds", "says"), [(1.0, "fine-tuned in worlds of its newest"), (0.0, "not trained to its end")]
)
def test_a_policy_fine_tuned_in_worlds_is_judged_where_it_was_made_alone(config, places, worlds, says):
    """It lived in two worlds at once: figures of what it earns at home would be of a third."""
    tuned = dataclasses.replace(
        config, worlds=WorldsConfig(historical=worlds), fine_tune=FineTuneConfig(champion="a policy")
    )
    old = places.run("tuned")
    RunInputs(
        run=old.name, config=tuned.to_dict(), config_sha256=tuned.sha256, git_commit="", facts={}, parents={}
    ).write(old.inputs)
    with pytest.raises(ClstmError, match=says):
        require_policy(tuned, old, "judged")
