"""Two runs side by side: the paired difference over common dates, and what is warned of."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.evaluation import side_by_side as module
from clstm_core.evaluation.judged_run import JudgedRun, daily_excess
from clstm_core.evaluation.pair_sections import settings_that_differ

FIRST = datetime(2020, 1, 2, 21, tzinfo=UTC)
CASH = 1e-4


def judged(name, returns, *, start=0, **facts):
    """A run whose judged account had these returns, on days from `start` on."""
    equity = 100.0 * np.cumprod(np.concatenate([[1.0], 1.0 + np.asarray(returns)]))
    days = [FIRST + timedelta(days=start + day) for day in range(len(equity))]
    curve = pl.DataFrame(
        {
            "step": range(len(equity)),
            "snapshot": pl.Series(days).cast(pl.Datetime("ns", "UTC")),
            "equity_usd": equity,
            "cash_return": [0.0] + [CASH] * len(returns),
        }
    )
    manifest = {
        "source": "spx_cboe",
        "label": "real quotes",
        "spread": "quoted",
        "data_sha256": "a" * 64,
        "first_date": str(days[0].date()),
        "last_date": str(days[-1].date()),
        "n_snapshots": len(equity),
        "fill_lag": 1,
        "fill_rule": "touch",
        "fill_fraction": 1.0,
        "env": {"capital_usd": 100.0, "horizon": 21, "reward": "profit"},
        "summary": {},
        **facts,
    }
    champion = {"milestone": "100", "backtest_id": name, "name": "clstm_100_argmax", "qualified": True}
    comparison = {"champion": champion, "rows": [], "pairs": [], "verdict": "none", "trials": 1}
    inputs = RunInputs(run=name, config={"seed": 0}, config_sha256="", git_commit="c")
    return JudgedRun(
        name=name,
        inputs=inputs,
        comparison=comparison,
        champion=champion,
        generalisation=[],
        manifest=manifest,
        equity=curve,
    )


@pytest.fixture
def lay(monkeypatch):
    """Lays two made-up runs side by side."""

    def beside(a, b):
        monkeypatch.setattr(module, "read_judged", lambda places, name: {"a": a, "b": b}[name])
        return module.side_by_side(None, "a", "b")

    return beside


def noise(seed, n=200, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 0.001, n)


def test_the_difference_is_of_growth_beyond_cash_on_the_same_dates(lay):
    a, b = judged("a", noise(1, mean=0.002)), judged("b", noise(2))
    found = lay(a, b)
    expected = (np.log1p(noise(1, mean=0.002)) - np.log1p(noise(2))).mean() * 1e4
    assert found.paired.estimate == pytest.approx(expected)
    assert found.paired.low < expected < found.paired.high
    assert found.answer.startswith("a beats b: ")
    assert "200 common sessions" in found.answer
    assert found.warnings == []
    assert lay(b, a).answer.startswith("b trails a: ")


def test_what_cannot_be_told_apart_is_said_to_be_so(lay):
    assert lay(judged("a", noise(1)), judged("b", noise(2))).answer.startswith("a is not distinguishable from b: ")


def test_only_steps_that_both_lived_are_paired(lay):
    a, b = judged("a", noise(1)), judged("b", noise(1)[80:], start=80)
    found = lay(a, b)
    assert found.paired.n_returns == 120
    assert found.paired.estimate == pytest.approx(0.0, abs=1e-9)
    assert any(
        warning.startswith("Other windows: ") and "120 sessions are common" in warning for warning in found.warnings
    )
    apart = lay(a, judged("b", noise(1), start=1000))
    assert apart.paired is None
    assert "cannot be ranked" in apart.answer


@pytest.mark.parametrize(
    ("facts", "ranked", "words"),
    [
        ({"source": "spx_barchart"}, False, "Other markets"),
        ({"data_sha256": "b" * 64}, True, "Other data"),
        ({"label": "simulated quotes", "data_sha256": "b" * 64}, False, "Other kinds of quotes"),
        ({"fill_lag": 0}, False, "Other fills"),
        ({"fill_rule": "fraction", "fill_fraction": 0.5}, False, "Other fills"),
        ({"env": {"capital_usd": 50.0, "horizon": 21, "reward": "profit"}}, True, "Other accounts: capital_usd differ"),
        ({"env": {"capital_usd": 100.0, "horizon": 126, "reward": "log_growth"}}, True, ""),
    ],
)
def test_what_differs_is_warned_of(lay, facts, ranked, words):
    found = lay(judged("a", noise(1)), judged("b", noise(2), **facts))
    assert (found.paired is not None) is ranked
    assert any(words in warning for warning in found.warnings) if words else not found.warnings


def test_growth_beyond_cash():
    excess = daily_excess(judged("a", [0.01, -0.02]).equity)
    assert excess["excess"].to_list() == pytest.approx([np.log(1.01) - np.log1p(CASH), np.log(0.98) - np.log1p(CASH)])
    assert excess["since"][1] == excess["until"][0]


def test_settings_that_differ_are_named_by_their_path():
    a = {"seed": 0, "env": {"horizon": 21, "reward": "profit"}, "old": 1}
    b = {"seed": 0, "env": {"horizon": 126, "reward": "profit"}, "new": True}
    assert settings_that_differ(a, b) == [("env.horizon", "21", "126"), ("old", "1", "none"), ("new", "none", "True")]
