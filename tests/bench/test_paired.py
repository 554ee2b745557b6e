"""Two checkouts beside each other: the interval of a median, and a checkout that is none."""

import json
import sys

import pytest

from tools.bench import paired


def test_the_interval_holds_the_median_and_is_that_of_few_pairs():
    ratios = [1.9, 2.0, 2.1, 2.2, 3.0]
    low, high = paired.interval(ratios)
    assert (low, high) == paired.interval(ratios)
    assert 1.9 <= low < 2.1 < high <= 3.0


def test_what_is_no_checkout_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["paired", "--before", str(tmp_path), "--after", str(tmp_path), "--market", str(tmp_path)]
    )
    monkeypatch.setattr(paired, "WORKER", "import no_such_module")
    with pytest.raises(SystemExit, match=r"No module named .no_such_module.\. Pass a checkout"):
        paired.main()


def test_both_checkouts_are_measured_in_turns(monkeypatch, capsys):
    said = []

    def worker(checkout, asked):
        said.append((checkout.name, json.loads(asked)))
        if said[-1][1].get("told"):
            return '{"n_envs": 128}'
        return "3.0" if checkout.name == "old" else "1.5"

    monkeypatch.setattr(paired, "_said", worker)
    monkeypatch.setattr(sys, "argv", ["paired", "--before", "old", "--after", "new", "--market", ".", "--pairs", "3"])
    assert paired.main() == 0
    (told, _), *measured = said
    assert told == "old", "the recipe is the older one's"
    assert [name for name, _ in measured] == ["old", "new", "new", "old", "old", "new"]
    assert all(asked["settings"] == {"n_envs": 128} for _, asked in measured), "both are given that recipe"
    assert "median 2.00 times the rate" in capsys.readouterr().out
