"""Leaks planted in how a market is built, fitted and modelled; each is caught by the proof named beside it, quickly.

The market that is audited was built before the leak: what is caught is caught in the worlds that the audit builds.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from clstm_core.audit.run import audit
from clstm_core.config import EnvConfig
from clstm_core.market.build import assemble, columns
from clstm_core.market.sources import sp500_modelled
from clstm_core.market.worlds import sp500
from clstm_core.market.worlds.sp500 import SP500World

Plant = Callable[[pytest.MonkeyPatch], None]


def _settled(patch: pytest.MonkeyPatch, change: Callable) -> None:
    """Settle by other sessions: change(per, underlyings) gives the closes and the opens that are taken."""
    honest = columns._settlement

    def leaky(per, expiration, strike, right, underlyings):
        close, opening = change(per.session_close, np.asarray(underlyings["open"], dtype=np.float64), per)
        return honest(per._replace(session_close=close), expiration, strike, right, {**underlyings, "open": opening})

    patch.setattr(columns, "_settlement", leaky)


def settled_on_yesterday(patch):
    _settled(patch, lambda close, opening, _: (np.append(close[:1], close[:-1]), np.append(opening[:1], opening[:-1])))


def settled_on_tomorrow(patch):
    _settled(patch, lambda close, opening, _: (np.append(close[1:], close[-1:]), np.append(opening[1:], opening[-1:])))


def am_settled_on_tomorrows_open(patch):
    _settled(patch, lambda close, opening, _: (close, np.append(opening[1:], opening[-1:])))


def am_and_pm_swapped(patch):
    _settled(patch, lambda close, opening, _: (opening, close))


def pm_settled_at_the_open(patch):
    _settled(patch, lambda close, opening, _: (opening, opening))


def am_settled_at_the_close(patch):
    _settled(patch, lambda close, opening, _: (close, close))


def settled_by_the_proxy(patch):
    def proxy(close, opening, per):
        spot = close.copy()
        spot[per.session] = per.spot
        return spot, opening

    _settled(patch, proxy)


def _late(days: int, patch: pytest.MonkeyPatch) -> None:
    honest = columns._settlement

    def leaky(per, *rest):
        index, value = honest(per, *rest)
        return np.minimum(index + days, len(per.snapshot)), np.where(index + days < len(per.snapshot), value, np.nan)

    patch.setattr(columns, "_settlement", leaky)


def settled_a_day_late(patch):
    _late(1, patch)


def settled_two_days_late(patch):
    _late(2, patch)


def _read(patch: pytest.MonkeyPatch, change: Callable) -> None:
    """Change (snapshots, rows, contracts) as they are read from the tables."""
    honest = columns.read_columns
    patch.setattr(assemble, "read_columns", lambda *args: change(*honest(*args)))


def every_multiplier_is_100(patch):
    def hundred(per, rows, contracts):
        return per, rows, contracts._replace(multiplier=np.full_like(contracts.multiplier, 100.0))

    _read(patch, hundred)


def settlement_by_forwards_of_the_strike(patch):
    def kept(per, rows, contracts):
        value = np.where(contracts.settle_value > 0, contracts.settle_value + 1.0, contracts.settle_value)
        return per, rows, contracts._replace(settle_value=value)

    _read(patch, kept)


def open_settles_in_the_afternoon(patch):
    def late(per, rows, contracts):
        day = contracts.expiration // (86_400 * 10**9)
        close = per.session_ns[
            np.searchsorted(per.session_ns // (86_400 * 10**9), day).clip(max=len(per.session_ns) - 1)
        ]
        return per, rows, contracts._replace(expiration=np.maximum(contracts.expiration, close))

    _read(patch, late)


def yields_of_tomorrow(patch):
    def ahead(per, rows, contracts):
        return per._replace(dividend_yield=np.append(per.dividend_yield[1:], per.dividend_yield[-1:])), rows, contracts

    _read(patch, ahead)


def rates_of_yesterday(patch):
    def behind(per, rows, contracts):
        return per._replace(rate=np.append(per.rate[:1], per.rate[:-1])), rows, contracts

    _read(patch, behind)


def _rows(patch: pytest.MonkeyPatch, change: Callable) -> None:
    """Change the columns of rows in place: change(values, panel, per, contracts)."""
    honest = assemble._values

    def leaky(panel, rows, per, contracts):
        values = honest(panel, rows, per, contracts)
        change(values, panel, rows)
        return values

    patch.setattr(assemble, "_values", leaky)


def stale_rows_traded_at_their_mark(patch):
    def open_up(values, panel, rows):
        stale = values["stale_Q"]
        for name in ("can_buy_Q", "can_sell_Q"):
            values[name] = values[name] | stale
        for name in ("bid_Q", "ask_Q"):
            values[name] = torch.where(stale, values["mark_Q"], values[name])

    _rows(patch, open_up)


def stale_rows_bought_for_nothing(patch):
    _rows(patch, lambda values, *_: values.update(can_buy_Q=values["can_buy_Q"] | values["stale_Q"]))


def _last_mid(values, panel, rows) -> None:
    mark, stale = values["mark_Q"].clone(), values["stale_Q"].tolist()
    last: dict[int, float] = {}
    for row, contract in enumerate(panel.contract.tolist()):
        if stale[row]:
            mark[row] = last.get(contract, float(mark[row]))
        last[contract] = float(mark[row])
    values["mark_Q"] = mark


def stale_rows_marked_at_their_last_mid(patch):
    _rows(patch, _last_mid)


def stale_rows_hidden(patch):
    _rows(patch, lambda values, *_: values.update(stale_Q=torch.zeros_like(values["stale_Q"])))


def zero_bids_sold(patch):
    _rows(patch, lambda values, *_: values.update(can_sell_Q=values["can_buy_Q"].clone()))


def locked_quotes_traded(patch):
    def open_up(values, *_):
        locked = ~values["stale_Q"] & (values["ask_Q"] == values["bid_Q"])
        values.update(can_buy_Q=values["can_buy_Q"] | locked, can_sell_Q=values["can_sell_Q"] | locked)

    _rows(patch, open_up)


def marks_at_the_bid(patch):
    _rows(patch, lambda v, *_: v.update(mark_Q=torch.where(v["stale_Q"], v["mark_Q"], v["bid_Q"])))


def volatility_a_tenth_higher_where_stale(patch):
    _rows(patch, lambda v, *_: v.update(implied_vol_Q=torch.where(v["stale_Q"], 1.1, 1.0) * v["implied_vol_Q"]))


def _panel(patch: pytest.MonkeyPatch, change: Callable) -> None:
    honest = assemble._panel
    patch.setattr(assemble, "_panel", lambda *args: change(honest(*args)))


def the_next_row_is_a_neighbours(patch):
    def neighbour(panel):
        after = panel.next_row.copy()
        both = (after[:-1] >= 0) & (after[1:] >= 0) & (panel.snapshot[:-1] == panel.snapshot[1:])
        first = np.flatnonzero(both)[::97]
        after[first], after[first + 1] = after[first + 1].copy(), after[first].copy()
        return panel._replace(next_row=after)

    _panel(patch, neighbour)


def names_shifted_by_one(patch):
    honest = assemble.encode_contract_ids
    patch.setattr(assemble, "encode_contract_ids", lambda names: honest([*names[1:], *names[:1]]))


def _fit(patch: pytest.MonkeyPatch, field: str) -> None:
    """State the training window, and fit one half of the scaler on all dates."""
    honest = assemble.fit_scaler

    def leaky(features_TF, window):
        return {**honest(features_TF, window), field: honest(features_TF, (0, len(features_TF)))[field]}

    patch.setattr(assemble, "fit_scaler", leaky)


def scaler_deviation_of_all_dates(patch):
    _fit(patch, "std")


def scaler_mean_of_all_dates(patch):
    _fit(patch, "mean")


def scaler_of_the_test_window(patch):
    honest = assemble.fit_scaler
    patch.setattr(
        assemble, "fit_scaler", lambda features_TF, window: honest(features_TF, (window[1], len(features_TF)))
    )


def training_window_of_all_dates(patch):
    honest = assemble.split_windows

    def everything(dates, config, embargo):
        return {**honest(dates, config, embargo), "train": (0, len(dates))}

    patch.setattr(assemble, "split_windows", everything)


def _world(patch: pytest.MonkeyPatch, name: str, change: Callable) -> None:
    """Replace a fitted property of the modelled world: change(world, honest value)."""
    honest = SP500World.__dict__[name]
    value = honest.fget if isinstance(honest, property) else honest.func
    patch.setattr(SP500World, name, property(lambda world: change(world, value(world))))


def surface_priced_with_tomorrows_return(patch):
    def ahead(world, state):
        close = world.history.close
        tomorrow = np.append(np.abs(np.diff(np.log(close))), 0.0)
        return state._replace(vix=state.vix + torch.from_numpy(tomorrow))

    _world(patch, "state", ahead)


def surface_priced_with_tomorrows_vix(patch):
    _world(patch, "state", lambda _, state: state._replace(vix=torch.cat([state.vix[1:], state.vix[-1:]])))


def slow_average_of_all_dates(patch):
    patch.setattr(sp500, "slow_average", lambda values: np.full_like(values, values.mean()))


def distance_at_the_money_fitted_on_all_dates(patch):
    def fitted(world, surface):
        return dataclasses.replace(surface, atm_distance=0.1 * float(world.history.vix.mean()))

    _world(patch, "surface", fitted)


def skew_fitted_on_test_dates(patch):
    def fitted(world, surface):
        late = world.history.vix[world.train_stop :]
        return dataclasses.replace(surface, tenor_power=0.2 + 0.1 * float(late.std()))

    _world(patch, "surface", fitted)


def reversion_fitted_on_all_dates(patch):
    _world(patch, "train_stop", lambda world, _: len(world.history.date))


def twins_fair_variance_fitted_on_all_dates(patch):
    def fitted(world, fair):
        return fair._replace(intercept=float(np.log(world.history.vix**2).mean()) - fair.slope * np.log(0.04))

    _world(patch, "fair", fitted)


def vix_of_the_next_day(patch):
    honest = sp500_modelled.known_history

    def ahead(dates, close, vix, bill, dividends):
        return honest(dates, close, (vix[0], np.append(vix[1][1:], vix[1][-1:])), bill, dividends)

    patch.setattr(sp500_modelled, "known_history", ahead)


def bill_of_the_month_itself(patch):
    honest = sp500_modelled.known_history

    def early(dates, close, vix, bill, dividends):
        return honest(dates, close, vix, (bill[0] - 1, bill[1]), dividends)

    patch.setattr(sp500_modelled, "known_history", early)


def dividends_before_they_are_paid(patch):
    patch.setattr(sp500_modelled, "DIVIDEND_LAG", 0)


LEAKS: list[tuple[Plant, str]] = [
    *(
        (leak, "conservation")
        for leak in (
            settled_on_yesterday,
            settled_on_tomorrow,
            am_settled_on_tomorrows_open,
            am_and_pm_swapped,
            pm_settled_at_the_open,
            am_settled_at_the_close,
            settled_by_the_proxy,
            settled_a_day_late,
            settled_two_days_late,
            every_multiplier_is_100,
            settlement_by_forwards_of_the_strike,
            open_settles_in_the_afternoon,
            yields_of_tomorrow,
            rates_of_yesterday,
            stale_rows_traded_at_their_mark,
            stale_rows_bought_for_nothing,
            stale_rows_marked_at_their_last_mid,
            stale_rows_hidden,
            zero_bids_sold,
            locked_quotes_traded,
            marks_at_the_bid,
            volatility_a_tenth_higher_where_stale,
            the_next_row_is_a_neighbours,
            names_shifted_by_one,
        )
    ),
    *(
        (leak, "no_look_ahead")
        for leak in (
            settled_on_tomorrow,
            am_settled_on_tomorrows_open,
            yields_of_tomorrow,
            scaler_deviation_of_all_dates,
            scaler_mean_of_all_dates,
            scaler_of_the_test_window,
            training_window_of_all_dates,
            surface_priced_with_tomorrows_return,
            surface_priced_with_tomorrows_vix,
            slow_average_of_all_dates,
            distance_at_the_money_fitted_on_all_dates,
            skew_fitted_on_test_dates,
            reversion_fitted_on_all_dates,
            twins_fair_variance_fitted_on_all_dates,
            vix_of_the_next_day,
            bill_of_the_month_itself,
            dividends_before_they_are_paid,
        )
    ),
    *(
        (leak, "martingale_sampled")
        for leak in (
            settled_on_yesterday,
            settled_on_tomorrow,
            am_and_pm_swapped,
            every_multiplier_is_100,
        )
    ),
]


@pytest.mark.parametrize(("leak", "proof"), LEAKS, ids=[f"{leak.__name__}-{proof}" for leak, proof in LEAKS])
def test_a_leak_in_the_market_is_caught_by_the_named_proof(
    leak: Plant, proof: str, premium_market, monkeypatch
) -> None:
    leak(monkeypatch)
    report = audit(premium_market, EnvConfig(horizon=21), size="quick", only=[proof])
    assert report.failed == (proof,)
    assert "could not be run" not in report.proofs[0].detail
