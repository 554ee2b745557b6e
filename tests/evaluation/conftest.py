"""Hand-made backtest folders, a small simulated market with its quotes file, and tiny checkpoints."""

import dataclasses
import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from clstm_core.checkpoint import save_checkpoint
from clstm_core.config import EnvConfig, MarketConfig, smoke
from clstm_core.env.state import AccountState, Orders
from clstm_core.env.table_view import TableView
from clstm_core.evaluation import ledgers
from clstm_core.market.build.assemble import build_market_tensors
from clstm_core.market.tables.schema import QUOTES, RATES, UNDERLYINGS, UTC_NS
from clstm_core.market.worlds.black_scholes import simulated_columns, simulated_info
from clstm_core.model.clstm import CLSTM
from clstm_core.options.black_scholes import greeks
from clstm_core.options.implied_vol import implied_vol
from clstm_core.specs import ACTIONS, MAX_LEGS, OBSERVATION
from tests.evaluation.made_up import comparison, evidence, results  # noqa: F401 - fixtures

FIRST = datetime(2020, 1, 2, 21, tzinfo=UTC)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_folder(folder: Path, tables: dict[str, pl.DataFrame], quotes: Path) -> Path:
    """Tables as a backtest folder with a manifest that is true of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    files = {f"{name}.parquet": sha256(folder / f"{name}.parquet") for name in tables}
    env = EnvConfig(capital_usd=10_000.0, share_spread_bps=100.0, borrow_rate=0.365)
    manifest = {
        "name": "by hand",
        "source": "by_hand",
        "near_days": 30.0,
        "env": dataclasses.asdict(env),
        "quotes": {"path": str(quotes), "sha256": sha256(quotes)},
        "files": files,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def rewrite(folder: Path, name: str, change) -> None:
    """Alter a ledger and make the manifest agree, so that only the numbers can tell."""
    path = folder / f"{name}.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name] = sha256(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def edit():
    """`rewrite`, for tests that plant a fault."""
    return rewrite


def risk_uses(equity, shares, weight, spot, days, vol, rate, dividend) -> dict[str, float]:
    """What shares and a 100 put take of the risk budget, shares of equity; a crash is -20% and twice the volatility."""
    delta = vega = crash = 0.0
    if weight:
        rates = [torch.tensor(value, dtype=torch.float64) for value in (rate, dividend, -1.0)]
        strike, tte = (torch.tensor(value, dtype=torch.float64) for value in (100.0, days / 365))
        now = greeks(torch.tensor(spot, dtype=torch.float64), strike, tte, vol, *rates)
        then = greeks(torch.tensor(0.8 * spot, dtype=torch.float64), strike, tte, 2.0 * vol, *rates)
        delta, vega, crash = float(now.delta), float(now.vega), float(then.price - now.price)
    return {
        "net_exposure": abs(shares + weight * delta) * spot / equity,
        "gross_exposure": (abs(shares) + abs(weight * delta)) * spot / equity,
        "crash_loss": max(0.0, 0.2 * shares * spot - weight * crash) / equity,
        "vega_per_point": 0.01 * abs(weight * vega) / equity,
        "book_vega_usd": 0.01 * weight * vega,
    }


@pytest.fixture
def hand_made(tmp_path):
    """Four steps worked out by hand: a put sold, bought back in part and settled; shares bought, sold and short.

    A day's interest is 1 in 10,000, a day's dividend 5 in 10,000, a day's borrow cost 1 in 1,000; a share costs half a
    percent beside the spot. The put is not quoted on the second day: it is marked at its last volatility then.
    """
    snapshot = [FIRST + timedelta(days=day) for day in range(5)]
    spot = [100.0, 100.0, 101.0, 102.0, 99.0]
    terms = {"root": "SPXW", "expiration": snapshot[4], "strike": 100.0, "multiplier": 100.0}
    rows = [
        {"snapshot": snapshot[day], "contract_id": "P100", "right": "P", "bid": bid, "ask": ask}
        for day, bid, ask in ((1, 2.0, 2.2), (3, 1.0, 1.4))
    ]
    rows += [{"snapshot": at, "contract_id": "C100", "right": "C", "bid": 2.0, "ask": 2.5} for at in snapshot]
    instants = {name: UTC_NS for name in ("snapshot", "expiration")}
    quotes = pl.DataFrame([row | terms for row in rows]).cast(instants)
    path = tmp_path / "quotes.parquet"
    quotes.write_parquet(path)
    underlyings = pl.DataFrame({"snapshot": snapshot, "open": [98.0] * 5, "close": spot})
    underlyings.cast({"snapshot": UTC_NS}).write_parquet(tmp_path / "underlyings.parquet")
    rate, dividend = 365 * math.log1p(1e-4), 365 * math.log1p(5e-4)
    pl.DataFrame(
        {
            "date": [FIRST.date()] * 2,
            "tenor_days": [91.0, 30.0],
            "rate": [0.5, rate],
            "dividend_yield": [0.5, dividend],
        }
    ).write_parquet(tmp_path / "rates.parquet")

    def fill(step, kind, quantity, price, fee, reason, bid, ask):
        option = kind == "option"
        return {
            "episode": 0,
            "step": step,
            "snapshot": snapshot[step],
            "kind": kind,
            "contract_id": "P100" if option else None,
            "quantity": quantity,
            "price": price,
            "multiplier": 100.0 if option else 1.0,
            "fee_usd": fee,
            "reason": reason,
            "fill_rule": "touch",
            "bid": bid,
            "ask": ask,
            "size_zero": False,
        }

    fills = [
        # sell 3 puts at the bid and buy 10 shares; buy one put back and sell 25 shares; the puts settle at 100 - 99
        fill(1, "option", -3.0, 2.0, 1.95, "open", 2.0, 2.2),
        fill(1, "underlying", 10.0, 100.5, 0.05, "open", 99.5, 100.5),
        fill(3, "option", 1.0, 1.4, 0.65, "close", 1.0, 1.4),
        fill(3, "underlying", -25.0, 101.49, 0.125, "hedge", 101.49, 102.51),
        fill(4, "option", 2.0, 1.0, 0.0, "expiry", 1.0, 1.0),
    ]
    # mid 2.10 three days before expiry gives a volatility, and that the mark a day later
    put = (torch.tensor(value, dtype=torch.float64) for value in (100.0, 100.0, 3 / 365, rate, dividend, -1.0))
    vol = implied_vol(torch.tensor(2.1, dtype=torch.float64), *put)
    later = [torch.tensor(value, dtype=torch.float64) for value in (101.0, 100.0, 2 / 365)]
    stale = float(greeks(*later, vol, *(torch.tensor(value).double() for value in (rate, dividend, -1.0))).price)
    paid = [0.0, -600 + 1.95 + 1005 + 0.05, 0.0, 140 + 0.65 - 25 * 101.49 + 0.125, 200.0]
    # on 10 shares, 10 shares, then 15 short ones
    dividends = [0.0, 0.0, 10 * 101 * 5e-4, 10 * 102 * 5e-4, -15 * 99 * 5e-4]
    borrow = [0.0, 0.0, 0.0, 0.0, 15 * 102 * 1e-3]
    cash, interest = [10_000.0], [0.0]
    for step in range(1, 5):
        interest.append(cash[-1] * 1e-4)
        cash.append(cash[-1] + interest[-1] + dividends[step] - borrow[step] - paid[step])
    options = [0.0, -3 * 100 * 2.1, -3 * 100 * stale, -2 * 100 * 1.2, 0.0]
    shares = [0.0, 10.0, 10.0, -15.0, -15.0]
    option_marks = [0.0, 0.0, -300 * (stale - 2.1), -300 * (1.2 - stale), 0.0]
    share_marks = [0.0, 0.0, 10.0, 10.0, 45.0]
    zero = [0.0] * 5
    worth = [c + n * s + o for c, n, s, o in zip(cash, shares, spot, options, strict=True)]
    # one day before expiry the mid of 1.20 gives another volatility
    last = (torch.tensor(value, dtype=torch.float64) for value in (102.0, 100.0, 1 / 365, rate, dividend, -1.0))
    vols = [None, vol, vol, implied_vol(torch.tensor(1.2, dtype=torch.float64), *last), None]
    uses = [
        risk_uses(*row, rate, dividend)
        for row in zip(worth, shares, [0.0, -300.0, -300.0, -200.0, 0.0], spot, [4, 3, 2, 1, 0], vols, strict=True)
    ]
    equity = pl.DataFrame(
        {
            "episode": [0] * 5,
            "step": range(5),
            "snapshot": snapshot,
            "spot": spot,
            "cash_usd": cash,
            "shares": shares,
            "options_mark_usd": options,
            "equity_usd": worth,
            "interest_usd": interest,
            "dividends_usd": dividends,
            "borrow_usd": borrow,
            "margin_usd": zero,
            "cash_return": [0.0, *[1e-4] * 4],
            "fees_usd": [0.0, 2.0, 0.0, 0.775, 0.0],
            # a tenth below mid on three puts and half a dollar per share; then a fifth and 0.51
            "slippage_usd": [0.0, 30.0 + 5.0, 0.0, 20.0 + 25 * 0.51, 0.0],
            "settlement_usd": [0.0, 0.0, 0.0, 0.0, -2 * 100 * (1.0 - 1.2)],
            "option_mark_change_usd": option_marks,
            "share_mark_change_usd": share_marks,
            **{f"{name}_usd": zero for name in ("delta", "gamma", "vega", "theta")},
            "carry_usd": [i + d - b for i, d, b in zip(interest, dividends, borrow, strict=True)],
            "residual_usd": [o + s for o, s in zip(option_marks, share_marks, strict=True)],
            **{name: [use[name] for use in uses] for name in uses[0]},
            # 3 puts sold for 2.00
            "premium_sold": [0.0, *(600.0 / equity for equity in worth[1:])],
        }
    ).with_columns(pl.col("snapshot").cast(UTC_NS))
    held = [(1, -3.0, 2.1, False), (2, -3.0, stale, True), (3, -2.0, 1.2, False)]
    positions = [
        {
            "step": step,
            "contract_id": "P100",
            "quantity": quantity,
            "multiplier": 100.0,
            "mark": mark,
            "stale": stale,
            "snapshot": snapshot[step],
        }
        for step, quantity, mark, stale in held
    ]
    tables = {
        "fills": pl.DataFrame(fills).select(list(ledgers.FILLS)).cast(ledgers.FILLS),
        "equity": equity,
        "positions": pl.DataFrame([{"episode": 0} | row for row in positions]).cast(ledgers.POSITIONS),
    }
    return SimpleNamespace(folder=write_folder(tmp_path / "by_hand", tables, path), quotes=path, tables=tables)


@pytest.fixture(scope="session")
def market_config():
    """A simulated world with a premium: 380 sessions, three windows."""
    return MarketConfig(
        source="simulated", n_snapshots=380, train_fraction=0.5, validation_fraction=0.2, seed=11, feature_lookback=21
    )


@pytest.fixture(scope="session")
def market(market_config, tmp_path_factory):
    """The simulated market, with the canonical tables it was built from as Parquet files."""
    quotes, underlyings, rates = simulated_columns(market_config)
    path = tmp_path_factory.mktemp("quotes") / "quotes.parquet"
    schemas = {"quotes": QUOTES, "underlyings": UNDERLYINGS, "rates": RATES}
    for (name, schema), columns in zip(schemas.items(), (quotes, underlyings, rates), strict=True):
        frame = pl.DataFrame({key: np.asarray(column) for key, column in columns.items()}, schema_overrides=schema)
        frame.write_parquet(path.with_stem(name))
    info = simulated_info(market_config) | {"quotes_path": str(path), "quotes_sha256": sha256(path)}
    return build_market_tensors(quotes, underlyings, rates, market_config, embargo=21, info=info)


@pytest.fixture(scope="session")
def ladder(tmp_path_factory):
    """Two untrained checkpoints as a run's folders, of different weights, the second eager to trade."""
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    folders = []
    for milestone, steps in (("020", 256), ("100", 1280)):
        torch.manual_seed(steps)
        config = smoke()
        model = CLSTM(len(OBSERVATION), len(ACTIONS), config.model)
        with torch.no_grad():
            model.policy_head.weight.mul_(300.0)
        meta = {
            "milestone": milestone,
            "env_steps": steps,
            "config": config.to_dict(),
            "observation_size": len(OBSERVATION),
            "n_actions": len(ACTIONS),
            "data_source": "simulated",
            "data_label": "simulated quotes",
        }
        folder = run_dir / "checkpoints" / milestone
        folders.append(save_checkpoint(folder, model=model.state_dict(), state={}, meta=meta))
    return folders


@pytest.fixture
def account_of(market):
    """Accounts of given equities, all in cash, at one snapshot of the simulated market."""

    def build(*equities: float, snapshot: int = 320, config: EnvConfig | None = None, market=market) -> SimpleNamespace:
        n = len(equities)
        equity = torch.tensor(equities, dtype=torch.float64)
        zero = torch.zeros(n, dtype=torch.int64)
        legs = torch.zeros(n, MAX_LEGS, dtype=torch.float64)
        state = AccountState(
            cash_N=equity.clone(),
            shares_N=torch.zeros(n, dtype=torch.float64),
            leg_row_NL=torch.full((n, MAX_LEGS), -1),
            leg_quantity_NL=legs,
            leg_entry_price_NL=legs.clone(),
            entry_equity_N=equity.clone(),
            equity_N=equity,
            snapshot_index_N=torch.full((n,), snapshot),
            age_N=zero,
            episode_N=zero,
            seed_N=zero,
            premium_sold_N=torch.zeros(n, dtype=torch.float64),
        )

        config = config or EnvConfig()
        view = TableView.build(market, config, (snapshot, snapshot + 1), torch.float64)

        def orders_for(action):
            return Orders.none(n)._replace(share_quantity_N=action)

        return SimpleNamespace(n_envs=n, market=market, config=config, view=view, state=state, orders_for=orders_for)

    return build


@pytest.fixture(scope="session")
def decide():
    """Orders of a policy that has just begun, every action legal unless said otherwise."""

    def ask(policy, env, mask=None) -> Orders:
        policy.reset(env.n_envs)
        obs = torch.zeros(env.n_envs, len(OBSERVATION))
        return policy.decide(env, obs, torch.ones(env.n_envs, len(ACTIONS), dtype=torch.bool) if mask is None else mask)

    return ask
