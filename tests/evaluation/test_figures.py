"""Figures: each declared once; the summary, the store's columns and the page follow from the declaration."""

import numpy as np
import polars as pl
import pytest

from clstm_core.evaluation import figures, summary
from clstm_core.evaluation.books import Books
from clstm_core.evaluation.figures import COSTS, FIGURE, FIGURES, LIMITS, PERFORMANCE, STORED, Figure, columns
from clstm_core.ppo.metrics import METRICS
from clstm_core.store.schema import BACKTESTS, TRAINING_METRICS


def test_every_figure_has_what_a_column_needs():
    assert len(FIGURE) == len(FIGURES)
    assert {figure.type for figure in FIGURES} == {"DOUBLE", "BIGINT"}
    assert all(figure.unit and figure.note for figure in FIGURES)
    assert {figure.kind for figure in FIGURES} <= {"percent", "usd", "count", ""}


def test_the_stores_columns_are_the_figures_that_say_so_in_their_order():
    assert [figure.name for figure in STORED[:3]] == ["start_equity_usd", "final_equity_usd", "total_return"]
    assert {figure.name for figure in FIGURES} - {figure.name for figure in STORED} == {
        "n_returns",
        "periods_per_year",
        "final_equity_worst_usd",
        "n_expiries",
        "n_size_zero_fills",
        "n_ruined",
        "stale_position_share",
    }


def test_the_store_has_the_declared_columns_in_their_order():
    for table, declared in ((BACKTESTS, STORED), (TRAINING_METRICS, METRICS)):
        names = {item.name for item in declared}
        columns_of = [(column.name, column.type) for column in table.columns if column.name in names]
        assert columns_of == [(item.name, item.type) for item in declared]


@pytest.mark.parametrize("names", [PERFORMANCE, COSTS, LIMITS])
def test_a_page_heads_every_figure_it_shows(names):
    assert all(heading for heading, _ in columns(names).values())
    assert list(columns(names)) == list(names)


def test_a_new_figure_needs_its_declaration_alone(monkeypatch):
    added = Figure("n_legs", "BIGINT", "count", "fills of every kind", lambda books: books.fills.height)
    monkeypatch.setattr(summary, "FIGURES", (added,))
    monkeypatch.setitem(figures.FIGURE, "n_legs", added)
    tables = {
        "equity": pl.DataFrame({"episode": [0], "step": [0]}),
        "positions": pl.DataFrame(),
        "fills": pl.DataFrame({"reason": ["open", "expiry"]}),
        "decisions": pl.DataFrame({"action_name": ["hold", "hold"]}),
    }
    assert summary.summarise(tables, capital=1.0) == {"n_legs": 2, "action_mix": {"hold": 1.0}}
    assert columns(("n_legs",)) == {"n_legs": ("n legs", "")}


def test_means_per_year_are_of_all_accounts_not_of_those_that_outlived_a_year():
    """One of two accounts loses nine tenths within 40 sessions of 400, and ends there."""
    n, calm = 401, np.random.default_rng(0).normal(4e-4, 5e-3, 400)
    lives = 1e6 * np.concatenate([[1.0], np.cumprod(1.0 + calm)])
    ruined = np.linspace(1e6, 1e5, 41)
    equity = pl.concat(
        pl.DataFrame({"episode": [k] * len(curve), "step": range(len(curve)), "equity_usd": curve}).with_columns(
            cash_return=pl.when(pl.col("step") == 0).then(0.0).otherwise(1e-4)
        )
        for k, curve in enumerate((lives, ruined))
    )
    tables = {"equity": equity, "fills": None, "decisions": None, "positions": None}
    books = Books(tables, 1e6)
    totals = [curve[-1] / curve[0] for curve in (lives, ruined)]
    assert books.mean_of("total_return") == pytest.approx(np.mean(totals) - 1.0)
    assert books.mean_of("annual_return") == pytest.approx(np.mean([total ** (252 / 400) - 1.0 for total in totals]))
    whole = np.concatenate([ruined, np.full(n - 41, 1e5)])
    excess = [curve[1:] / curve[:-1] - 1.0 - 1e-4 for curve in (lives, whole)]
    ratios = [each.mean() / each.std(ddof=1) for each in excess]
    assert books.mean_of("ratio") == pytest.approx(np.mean(ratios))
    assert books.mean_of("sharpe") == pytest.approx(np.mean(ratios) * np.sqrt(252))
