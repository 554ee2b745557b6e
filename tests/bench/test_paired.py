"""Two checkouts beside each other: the interval of a median, and a checkout that is none."""

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
    seen = []

    def measured(checkout, asked):
        seen.append(checkout.name)
        return 3.0 if checkout.name == "old" else 1.5

    monkeypatch.setattr(paired, "_measured", measured)
    monkeypatch.setattr(sys, "argv", ["paired", "--before", "old", "--after", "new", "--market", ".", "--pairs", "3"])
    assert paired.main() == 0
    assert seen == ["old", "new", "new", "old", "old", "new"]
    assert "median 2.00 times the rate" in capsys.readouterr().out
