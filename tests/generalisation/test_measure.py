"""A whole ladder through every kind of market there is: what is walked where, and that it follows from its seed."""

import dataclasses
import math

import pytest
import torch

from clstm_core.checkpoint import save_checkpoint
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.evaluation.generalisation import KINDS, generalises, growth, home_of
from clstm_core.generalisation import kinds
from clstm_core.generalisation.kinds import kinds_of
from clstm_core.generalisation.measure import Rung, measure, walk_kind
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION

HORIZON = 6  # of the fixtures
FEW = {"episodes": 12, "compared": 16}


@pytest.fixture
def ladder(tmp_path, config, trained_through):
    """Two rungs of a run that trains in worlds, 16 envs for some steps each."""
    settings = config(historical=1.0)

    def rung(milestone: str):
        torch.manual_seed(int(milestone))
        model = CLSTM(len(OBSERVATION), len(ACTIONS), settings.model)
        meta = {
            "milestone": milestone,
            "env_steps": 16 * int(milestone),
            "config": settings.to_dict(),
            "observation_size": len(OBSERVATION),
            "n_actions": len(ACTIONS),
        }
        state = trained_through(settings, n=16, steps=int(milestone), warmup=5)
        return save_checkpoint(tmp_path / "checkpoints" / milestone, model=model.state_dict(), state=state, meta=meta)

    return {milestone: rung(milestone) for milestone in ("020", "100")}


def test_a_run_in_worlds_is_walked_in_fresh_ones_other_families_and_on_dates(market, config):
    found = {kind.name: kind for kind in kinds_of(market, config(historical=1.0, heston=1.0))}
    assert list(found) == [
        *("training_worlds", "training_dates", "fresh_worlds", "blocks", "bates", "validation_dates"),
    ]  # validation days are too few to make worlds of
    assert set(found) <= set(KINDS)
    assert {name for name, kind in found.items() if len(kind.modes) == 2} == {"training_worlds", "fresh_worlds"}
    assert found["training_worlds"].market.paths.seed != found["fresh_worlds"].market.paths.seed
    assert torch.equal(found["training_worlds"].market.paths.edges, found["fresh_worlds"].market.paths.edges)
    assert found["fresh_worlds"].draws == math.inf
    assert found["validation_dates"].window == market.split("validation")
    assert {found[name].label for name in ("fresh_worlds", "validation_dates")} == {"simulated quotes"}


def test_a_run_on_dates_is_walked_in_worlds_made_of_them(market, config):
    found = [kind.name for kind in kinds_of(market, config())]
    assert found == [
        *("training_dates", "fresh_worlds", "historical", "blocks", "heston", "bates", "validation_dates"),
    ]


def test_fresh_worlds_are_without_end_whatever_training_had(market, config):
    found = {kind.name: kind for kind in kinds_of(market, config(historical=1.0, years=2.0))}
    assert found["training_worlds"].draws == found["training_worlds"].market.paths.n_paths == 84
    assert found["fresh_worlds"].market.paths.n_paths == 1 << 40


def test_a_market_too_short_for_worlds_is_walked_on_its_dates(market, config):
    short = dataclasses.replace(market, info={**market.info, "splits": {"train": (0, 120)}})
    assert [kind.name for kind in kinds_of(short, config())] == ["training_dates"]


@pytest.mark.parametrize("error", [ConfigError, MarketDataError])
def test_what_else_goes_wrong_is_raised_and_not_called_a_short_window(market, config, monkeypatch, error):
    def broken(*_, **__):
        raise error("something else")

    monkeypatch.setattr(kinds, "world_of", broken)
    for settings in (config(), config(historical=1.0)):
        with pytest.raises(error, match="something else"):
            kinds_of(market, settings)


def test_worlds_are_made_of_any_window_that_is_long_enough_and_of_no_other(market, config):
    from clstm_core.market.worlds.training import world_of

    longest = market.split("train")[1]
    for horizon in (6, 200, 220, 240, longest - 26, longest - 25, longest - 24, longest):
        settings = config()
        settings = dataclasses.replace(settings, env=dataclasses.replace(settings.env, horizon=horizon))
        made = "fresh_worlds" in [kind.name for kind in kinds_of(market, settings)]
        try:
            world_of(market, config(historical=1.0).worlds, horizon)
        except ConfigError:
            assert not made
        else:
            assert made


@pytest.mark.parametrize(("room", "told"), [(0, False), (1, False), (HORIZON, True)])
def test_a_window_with_room_for_one_start_has_no_interval(market, config, policies, room, told):
    """Episodes that all begin on one date are one, and one after it shares all but a session with it."""
    start, _ = market.split("validation")
    splits = market.info["splits"] | {"validation": (start, start + HORIZON + 1 + room)}
    short = dataclasses.replace(market, info={**market.info, "splits": splits})
    (kind,) = [kind for kind in kinds_of(short, config(), episodes=64) if kind.name == "validation_dates"]
    assert kind.draws == (HORIZON + room) / HORIZON
    (row,), _ = walk_kind({"100": Rung(policies["always"]("near_long_call"), 0, {})}, kind, config())
    assert (row["error_bps"] is not None) == told
    assert ("too few episodes for an interval" in str(growth(row))) != told


def test_every_rung_has_every_figure_and_the_same_again(market, config, ladder):
    settings = config(historical=1.0)
    told = []
    found = measure(ladder, market, settings, progress=lambda done, total: told.append((done, total)), **FEW)
    found_kinds = kinds_of(market, settings)
    walks = sum(len(kind.modes) for kind in found_kinds)
    assert told == [(n, len(found_kinds)) for n in range(1, len(found_kinds) + 1)]
    assert [row["milestone"] for row in found.rows] == ["020"] * walks + ["100"] * walks
    assert home_of(found.rows) == "training_worlds"
    for row in found.rows:
        assert row["sessions"] <= row["episodes"] * settings.env.horizon
        assert math.isfinite(row["growth_bps"])
        assert row["error_bps"] > 0
        at_home = row["kind"] == "training_worlds"
        alone = row["mode"] == "argmax" or row["kind"] == "fresh_worlds"
        assert (row["gap_bps"] is None) == (at_home or not alone)
    assert {row["milestone"] for row in found.habits} == set(ladder)
    assert len(found.habits) == 6
    assert found.rules[0]["per_risk"] == max(rule["per_risk"] for rule in found.rules)
    assert measure(ladder, market, settings, **FEW) == found
    assert "checkpoint 100%" in generalises(found.rows).words


def test_the_days_that_paths_share_widen_what_is_known_of_rules_too(market, config, ladder, monkeypatch):
    """Of worlds with a share of `history` all paths walk the same days."""
    asked = []
    monkeypatch.setattr("clstm_core.generalisation.measure.best_rules", lambda *_, **given: asked.append(given) or [])
    for shares in ({"historical": 1.0}, {"historical": 1.0, "history": 1.0}):
        measure({"100": ladder["100"]}, market, config(**shares), episodes=4, compared=4)
    start, stop = market.split("train")
    assert [given["draws"] for given in asked] == [math.inf, (stop - start) / HORIZON / 0.25]


def test_two_processes_find_what_one_does(market, config, ladder, tmp_path, monkeypatch):
    from clstm_core.generalisation import measure as measured
    from clstm_core.market.tensors import write_market

    (tmp_path / "market").mkdir()
    write_market(market, tmp_path / "market")
    settings = config(historical=1.0)
    alone = measure(ladder, market, settings, **FEW)
    monkeypatch.setattr(measured, "WORTH_A_PROCESS", 0)
    both = measure(ladder, market, settings, market_folder=tmp_path / "market", **FEW)
    assert [(row["milestone"], row["kind"], row["mode"]) for row in both.rows] == [
        (row["milestone"], row["kind"], row["mode"]) for row in alone.rows
    ]
    assert [row["growth_bps"] for row in both.rows] == pytest.approx([row["growth_bps"] for row in alone.rows])
    assert both.habits == alone.habits


def test_what_cannot_be_measured_does_not_pass():
    found = generalises([])
    assert not found.passed
    assert "Not measured" in found.words
