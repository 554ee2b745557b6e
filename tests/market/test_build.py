"""Canonical columns -> tensors: identity of contracts, stale rows, settlement by hand, refusals, and no look-ahead."""

import dataclasses

import numpy as np
import pytest
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market import clock
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.build.grid import ATM_TOLERANCE, delta_tolerance
from clstm_core.market.tensors import SIZE_ZERO_ASK, SIZE_ZERO_BID, MarketTensors
from clstm_core.market.worlds import black_scholes as worlds
from clstm_core.options import black_scholes
from clstm_core.specs import CELL_INDEX, CELLS

CONFIG = MarketConfig(source="simulated", n_snapshots=120, min_training_snapshots=40)
INFO = {"source": "simulated", "label": "simulated quotes", "spread": "modelled"}


def build(tables, config=CONFIG, embargo=5) -> MarketTensors:
    return build_market_tensors(*tables, config, embargo=embargo, info=INFO)


def kept(columns, rows) -> dict[str, np.ndarray]:
    return {name: values[rows] for name, values in columns.items()}


@pytest.fixture(scope="module")
def tables():
    return worlds.simulated_columns(CONFIG)


@pytest.fixture(scope="module")
def market(tables) -> MarketTensors:
    return build(tables)


@pytest.fixture(scope="module")
def gappy(tables):
    """The world with a third of its quotes missing, some crossed, some locked, some without a bid."""
    quotes, underlyings, rates = tables
    draw = np.random.default_rng(7).random(len(quotes["bid"]))
    bid, ask = quotes["bid"].copy(), quotes["ask"].copy()
    ask[(draw >= 0.30) & (draw < 0.33)] = 0.0
    swap = (draw >= 0.33) & (draw < 0.36)
    bid[swap], ask[swap] = ask[swap] + 1.0, bid[swap]
    ask[(draw >= 0.36) & (draw < 0.39)] = bid[(draw >= 0.36) & (draw < 0.39)]
    bid[(draw >= 0.39) & (draw < 0.42)] = 0.0
    return kept({**quotes, "bid": bid, "ask": ask}, draw >= 0.30), underlyings, rates


@pytest.fixture(scope="module")
def gappy_market(gappy) -> MarketTensors:
    return build(gappy)


def test_next_row_is_the_same_contract_one_snapshot_later(gappy_market):
    m = gappy_market
    here = torch.nonzero(m.next_row_Q >= 0).squeeze(1)
    there = m.next_row_Q[here]
    assert torch.equal(m.row_contract_Q[there], m.row_contract_Q[here])
    assert torch.equal(m.row_snapshot_Q[there], m.row_snapshot_Q[here] + 1)
    assert len(there.unique()) == len(there)


def test_a_life_ends_only_at_settlement_or_at_the_end_of_its_history(gappy_market):
    m = gappy_market
    last = torch.nonzero(m.next_row_Q < 0).squeeze(1)
    next_snapshot = m.row_snapshot_Q[last] + 1
    settles = m.settle_index_K[m.row_contract_Q[last]] == next_snapshot
    ends = m.segment_end_T[m.row_snapshot_Q[last]]
    assert (settles | ends).all()
    assert (m.tte_years_Q > 0).all()
    assert (m.row_snapshot_Q < m.settle_index_K[m.row_contract_Q]).all()


def test_rows_are_sorted_and_offset(market):
    m = market
    key = m.row_snapshot_Q * len(m.strike_K) + m.row_contract_Q
    assert (key.diff() > 0).all()
    for t in (0, 1, 57, m.n_snapshots - 1):
        span = m.row_snapshot_Q[m.row_offset_T1[t] : m.row_offset_T1[t + 1]]
        assert (span == t).all()
    assert m.row_offset_T1[-1] == m.n_rows


def test_rows_carry_the_venues_quotes(gappy, gappy_market):
    m, (quotes, _, _) = gappy_market, gappy
    venue = {
        (t, name): (bid, ask)
        for t, name, bid, ask in zip(
            quotes["snapshot"].tolist(),
            quotes["contract_id"].tolist(),
            quotes["bid"].tolist(),
            quotes["ask"].tolist(),
            strict=True,
        )
    }
    names = [m.contract_id(k) for k in range(len(m.strike_K))]
    for row in range(0, m.n_rows, 17):
        bid, ask = venue.get(
            (m.snapshot_T[m.row_snapshot_Q[row]].item(), names[m.row_contract_Q[row]]), (np.nan, np.nan)
        )
        if ask > 0 and ask >= bid >= 0:
            assert (m.bid_Q[row].item(), m.ask_Q[row].item()) == (bid, ask)
            assert m.mark_Q[row].item() == pytest.approx((bid + ask) / 2, abs=1e-12)
            assert not m.stale_Q[row]
            assert m.can_buy_Q[row].item() == (ask > bid)
            assert m.can_sell_Q[row].item() == (ask > bid > 0)
        else:
            assert m.stale_Q[row]


def test_stale_rows_never_trade_and_are_marked_from_the_last_volatility(gappy_market):
    m = gappy_market
    stale = torch.nonzero(m.stale_Q).squeeze(1)
    assert len(stale) > 100
    assert not (m.can_buy_Q | m.can_sell_Q)[stale].any()
    assert (m.bid_Q[stale] == 0).all()
    assert (m.ask_Q[stale] == 0).all()
    before = torch.nonzero(m.next_row_Q >= 0).squeeze(1)
    before = before[m.stale_Q[m.next_row_Q[before]]]
    after = m.next_row_Q[before]
    assert torch.equal(m.implied_vol_Q[after], m.implied_vol_Q[before])
    t, k = m.row_snapshot_Q[after], m.row_contract_Q[after]
    model = black_scholes.price(
        m.spot_T[t],
        m.strike_K[k],
        m.tte_years_Q[after],
        m.implied_vol_Q[before],
        m.rate_T[t],
        m.dividend_yield_T[t],
        m.right_K[k].double(),
    )
    torch.testing.assert_close(m.mark_Q[after], model)


def test_implied_volatility_gives_the_mark_back(market):
    m = market
    t, k = m.row_snapshot_Q, m.row_contract_Q
    value = black_scholes.greeks(
        m.spot_T[t],
        m.strike_K[k],
        m.tte_years_Q,
        m.implied_vol_Q,
        m.rate_T[t],
        m.dividend_yield_T[t],
        m.right_K[k].double(),
    )
    # A mid off the model by the tick rounding can lie below the intrinsic value: then no volatility gives it.
    assert ((value.price - m.mark_Q).abs() < 1e-8).double().mean() > 0.95
    torch.testing.assert_close(m.delta_Q, value.delta)
    assert torch.isfinite(torch.stack([m.implied_vol_Q, m.gamma_Q, m.vega_Q, m.theta_Q, m.rho_Q, m.mark_Q])).all()


def test_settlement_is_the_intrinsic_at_the_close_of_the_expiration_date(tables, market):
    m, (_, underlyings, _) = market, tables
    close = dict(zip(underlyings["snapshot"].tolist(), underlyings["close"].tolist(), strict=True))
    done = torch.nonzero(m.settle_index_K < m.n_snapshots).squeeze(1).tolist()
    assert len(done) > 50
    for k in done:
        level = close[m.expiration_K[k].item()]
        assert m.snapshot_T[m.settle_index_K[k]] == m.expiration_K[k]
        expected = max(m.right_K[k].item() * (level - m.strike_K[k].item()), 0.0)
        assert m.settle_value_K[k].item() == pytest.approx(expected, abs=1e-12)
    beyond = m.settle_index_K == m.n_snapshots
    assert beyond.any()
    assert m.settle_value_K[beyond].isnan().all()


def small_tables(expiration_ns: int, *, closed: str | None = None):
    """Ten sessions of two strikes around 100; spot rises by 1 a session and opens 0.5 below its close."""
    dates = np.array([d for d in np.arange("2014-04-07", "2014-04-22", dtype="datetime64[D]") if str(d) != closed])
    dates = dates[clock.weekday(dates) < 5]
    close_ns = clock.close_ns(dates)
    close = 100.0 + np.arange(len(dates))
    live = close_ns < expiration_ns
    t, strike, right = (
        x.reshape(-1) for x in np.meshgrid(np.flatnonzero(live), [100.0, 104.0], [1, -1], indexing="ij")
    )
    tte = (expiration_ns - close_ns[t]) / clock.YEAR_NS
    terms = (torch.from_numpy(x) for x in (close[t], strike, tte, np.full(len(t), 0.3)))
    zero = torch.zeros(1, dtype=torch.float64)
    price = black_scholes.price(*terms, zero, zero, torch.from_numpy(right.astype(float))).numpy()

    def constant(value):
        return np.full(len(t), value, dtype=object)

    quotes = {
        "snapshot": close_ns[t],
        "underlying": constant("X"),
        "contract_id": np.array([f"X{int(k)}{w}" for k, w in zip(strike, right, strict=True)], dtype=object),
        "root": constant("X"),
        "expiration": np.full(len(t), expiration_ns),
        "strike": strike,
        "right": np.where(right > 0, "C", "P").astype(object),
        "bid": price - 0.01,
        "ask": price + 0.01,
        "multiplier": np.full(len(t), 100.0),
        "exercise": constant("european"),
        "settlement": constant("cash"),
        "currency": constant("USD"),
    }
    # Snapshots after the expiration need a quote to exist: one far contract that no cell takes.
    late = {name: values[:1].repeat(int((~live).sum())) for name, values in quotes.items()}
    late |= {
        "snapshot": close_ns[~live],
        "contract_id": np.full(int((~live).sum()), "FAR", dtype=object),
        "expiration": np.full(int((~live).sum()), int(close_ns[-1]) + 90 * clock.DAY_NS),
        "strike": np.full(int((~live).sum()), 500.0),
    }
    quotes = {name: np.concatenate([values, late[name]]) for name, values in quotes.items()}
    underlyings = {"snapshot": close_ns, "open": close - 0.5, "close": close}
    rates = {
        "date": dates[:1],
        "tenor_days": np.array([30.0]),
        "rate": np.array([0.0]),
        "dividend_yield": np.array([0.0]),
    }
    return (quotes, underlyings, rates), dates, close


SMALL = dataclasses.replace(CONFIG, near_days=9.0, far_days=11.0, tenor_tolerance=0.9)


def settled(expiration_ns, **changes):
    tables, dates, close = small_tables(expiration_ns, **changes)
    m = build(tables, SMALL)
    index = {m.contract_id(k): k for k in range(len(m.strike_K))}
    k = index["X1001"]
    return dates[m.settle_index_K[k]], m.settle_value_K[k].item(), dates, close


def opening_ns(dates: np.ndarray) -> np.ndarray:
    return clock.instant_ns(dates, clock.NEW_YORK.open_minutes, clock.NEW_YORK.zone)


def friday(function) -> int:
    return int(function(np.array(["2014-04-18"], dtype="datetime64[D]"))[0])


def test_pm_contracts_settle_at_the_close():
    day, value, dates, close = settled(friday(clock.close_ns))
    assert str(day) == "2014-04-18"
    assert value == close[dates.tolist().index(day.item())] - 100.0


def test_am_contracts_settle_at_the_open_and_leave_the_book_that_evening():
    day, value, dates, close = settled(friday(opening_ns))
    assert str(day) == "2014-04-18"
    assert value == close[dates.tolist().index(day.item())] - 0.5 - 100.0


def test_what_settles_at_a_half_days_close_takes_the_close():
    """At 13:00 of a session whose snapshot keeps 16:00."""
    day, value, dates, close = settled(friday(lambda days: clock.instant_ns(days, 13 * 60, clock.NEW_YORK.zone)))
    assert str(day) == "2014-04-18"
    assert value == close[dates.tolist().index(day.item())] - 100.0


def test_a_price_of_size_zero_is_kept_by_side_in_the_tensors(tables):
    quotes, underlyings, rates = tables
    rng = np.random.default_rng(3)
    sizes = {f"{side}_size": rng.integers(0, 2, len(quotes["bid"])).astype(float) for side in ("bid", "ask")}
    m = build(({**quotes, **sizes}, underlyings, rates))
    names = [m.contract_id(k) for k in range(len(m.strike_K))]
    said = {
        (int(t), name): int(bid > 0 and sizes["bid_size"][i] == 0) * SIZE_ZERO_BID
        + int(ask > 0 and sizes["ask_size"][i] == 0) * SIZE_ZERO_ASK
        for i, (t, name, bid, ask) in enumerate(
            zip(quotes["snapshot"], quotes["contract_id"], quotes["bid"], quotes["ask"], strict=True)
        )
    }
    fresh = (~m.stale_Q).nonzero().squeeze(1).tolist()
    keys = [(int(m.snapshot_T[m.row_snapshot_Q[q]]), names[int(m.row_contract_Q[q])]) for q in fresh]
    assert m.size_zero_Q[fresh].tolist() == [said[key] for key in keys]
    assert set(m.size_zero_Q.tolist()) == {0, 1, 2, 3}
    assert not m.size_zero_Q[m.stale_Q].any()
    assert not build(tables).size_zero_Q.any()


@pytest.mark.parametrize("missing", [np.nan, 0.0])
def test_a_settlement_without_its_price_is_refused_by_date(missing):
    quotes, underlyings, rates = small_tables(friday(opening_ns))[0]
    day = underlyings["snapshot"] == friday(clock.close_ns)
    holed = underlyings | {"open": np.where(day, missing, underlyings["open"])}
    with pytest.raises(MarketDataError, match=r"dated 2014-04-18, needs the open of 2014-04-18: found (nan|0)"):
        build((quotes, holed, rates), SMALL)


def test_a_holiday_expiration_settles_at_the_next_snapshot_for_the_last_sessions_close():
    day, value, dates, close = settled(friday(clock.close_ns), closed="2014-04-18")
    assert str(day) == "2014-04-21"
    assert value == close[dates.tolist().index(np.datetime64("2014-04-17").item())] - 100.0


def test_a_settlement_on_a_day_without_a_session_is_told_by_contract_date_and_price():
    told = build(small_tables(friday(clock.close_ns), closed="2014-04-18")[0], SMALL).info["notes"]
    assert told == [
        "Settled on a day without a session: X1001 and 3 more on 2014-04-18 by the session of 2014-04-17 "
        "(close 108.00; AM contracts by its open)."
    ]
    assert build(small_tables(friday(clock.close_ns))[0], SMALL).info["notes"] == []


def test_the_at_the_money_cells_share_a_strike_and_deltas_are_near_their_targets(market):
    m = market
    for index, cell in enumerate(CELLS):
        rows = m.grid_row_TG[:, index]
        rows = rows[rows >= 0]
        assert len(rows) > 0, cell.name
        assert (m.can_buy_Q & m.can_sell_Q & ~m.stale_Q)[rows].all()
        assert (m.right_K[m.row_contract_Q[rows]] == cell.right).all()
        target = CONFIG.near_days if cell.tenor == "near" else CONFIG.far_days
        assert ((m.tte_years_Q[rows] * 365 - target).abs() <= CONFIG.tenor_tolerance * target + 1e-9).all()
        if cell.delta is not None:
            assert ((m.delta_Q[rows].abs() - cell.delta).abs() <= delta_tolerance(cell.delta) + 1e-12).all()
        elif not cell.same_strike_as_near:
            assert ((m.delta_Q[rows].abs() - 0.5).abs() <= ATM_TOLERANCE + 0.02).all()
    for tenor in ("near", "far"):
        call, put = (m.grid_row_TG[:, CELL_INDEX[f"{tenor}_{side}_atm"]] for side in ("call", "put"))
        assert torch.equal(call >= 0, put >= 0)
        call, put = call[call >= 0], put[put >= 0]
        assert torch.equal(m.strike_K[m.row_contract_Q[call]], m.strike_K[m.row_contract_Q[put]])
    far, near = (m.grid_row_TG[:, CELL_INDEX[name]] for name in ("far_call_calendar", "near_call_atm"))
    both = (far >= 0) & (near >= 0)
    far, near = m.row_contract_Q[far[both]], m.row_contract_Q[near[both]]
    assert torch.equal(m.strike_K[far], m.strike_K[near])
    assert (m.expiration_K[far] > m.expiration_K[near]).all()


def test_the_at_the_money_strike_is_the_nearest_to_the_forward(tables, market):
    m, (quotes, _, _) = market, tables
    tradable = quotes["bid"] > 0
    for t in range(0, m.n_snapshots, 10):
        k = m.row_contract_Q[m.grid_row_TG[t, CELL_INDEX["near_call_atm"]]]
        listed = quotes["strike"][
            (quotes["snapshot"] == m.snapshot_T[t].item())
            & (quotes["expiration"] == m.expiration_K[k].item())
            & tradable
        ]
        tte = (m.expiration_K[k] - m.snapshot_T[t]).item() / clock.YEAR_NS
        forward = m.spot_T[t].item() * np.exp((m.rate_T[t] - m.dividend_yield_T[t]).item() * tte)
        assert abs(m.strike_K[k].item() - forward) == pytest.approx(np.abs(np.unique(listed) - forward).min())


def test_a_tenor_served_by_one_expiry_masks_the_calendar(tables):
    m = build(tables, dataclasses.replace(CONFIG, near_days=30.0, far_days=30.0))
    assert (m.grid_row_TG[:, CELL_INDEX["near_call_atm"]] >= 0).all()
    for name in ("far_call_calendar", "far_put_calendar"):
        assert (m.grid_row_TG[:, CELL_INDEX[name]] == -1).all()


def test_a_target_nobody_lists_leaves_its_cells_empty(tables):
    m = build(tables, dataclasses.replace(CONFIG, near_days=30.0, far_days=400.0))
    far = [CELL_INDEX[cell.name] for cell in CELLS if cell.tenor == "far"]
    assert (m.grid_row_TG[:, far] == -1).all()


@pytest.mark.parametrize("t", [30, 60, 90])
def test_nothing_up_to_a_snapshot_depends_on_what_follows(gappy, gappy_market, t):
    """Later quotes, prices, closes and rates go wild; every tensor up to t, row numbers included, is bit-identical."""
    quotes, underlyings, rates = gappy
    cut = gappy_market.snapshot_T[t].item()
    rng = np.random.default_rng(11)
    later = quotes["snapshot"] > cut
    scale = np.where(later, rng.lognormal(0, 2, len(later)), 1.0)
    wild_quotes = {**quotes, "bid": quotes["bid"] * scale, "ask": quotes["ask"] * scale * np.where(later, 1.5, 1.0)}
    drop = later & (rng.random(len(later)) < 0.4)
    after = underlyings["snapshot"] > cut
    wild = {
        name: np.where(after, underlyings[name] * 7.0, underlyings[name]) for name in ("open", "high", "low", "close")
    }
    after_rates = clock.close_ns(rates["date"]) > cut
    wild_rates = {**rates, "rate": np.where(after_rates, 0.19, rates["rate"])}
    # A few rows of the last snapshots are kept so that the calendar itself stays.
    keep = ~drop
    for ns in np.unique(quotes["snapshot"][later]):
        keep[np.flatnonzero(quotes["snapshot"] == ns)[:40]] = True
    other = build((kept(wild_quotes, keep), {**underlyings, **wild}, wild_rates))
    m = gappy_market
    rows = m.row_offset_T1[t + 1]
    assert other.row_offset_T1[t + 1] == rows
    assert torch.equal(other.grid_row_TG[: t + 1], m.grid_row_TG[: t + 1])
    assert torch.equal(other.features_TF[: t + 1], m.features_TF[: t + 1])
    for name, values in m.tensors().items():
        if name.endswith("_Q") and name != "next_row_Q":
            assert torch.equal(getattr(other, name)[:rows], values[:rows]), name
    seen = int(m.row_contract_Q[:rows].max()) + 1
    for name in ("contract_id_KB", "strike_K", "right_K", "expiration_K", "multiplier_K", "settle_index_K"):
        assert torch.equal(getattr(other, name)[:seen], getattr(m, name)[:seen]), name


@pytest.mark.parametrize("price", [1e-3, 1e5], ids=["below intrinsic value", "above any price"])
def test_a_quote_that_no_volatility_explains_is_in_no_cell_and_makes_nothing_a_nan(tables, price):
    """Half of one session's quotes, of contracts that a cell pointed at the session before and of others."""
    quotes, underlyings, rates = tables
    sound, t = build(tables), 30
    here = np.flatnonzero(quotes["snapshot"] == sound.snapshot_T[t].item())
    call, strike, spot = quotes["right"][here] == "C", quotes["strike"][here], sound.spot_T[t].item()
    spoilt = here[(call == (strike < spot)) if price < 1 else (np.arange(len(here)) % 2 == 0)]
    bid, ask = quotes["bid"].copy(), quotes["ask"].copy()
    bid[spoilt], ask[spoilt] = price, 2 * price
    market = build(({**quotes, "bid": bid, "ask": ask}, underlyings, rates))
    rows = torch.arange(int(market.row_offset_T1[t]), int(market.row_offset_T1[t + 1]))
    unsolved = rows[market.bid_Q[rows] == price]
    assert len(unsolved)
    assert not torch.isin(market.grid_row_TG, unsolved).any()
    assert (market.grid_row_TG[t] >= 0).any()
    for name in ("mark", "implied_vol", "delta", "gamma", "vega", "theta", "rho"):
        assert getattr(market, f"{name}_Q").isfinite().all(), name


def test_volume_is_not_read(tables, market):
    quotes, underlyings, rates = tables
    volume = np.random.default_rng(0).integers(0, 10_000, len(quotes["bid"])).astype(float)
    again = build(({**quotes, "volume": volume, "open_interest": volume}, underlyings, rates))
    assert torch.equal(again.grid_row_TG, market.grid_row_TG)


def test_the_order_of_the_input_rows_does_not_matter(tables, market):
    quotes, underlyings, rates = tables
    shuffled = kept(quotes, np.random.default_rng(0).permutation(len(quotes["bid"])))
    again = build((shuffled, underlyings, rates))
    for name, values in market.tensors().items():
        torch.testing.assert_close(getattr(again, name), values, rtol=0, atol=0, equal_nan=True)


def test_a_long_gap_ends_a_history(tables):
    quotes, underlyings, rates = tables
    days = np.unique(quotes["snapshot"])
    gone = np.isin(quotes["snapshot"], days[50:70])
    m = build((kept(quotes, ~gone), underlyings, rates))
    assert torch.nonzero(m.segment_end_T).squeeze(1).tolist() == [49, 99]
    rows = m.row_snapshot_Q == 49
    assert (m.next_row_Q[rows] == -1).all()
    later = torch.nonzero(m.row_snapshot_Q >= 50).squeeze(1)
    assert (m.next_row_Q[later[m.next_row_Q[later] >= 0]] > 0).all()


def test_parity_spot_marks_the_book_and_closes_settle_it(tables, market):
    quotes, underlyings, rates = tables
    parity = underlyings["close"] * 1.001
    parity[::2] = np.nan
    m = build((quotes, {**underlyings, "parity_spot": parity}, rates))
    ratio = (m.spot_T / market.spot_T).numpy()
    assert set(np.round(ratio, 6).tolist()) == {1.0, 1.001}
    known = {market.contract_id(k): market.settle_value_K[k].item() for k in range(len(market.strike_K))}
    same = [(m.settle_value_K[k].item(), known.get(m.contract_id(k))) for k in range(len(m.strike_K))]
    shared = [(a, b) for a, b in same if b is not None and not np.isnan(b)]
    assert len(shared) > 50
    assert all(a == b for a, b in shared)


def test_scaler_and_splits_are_recorded(market):
    start, stop = market.split("train")
    scaler = market.info["scaler"]
    assert scaler["fitted_on"] == [start, stop]
    mean = market.features_TF[start:stop].double().mean(0).tolist()
    assert scaler["mean"] == pytest.approx(mean, abs=1e-9)
    assert market.split("test")[0] - stop == 5


def test_few_sessions_have_a_test_window_and_no_scaler(tables):
    m = build(tables, dataclasses.replace(CONFIG, min_training_snapshots=1000))
    assert m.info["splits"] == {"test": [0, 120]}
    assert "scaler" not in m.info


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("exercise", "american", "trades european contracts only"),
        ("settlement", "physical", "trades cash contracts only"),
        ("underlying", "OTHER", "Build one market per underlying"),
        ("currency", "EUR", "Build one market per underlying"),
    ],
)
def test_what_cannot_be_traded_is_refused(tables, column, value, message):
    quotes, underlyings, rates = tables
    mixed = np.array(quotes[column], dtype=object)
    mixed[5] = value
    with pytest.raises(MarketDataError, match=message):
        build(({**quotes, column: mixed}, underlyings, rates))


def test_faulty_tables_are_refused(tables):
    quotes, underlyings, rates = tables
    twice = np.append(np.arange(len(quotes["bid"])), 3)
    with pytest.raises(MarketDataError, match="1 duplicate rows"):
        build((kept(quotes, twice), underlyings, rates))
    with pytest.raises(MarketDataError, match="no SIM session for"):
        build((quotes, kept(underlyings, slice(0, 90)), rates))
    with pytest.raises(MarketDataError, match="no rate on or before"):
        build((quotes, underlyings, kept(rates, slice(60, None))))
    strike = quotes["strike"].copy()
    strike[0] += 1.0
    with pytest.raises(MarketDataError, match="two expirations or strikes"):
        build(({**quotes, "strike": strike}, underlyings, rates))
    with pytest.raises(MarketDataError, match="no quotes at all"):
        build((kept(quotes, slice(0, 0)), underlyings, rates))
