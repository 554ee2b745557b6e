"""Each run works on its own parents, whatever else is materialized in the same installation meanwhile."""

import json

import pytest

from assets.critic_warmup import warm_critic
from assets.environment_audit import environment_audit
from assets.market_data import market_quotes, market_tensors
from clstm_core.artifacts.manifests import (
    BacktestManifest,
    BacktestSet,
    BundleManifest,
    CheckpointManifest,
    ComparisonManifest,
    QuotesManifest,
    ReportManifest,
    RunInputs,
    TensorsManifest,
)
from clstm_core.artifacts.places import Places


def walked_back(data, run):
    """Number of snapshots of the market that a run's report goes back to, every link of the chain verified."""
    places = Places(data)
    folder = places.run(run)
    report = ReportManifest.read(folder.report)
    bundle = BundleManifest.read(places.bundle(run) / "manifest.json", identity=report.parents["bundle"])
    comparison = ComparisonManifest.read(folder.comparison, identity=report.parents["comparison"])
    assert bundle.parents["comparison"] == comparison.identity
    inputs = RunInputs.read(folder.inputs, identity=comparison.parents["inputs"])
    assert bundle.parents["inputs"] == inputs.identity
    for asset in ("policy_backtests", "baseline_backtests"):
        kept = BacktestSet.read(folder.backtests(asset), identity=comparison.parents[asset])
        for name, identity in kept.parents.items():
            backtest = BacktestManifest.read(places.backtests / name / "manifest.json", identity=identity)
            assert backtest.parents["tensors"] == inputs.data_sha256
            if backtest.facts["policy"] == "matched_random":
                assert backtest.facts["trader"]["matched"]["backtest"] in kept.parents
            elif asset == "policy_backtests":
                rung = folder.checkpoint(backtest.facts["milestone"]) / "manifest.json"
                checkpoint = CheckpointManifest.read(rung, identity=backtest.parents["checkpoint"])
                assert checkpoint.parents["inputs"] == inputs.identity
                assert checkpoint.parents["training_tensors"] == inputs.training_data_sha256
    tensors = TensorsManifest.read(places.tensors(inputs.data_sha256) / "manifest.json", identity=inputs.data_sha256)
    quotes = QuotesManifest.read(
        places.quotes(tensors.parents["quotes"]) / "manifest.json", identity=tensors.parents["quotes"]
    )
    return quotes.counts["snapshots"]


@pytest.mark.slow
def test_two_chains_interleaved_step_by_step_keep_their_own_parents(chain, verdict, stages):
    verdict()
    order, ops = stages
    chains = {260: chain("one", n_snapshots=260), 230: chain("two", n_snapshots=230)}
    for number, stage in enumerate(order):
        for found in list(chains.values())[:: 1 if number % 2 else -1]:  # now the one first, now the other
            result = found.stage(stage, ops=ops)
            assert result.success
    for snapshots, found in chains.items():
        assert walked_back(found.data, found.run) == snapshots
        page = (found.home / "reports" / "generated" / found.run / "index.html").read_text()
        assert found.run in page
    one, two = (json.loads((found.folder / "inputs.json").read_text()) for found in chains.values())
    assert one["parents"]["tensors"] != two["parents"]["tensors"]


def test_an_interrupted_demo_leaves_no_market_to_others(chain, verdict, said):
    verdict()
    chain("two", n_snapshots=5).does(market_quotes)  # newer, and too short for anything
    found = chain("one")
    assert "Materialize market_quotes with the same recipe first" in said(found.stage(market_tensors))
    found.does(market_quotes)
    chain("two", n_snapshots=5).does(market_quotes)
    found.does(market_tensors, environment_audit, warm_critic)
    assert RunInputs.read(found.folder / "inputs.json").config["market"]["n_snapshots"] == 260


@pytest.mark.parametrize(
    "name", ["../evil", "a/b", "with space", ".hidden", "a...b", "ünï", "-rf", "字" * 40, "x" * 101]
)
def test_a_name_that_cannot_be_a_run_is_refused_before_anything_starts(chain, instance, said, name):
    instance.add_dynamic_partitions("training_run", [name])
    for stage in (market_quotes, warm_critic):
        found = chain(name)
        assert "Pass another RUN" in said(found.stage(stage))
        assert not found.data.exists()


def test_another_recipe_under_the_same_name_sets_the_run_aside(chain, trained):
    kept = RunInputs.read(trained.folder / "inputs.json")
    other = chain("one", n_snapshots=230).does(market_quotes, market_tensors, environment_audit, warm_critic)
    assert RunInputs.read(other.folder / "inputs.json").data_sha256 != kept.data_sha256
    (aside,) = (other.data / "set_aside").iterdir()
    assert RunInputs.read(aside / "inputs.json").identity == kept.identity
    assert (aside / "checkpoints" / "100").is_dir()


def test_a_new_setting_with_a_default_sets_no_run_aside(chain, verdict):
    verdict()
    found = chain().does(market_quotes, market_tensors, environment_audit, warm_critic)
    place = found.folder / "inputs.json"
    inputs = RunInputs.read(place)
    older = {name: value for name, value in inputs.config.items() if name != "ppo"}
    older["ppo"] = {name: value for name, value in inputs.config["ppo"].items() if name != "gae_lambda"}
    assert older["ppo"] != inputs.config["ppo"]
    from dataclasses import replace

    from assets.critic_warmup import _same

    assert _same(replace(inputs, config=older), inputs)
    assert not _same(replace(inputs, config=older | {"seed": 5}), inputs)
