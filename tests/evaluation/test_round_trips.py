"""Round trips, packages and exposures: ledgers worked out by hand, and an identity to the cent."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from clstm_core.evaluation import ledgers
from clstm_core.evaluation.exposures import caps_of, exposures
from clstm_core.evaluation.round_trips import by_action, packages, round_trips, trip_figures

FIRST = datetime(2024, 1, 2, 21, tzinfo=UTC)


def day(step: int) -> datetime:
    return FIRST + timedelta(days=step)


def fills(*rows: tuple) -> pl.DataFrame:
    """(step, contract, quantity, price, fee, reason); None is the underlying."""
    return pl.DataFrame(
        [
            {
                **{"episode": 0, "step": step, "snapshot": day(step), "kind": "option" if name else "underlying"},
                **{"contract_id": name, "quantity": quantity, "price": price, "multiplier": 100.0 if name else 1.0},
                **{"fee_usd": fee, "reason": reason, "fill_rule": "touch", "bid": price, "ask": price},
                "size_zero": False,
            }
            for step, name, quantity, price, fee, reason in rows
        ]
    ).cast(ledgers.FILLS)


def equity(n: int = 11, spot: float = 100.0) -> pl.DataFrame:
    return pl.DataFrame({"step": range(n), "snapshot": [day(k) for k in range(n)], "spot": [spot] * n})


def positions(*rows: tuple) -> pl.DataFrame:
    made = [
        dict(zip(("step", "contract_id", "quantity", "multiplier", "mark", "stale"), row, strict=True)) for row in rows
    ]
    schema = {name: kind for name, kind in ledgers.POSITIONS.items() if name not in ("episode", "snapshot")}
    return pl.DataFrame(made, schema=schema)


def test_a_position_is_one_trip_until_it_is_flat():
    trades = fills(
        (1, "P", -2.0, 3.0, 1.0, "open"),
        (2, "P", -1.0, 4.0, 0.5, "open"),
        (4, "P", 1.0, 2.0, 0.5, "close"),
        (7, "P", 2.0, 0.0, 0.0, "expiry"),
    )
    (trip,) = round_trips(trades, equity(), positions())
    # sold for 600 + 400, bought back for 200, worthless at expiry; fees 2
    assert trip["pnl_usd"] == pytest.approx(798.0)
    assert (trip["side"], trip["most"], trip["days"], trip["reason"]) == ("short", 3.0, 6, "expiry")
    assert (trip["opened"], trip["closed"]) == ("2024-01-03", "2024-01-09")


def test_a_fill_through_zero_ends_one_trip_and_begins_another_its_fee_shared():
    trades = fills((1, None, 10.0, 100.0, 1.0, "hedge"), (3, None, -30.0, 102.0, 3.0, "hedge"))
    first, second = round_trips(trades, equity(spot=101.0), positions())
    assert (first["side"], first["pnl_usd"]) == ("long", pytest.approx(10 * 2 - 1 - 1))
    # 20 shares sold at 102 stand at 101
    assert (second["side"], second["pnl_usd"], second["closed"]) == ("short", pytest.approx(20 * 1 - 2), None)


def test_what_is_open_at_the_end_is_worth_its_mark():
    trades = fills((1, "C", 3.0, 2.0, 0.0, "open"))
    (trip,) = round_trips(
        trades, equity(), positions((9, "C", 3.0, 100.0, 9.0, False), (10, "C", 3.0, 100.0, 2.5, False))
    )
    assert (trip["pnl_usd"], trip["closed"], trip["days"]) == (pytest.approx(150.0), None, 9)


def test_all_trips_add_up_to_the_change_of_equity_but_carry(hand_made):
    tables = hand_made.tables
    trips = round_trips(tables["fills"], tables["equity"], tables["positions"])
    book = tables["equity"]
    change = book["equity_usd"][-1] - book["equity_usd"][0]
    carry = book["interest_usd"].sum() + book["dividends_usd"].sum() - book["borrow_usd"].sum()
    assert sum(trip["pnl_usd"] for trip in trips) == pytest.approx(change - carry, abs=1e-6)
    # 3 puts sold at 2.00, one bought at 1.40, two settled at 1.00, 2.60 of fees
    put = next(trip for trip in trips if trip["contract"] == "P100")
    assert put["pnl_usd"] == pytest.approx(600 - 140 - 200 - 2.6)


def test_legs_that_one_decision_opened_are_one_package():
    trades = fills(
        (1, "C", -1.0, 2.0, 0.0, "open"),
        (1, "P", -1.0, 3.0, 0.0, "open"),
        (1, None, 50.0, 100.0, 0.0, "hedge"),
        (3, "P", 1.0, 1.0, 0.0, "close"),
        (5, "C", 1.0, 4.0, 0.0, "close"),
        (6, "C", -1.0, 2.0, 0.0, "open"),
    )
    decisions = pl.DataFrame({"step": [1, 6], "action_name": ["short_strangle", "short_call"]})
    trips = round_trips(trades, equity(), positions((10, "C", -1.0, 100.0, 2.0, False)))
    strangle, call = packages(trips, decisions)
    assert (strangle["action"], strangle["legs"], strangle["contracts"]) == ("short_strangle", 2, "-C, -P")
    assert (strangle["pnl_usd"], strangle["days"], strangle["closed"]) == (pytest.approx(0.0), 4, "2024-01-07")
    assert (call["action"], call["closed"]) == ("short_call", None)


def test_figures_of_trades_by_hand():
    trades = [
        {"action": "a", "closed": "x", "pnl_usd": 30.0, "days": 2},
        {"action": "a", "closed": "x", "pnl_usd": 10.0, "days": 4},
        {"action": "b", "closed": "x", "pnl_usd": -50.0, "days": 6},
        {"action": "b", "closed": None, "pnl_usd": 7.0, "days": 1},
    ]
    found = trip_figures(trades)
    assert (found["closed"], found["open"], found["mean_days"]) == (3, 1, 4.0)
    assert found["hit_rate"] == pytest.approx(2 / 3)
    assert (found["payoff"], found["profit_factor"]) == (pytest.approx(20 / 50), pytest.approx(40 / 50))
    assert (found["mean_profit_usd"], found["mean_loss_usd"]) == (20.0, -50.0)
    assert (found["pnl_usd"], found["open_pnl_usd"]) == (-10.0, 7.0)
    assert [row["action"] for row in by_action(trades)] == ["a", "b", "all"]
    assert by_action([]) == []
    assert trip_figures([])["hit_rate"] is None


def test_the_books_greeks_are_those_that_its_moves_were_explained_by():
    spot, worth, delta, gamma, theta = [100.0, 102.0, 102.0, 99.0], 10_000.0, 25.0, -3.0, 400.0
    moves = [0.0, 2.0, 0.0, -3.0]
    days = [0.0, 1.0, 1.0, 3.0]
    book = pl.DataFrame(
        {
            "step": range(4),
            "snapshot": [FIRST + timedelta(days=at) for at in (0, 1, 2, 5)],
            "spot": spot,
            "equity_usd": [worth] * 4,
            "margin_usd": [0.0, 500.0, 500.0, 0.0],
            "delta_usd": [delta * move for move in moves],
            "gamma_usd": [0.5 * gamma * move**2 for move in moves],
            "theta_usd": [theta / 365 * span for span in days],
            **{name: [0.1] * 4 for name in ("net_exposure", "gross_exposure", "crash_loss")},
            **{name: [0.01] * 4 for name in ("vega_per_point", "premium_sold")},
            "book_vega_usd": [0.0, -100.0, 100.0, 0.0],
        }
    )
    found = exposures(book, positions((1, "C", 2.0, 100.0, 1.0, False), (1, "P", -3.0, 100.0, 1.0, True)))
    assert found["date"].to_list() == ["2024-01-02", "2024-01-03", "2024-01-04", "2024-01-07"]
    assert found["delta"].to_list() == [
        pytest.approx(delta * 100 / worth),
        None,
        pytest.approx(delta * 102 / worth),
        None,
    ]
    assert found["gamma"][2] == pytest.approx(gamma * 0.01 * 102**2 / worth)
    assert found["theta"].to_list() == [*([pytest.approx(theta / 365 / worth)] * 3), None]
    assert found["margin"].to_list() == [0.0, 0.05, 0.05, 0.0]
    assert found["vega"].to_list() == [0.0, -0.01, 0.01, 0.0]
    older = exposures(book.drop("book_vega_usd"), positions())
    assert older["vega"].to_list() == [None] * 4
    assert found.select("legs", "bought", "sold", "stale").rows() == [
        (0, 0, 0, 0),
        (2, 2, 3, 1),
        (0, 0, 0, 0),
        (0, 0, 0, 0),
    ]


def test_caps_are_the_settings_that_the_account_was_held_to():
    assert caps_of({"max_net_exposure": 1, "max_vega": 0.005, "fill_lag": 1}) == {
        "net_exposure": 1.0,
        "vega_per_point": 0.005,
    }
