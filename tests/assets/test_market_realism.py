"""The outside judge only warns: whatever goes wrong in it is said, kept for the report, and stops nothing."""

import json
import shutil

import polars as pl
import pytest

from assets.market_data import market_quotes
from assets.market_realism import market_realism
from assets.reports import backtest_report
from clstm_core import realism_verdict
from clstm_core.artifacts.manifests import RealismVerdict
from clstm_core.market.realism.names import CHECKS
from clstm_core.store.store import MetricsStore


def fails(error):
    """A function that raises, whatever it is called with."""

    def failing(*_args, **_options):
        raise error

    return failing


ERRORS = [
    ZeroDivisionError("division by zero"),
    pl.exceptions.ComputeError("cannot compare"),
    pl.exceptions.PanicException("index out of bounds"),
    OSError(28, "No space left on device"),
    MemoryError(),
    KeyError("close"),
]


def warnings(result):
    """Failed checks of a launch by name: severity and text."""
    found = [e for e in result.get_asset_check_evaluations() if not e.passed]
    return {e.check_name: (e.severity.value, e.description) for e in found}


@pytest.mark.parametrize(
    ("what", "error"),
    [("judge", error) for error in ERRORS]
    + [(what, ERRORS[0]) for what in ("read_table", "sentence", "ensure_realism")],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_fails_in_the_judge_is_a_warning_that_names_it(chain, monkeypatch, what, error):
    mine = chain(n_snapshots=60).does(market_quotes)
    with monkeypatch.context() as patch:
        patch.setattr(realism_verdict, what, fails(error))
        result = mine.stage(market_realism)
    assert result.success
    said = warnings(result)
    assert set(said) == set(CHECKS)
    assert {severity for severity, _ in said.values()} == {"WARN"}
    (text,) = {text for _, text in said.values()}
    named = "No space left on device" if isinstance(error, OSError) else type(error).__name__
    assert "not judged" in text
    assert named in text, text
    (place,) = (mine.data / "cache" / "realism").glob("*.json")
    kept = RealismVerdict.read(place)
    assert (kept.judged, kept.verdict, kept.bands) == (False, text, [])
    gates = MetricsStore(mine.data / "metrics.duckdb").query("SELECT name, passed, blocking, detail FROM gate_results")
    assert {tuple(row.values()) for row in gates} == {(name, False, False, text) for name in CHECKS}
    # it is asked again as soon as it can answer
    assert mine.stage(market_realism).success
    assert RealismVerdict.read(place).judged


@pytest.mark.parametrize("where", ["assets.market_realism._picture", "clstm_core.store.store.MetricsStore.record"])
def test_a_verdict_that_could_not_be_shown_or_stored_stands_all_the_same(chain, monkeypatch, where):
    mine = chain(n_snapshots=60).does(market_quotes)
    with monkeypatch.context() as patch:
        patch.setattr(where, fails(TypeError("unhashable")))
        result = mine.stage(market_realism)
    assert result.success
    assert all("TypeError: unhashable" in text for _, text in warnings(result).values())
    (place,) = (mine.data / "cache" / "realism").glob("*.json")
    assert RealismVerdict.read(place).judged


def test_without_quotes_it_says_what_to_do(chain):
    mine = chain(n_snapshots=60)
    result = mine.stage(market_realism)
    assert result.success
    assert all("no canonical quotes of simulated" in text for _, text in warnings(result).values())


def test_the_report_is_made_and_says_why_nothing_was_judged(moved, monkeypatch):
    mine = moved
    monkeypatch.setattr(realism_verdict, "judge", fails(ZeroDivisionError("division by zero")))
    shutil.rmtree(mine.data / "cache" / "realism")
    mine.does(market_realism, backtest_report)
    page = (mine.home / "reports" / "generated" / mine.run / "index.html").read_text()
    panel = page.split('<section id="realism">')[1].split("</section>")[0]
    assert "not judged" in panel
    assert "ZeroDivisionError: division by zero" in panel
    evidence = json.loads((mine.folder / "evidence" / "evidence.json").read_text())
    assert evidence["realism"] == []
