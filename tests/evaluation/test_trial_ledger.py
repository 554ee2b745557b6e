"""The trial registry: by dates and never from zero, entered once, and no line goes missing unnoticed."""

import hashlib
import json
import threading
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from skfolio.measures import expected_max_sharpe_ratio

from clstm_core.artifacts.places import Places
from clstm_core.errors import EvaluationError
from clstm_core.evaluation import trial_ledger
from clstm_core.evaluation.track_record import TrackRecord, track_record
from clstm_core.evaluation.trial_ledger import base_entries, enter, known, known_to, place_of

NOW = "2026-11-25T12:00:00+00:00"
FREE_OF_BASE = ("2026-02-20", "2026-07-21")
DEFAULT = ("2017-03-06", "2022-12-28")


def looked(milestone="020", mode="argmax", dates=FREE_OF_BASE, label="real quotes", policy="checkpoint", **facts):
    manifest = {
        "policy": policy,
        "mode": mode,
        "milestone": milestone,
        "seed": 0,
        "config_sha256": "c",
        "run": "r",
        "label": label,
        "data_sha256": "d" * 64,
        "window": {"name": "test"},
        "first_date": dates[0],
        "last_date": dates[1],
        "fill_lag": 1,
        "trader": {"checkpoint": {"sha256": f"weights of {milestone}", "folder": f"runs/r/checkpoints/{milestone}"}},
    }
    return SimpleNamespace(manifest=manifest | facts)


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path / "data")


def entered(places, dates=FREE_OF_BASE, **options):
    return known(places, first_date=dates[0], last_date=dates[1], **options).entered


def test_a_fresh_clone_does_not_begin_at_zero(places):
    found = known(places, first_date=DEFAULT[0], last_date=DEFAULT[1])
    assert found.entered == 0
    assert found.base == found.total == sum(entry["policies"] for entry in base_entries()) >= 70
    assert all(entry["counted"] for entry in base_entries())
    later = known(places, first_date="2019-01-01", last_date="2019-12-31")
    assert 0 < later.base < found.base
    assert known(places, first_date=FREE_OF_BASE[0], last_date=FREE_OF_BASE[1]).total == 0


def test_what_looks_again_is_entered_once(places):
    both = [looked(), looked("040"), looked(mode="stochastic"), looked(policy="cash")]
    assert enter(places, both, NOW) == 3
    assert enter(places, both, NOW) == 0
    assert entered(places) == 3
    assert known_to(places, both).total == 3


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"config_sha256": "another"},
        {"trader": {"checkpoint": {"sha256": "other weights", "folder": None}}},
        {"mode": "stochastic"},
    ],
)
def test_another_seed_configuration_or_checkpoint_is_another_trial(places, change):
    enter(places, [looked(), looked(**change)], NOW)
    assert entered(places) == 2


def test_other_code_is_another_trial(places, monkeypatch):
    enter(places, [looked()], NOW)
    monkeypatch.setattr(trial_ledger, "code_sha256", lambda *modules: "other code")
    enter(places, [looked()], NOW)
    assert entered(places) == 2


@pytest.mark.parametrize(
    "change", [{"fill_lag": 0}, {"data_sha256": "e" * 64}, {"world": "stressed"}, {"run": "again"}]
)
def test_other_tensors_lags_worlds_and_names_of_the_same_dates_are_no_other_trial(places, change):
    enter(places, [looked(), looked(**change)], NOW)
    assert entered(places) == 1


def test_it_is_dates_that_count_whatever_the_window_is_called(places):
    enter(places, [looked(window={"name": "validation"}), looked("040", dates=("2026-07-21", "2026-09-01"))], NOW)
    assert entered(places) == 2
    assert entered(places, ("2026-07-22", "2026-08-01")) == 1
    assert entered(places, ("2026-09-02", "2026-09-03")) == 0


def test_dates_of_a_simulated_world_are_its_own(places):
    simulated = looked(dates=DEFAULT, label="simulated quotes")
    enter(places, [simulated], NOW)
    assert known(places, first_date=DEFAULT[0], last_date=DEFAULT[1]).entered == 0
    assert known_to(places, [simulated]) == trial_ledger.Known(base=0, entered=1)
    other = looked(dates=DEFAULT, label="simulated quotes", data_sha256="e" * 64)
    assert known_to(places, [other]).total == 0


@pytest.mark.parametrize(
    "harm",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0].replace("weights of 020", "weights of 021"), *lines[1:]],
        lambda lines: [*lines[:2], "{}", *lines[2:]],
        lambda lines: [*lines, "no object"],
    ],
)
def test_a_line_taken_out_put_in_or_altered_is_a_sentence(places, harm):
    enter(places, [looked(), looked("040"), looked("060")], NOW)
    place = place_of(places)
    place.write_text("\n".join(harm(place.read_text().splitlines())) + "\n")
    for ask in (lambda: entered(places), lambda: enter(places, [looked("080")], NOW)):
        with pytest.raises(EvaluationError, match=r"altered trial registry .*: line \d does not follow"):
            ask()


def test_a_torn_last_line_was_never_entered(places):
    enter(places, [looked(), looked("040")], NOW)
    place = place_of(places)
    place.write_bytes(place.read_bytes()[:-20])
    assert entered(places) == 1
    assert enter(places, [looked(), looked("040")], NOW) == 1
    assert entered(places) == 2


def enter_some(root, first):
    enter(Places(root), [looked(f"{first + k:03d}") for k in range(20)], NOW)


def test_writers_that_enter_at_once_lose_nothing(places):
    """Each opens the file for itself, so that threads meet the same lock as processes do."""
    threads = [threading.Thread(target=enter_some, args=(places.root, 100 * k)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered(places) == 80
    assert len(place_of(places).read_text().splitlines()) == 80


def test_weights_that_two_runs_share_are_one_trial(places):
    results = []
    for run in ("one", "two"):
        folder = places.root / "runs" / run / "checkpoints" / "020"
        folder.mkdir(parents=True)
        text = json.dumps({"files": {"model.safetensors": "the same"}, "run": run})
        (folder / "manifest.json").write_text(text)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        checkpoint = {"sha256": sha256, "folder": f"runs/{run}/checkpoints/020"}
        results.append(looked(run=run, trader={"checkpoint": checkpoint}))
    enter(places, results, NOW)
    assert entered(places) == 1


class Curve:
    """A backtest with a curve of given daily returns."""

    def __init__(self, name, returns, steps):
        self.id = self.name = name
        self.manifest = {"policy": "checkpoint", "mode": "argmax", "trader": {"checkpoint": {"env_steps": steps}}}
        self._returns = returns

    def curves(self):
        equity = np.concatenate([[1.0], np.cumprod(1.0 + self._returns)])[:, None]
        return equity, np.zeros(len(self._returns)), pl.Series(range(len(self._returns) + 1))


def test_the_published_example_and_its_expected_maximum():
    """Bailey and Lopez de Prado 2014: SR0 = 0.1132 of 100 trials whose annual ratios have a variance of 1/2."""
    assert expected_max_sharpe_ratio(100, np.sqrt(0.5 / 250)) == pytest.approx(0.1132, abs=5e-5)


def test_more_trials_deflate_more():
    rng = np.random.default_rng(0)
    members = [Curve(f"rung {k}", rng.normal(0.0005, 0.01, 500), k) for k in range(5)]
    found = [track_record(members[0], members, trials) for trials in (1, 10, 100)]
    assert all(isinstance(item, TrackRecord) for item in found)
    assert found[0].expected_maximum == 0.0
    assert found[0].dsr > found[1].dsr > found[2].dsr
    assert "100 policies without skill" in found[2].words


def test_few_returns_and_none_that_vary_have_no_deflated_ratio():
    short = [Curve("a", np.full(10, 0.01), 1)]
    flat = [Curve("a", np.zeros(300), 1)]
    assert track_record(short[0], short, 10) is None
    assert track_record(flat[0], flat, 10) is None
