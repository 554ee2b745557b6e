"""Above a limit is excused where nothing was left that trades, and by nothing else."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import polars as pl
import pytest

from clstm_core.artifacts.places import Places
from clstm_core.evaluation.limits import above_budget, above_margin
from clstm_core.market.tables.schema import UTC_NS

FIRST = datetime(2020, 1, 2, 21, tzinfo=UTC)
CAPS = {"max_net_exposure": 1.0, "max_gross_exposure": 2.0, "max_crash_loss": 0.25}
CALM = {"net_exposure": 0.5, "gross_exposure": 0.5, "crash_loss": 0.1, "margin_usd": 10.0, "equity_usd": 100.0}
LIMITS = [
    (above_budget, {"net_exposure": 3.0}),
    (above_budget, {"gross_exposure": 6.0}),
    (above_budget, {"crash_loss": 0.9}),
    (above_margin, {"margin_usd": 101.0}),
]


def at(step):
    return FIRST + timedelta(days=step)


@pytest.fixture
def result(tmp_path):
    """An account of two steps that stands above a limit after the second, with one leg or none."""

    def build(above, *, shares=0.0, quantity=0.0, stale=True, quote=(1.0, 1.1), flags=True, earlier=0.0):
        quotes = pl.DataFrame(
            {"snapshot": [at(1), at(2)], "contract_id": ["x", "x"], "bid": [1.0, quote[0]], "ask": [1.1, quote[1]]},
            schema_overrides={"snapshot": UTC_NS},
        )
        quotes.write_parquet(tmp_path / "quotes.parquet")
        rows = [CALM, CALM | above]
        books = {name: [row[name] for row in rows] for name in CALM}
        both = {"episode": [0, 0], "step": [1, 2]}
        said = {name: [False, flags] for name in ("over_budget", "liquidated")}
        equity = {**both, **books, **said, "shares": [0.0, shares]}
        legs = {"contract_id": ["x", "x"], "quantity": [earlier, quantity], "stale": [False, stale]}
        tables = {
            "equity": pl.DataFrame(equity),
            "positions": pl.DataFrame(
                {**both, "snapshot": [at(1), at(2)], **legs}, schema_overrides={"snapshot": UTC_NS}
            ),
        }
        manifest = {"env": CAPS, "quotes": {"path": "quotes.parquet"}}
        return SimpleNamespace(name="x", manifest=manifest, table=tables.__getitem__)

    return build


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


@pytest.mark.parametrize(("ask", "above"), LIMITS)
@pytest.mark.parametrize(
    ("left", "excused"),
    [
        ({}, True),  # nothing at all
        ({"quantity": 2.0}, True),  # a leg without a quote
        ({"quantity": 2.0, "earlier": 2.0}, True),  # which was quoted a session before
        ({"quantity": 2.0, "shares": 1.0}, False),
        ({"shares": -1.0}, False),
        ({"shares": float("nan")}, False),
        ({"quantity": 2.0, "stale": False}, False),
        ({"quantity": -2.0, "stale": False}, False),
        ({"quantity": 2.0, "stale": False, "quote": (0.0, 0.05)}, True),  # nobody bids for it
        ({"quantity": -2.0, "stale": False, "quote": (0.0, 0.05)}, False),
        ({"quantity": -2.0, "stale": False, "quote": (1.0, 1.0)}, True),  # a locked quote does not trade
        ({"quantity": 2.0, "stale": False, "quote": (None, None)}, False),
        ({"quantity": 2.0, "stale": None}, False),
    ],
)
@pytest.mark.parametrize("flags", [True, False])
def test_only_what_trades_is_held_against_an_account_whatever_its_flags_say(
    result, places, ask, above, left, excused, flags
):
    found = ask(result(above, flags=flags, **left), places)
    assert found["step"].to_list() == ([] if excused else [2])


@pytest.mark.parametrize(("ask", "above"), LIMITS)
@pytest.mark.parametrize("number", [float("nan"), None])
def test_a_number_that_is_none_keeps_no_limit(result, places, ask, above, number):
    assert ask(result(dict.fromkeys(above, number), shares=1.0), places)["step"].to_list() == [2]


@pytest.mark.parametrize(
    ("ask", "within"), [(above_budget, {"net_exposure": 1.0 + 1e-6}), (above_margin, {"margin_usd": 100.01})]
)
def test_rounding_is_not_above(result, places, ask, within):
    assert ask(result(within, shares=1.0), places).is_empty()
