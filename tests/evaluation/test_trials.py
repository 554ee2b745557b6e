"""The trial count goes by dates: whatever tensors stand for them, whoever looked, and what looked before."""

import itertools
import json

import pytest

from clstm_core.evaluation.trials import (
    Trial,
    append_trials,
    base_trials,
    count_before,
    count_trials,
    read_trials,
    trials_of,
)

YEARS = ("2017-01-03", "2022-12-28")


def manifest(milestone="020", mode="argmax", seed=0, config="c", lag=1, policy="checkpoint", dates=YEARS, data="d1"):
    return {
        "policy": policy,
        "source": "sp500_modelled",
        "milestone": milestone,
        "mode": mode,
        "seed": seed,
        "config_sha256": config,
        "first_date": dates[0],
        "last_date": dates[1],
        "window": {"name": "test"},
        "fill_lag": lag,
        "data_sha256": data,
        "trader": {"checkpoint": {"sha256": f"weights of {milestone}"} if policy == "checkpoint" else None},
    }


LOOKS = [
    *(manifest(*what) for what in itertools.product(("020", "040"), ("argmax", "stochastic"), (0, 1), ("c", "d"))),
    manifest(lag=0),
    manifest(data="other tensors of the same dates"),
    manifest(policy="cash", milestone="", mode=""),
]


def test_lags_tensors_and_baselines_make_no_other_trial():
    found = trials_of(LOOKS, "code")
    assert len(found) == 2 * 2 * 2 * 2
    assert count_trials(found, "sp500_modelled", *YEARS) == 16
    assert trials_of([]) == []


@pytest.mark.parametrize(
    ("first", "last", "seen"),
    [
        ("2022-12-28", "2024-01-01", True),
        ("2022-12-29", "2024-01-01", False),
        ("2010-01-01", "2017-01-03", True),
        ("2010-01-01", "2017-01-02", False),
        ("2019-01-01", "2019-02-01", True),
    ],
)
def test_a_window_is_its_dates(first, last, seen):
    assert count_trials(trials_of([manifest()]), "sp500_modelled", first, last) == int(seen)
    assert count_trials(trials_of([manifest()]), "spx_cboe", first, last) == 0


def test_other_code_is_another_trial():
    both = trials_of([manifest()], "one") + trials_of([manifest()], "two")
    assert count_trials(both, "sp500_modelled", *YEARS) == 2


def test_the_ledger_only_grows_and_holds_each_trial_once(tmp_path):
    ledger = tmp_path / "data" / "trials.jsonl"
    assert read_trials(ledger) == []
    assert append_trials(ledger, trials_of(LOOKS, "code")) == 16
    before = ledger.read_bytes()
    assert append_trials(ledger, trials_of(LOOKS, "code")) == 0
    assert append_trials(ledger, trials_of(LOOKS[:1], "other code")) == 1
    assert ledger.read_bytes().startswith(before)
    assert count_trials(read_trials(ledger), "sp500_modelled", *YEARS) == 17


def test_a_damaged_line_still_counts(tmp_path):
    ledger = tmp_path / "trials.jsonl"
    append_trials(ledger, trials_of(LOOKS[:2]))
    lines = ledger.read_text().splitlines()
    ledger.write_text("\n".join([lines[0], lines[1][:20], json.dumps({"source": "x"}), ""]))
    found = read_trials(ledger)
    assert [type(trial) for trial in found] == [Trial, type(None), type(None)]
    assert count_trials(found, "sp500_modelled", *YEARS) == 3


def test_what_looked_before_ships_with_the_package_and_says_how_it_was_counted():
    assert all(row["how"] and row["policies"] > 0 for row in base_trials())
    assert count_before("sp500_modelled", "2019-01-01", "2022-12-28") == 40
    assert count_before("sp500_modelled", *YEARS) == 70
    assert count_before("sp500_modelled", "2013-01-01", "2016-12-31") == 0
    assert count_before("spx_cboe", *YEARS) == 0
