"""A whole ladder through every kind of market there is: what is walked where, and that it follows from its seed."""

import dataclasses
import math

import pytest
import torch

from clstm_core.checkpoint import save_checkpoint
from clstm_core.evaluation.generalisation import KINDS, generalises, home_of
from clstm_core.generalisation.kinds import kinds_of
from clstm_core.generalisation.measure import measure
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, OBSERVATION

FEW = {"episodes": 12, "compared": 16}


@pytest.fixture
def ladder(tmp_path, config):
    """Two rungs of a run that trains in worlds."""
    settings = config(historical=1.0)

    def rung(milestone: str):
        torch.manual_seed(int(milestone))
        model = CLSTM(len(OBSERVATION), len(ACTIONS), settings.model)
        meta = {
            "milestone": milestone,
            "env_steps": int(milestone),
            "config": settings.to_dict(),
            "observation_size": len(OBSERVATION),
            "n_actions": len(ACTIONS),
        }
        return save_checkpoint(tmp_path / "checkpoints" / milestone, model=model.state_dict(), state={}, meta=meta)

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


def test_every_rung_has_every_figure_and_the_same_again(market, config, ladder):
    settings = config(historical=1.0)
    told = []
    found = measure(ladder, market, settings, progress=lambda done, total: told.append((done, total)), **FEW)
    kinds = kinds_of(market, settings)
    walks = sum(len(kind.modes) for kind in kinds)
    assert told == [(n, len(kinds)) for n in range(1, len(kinds) + 1)]
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
    assert measure(ladder, market, settings, **FEW) == found
    assert "rung 100" in generalises(found.rows).words


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
