"""Hand-made backtest folders, a small simulated market with its quotes file, and tiny checkpoints."""

import hashlib
import json
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
from clstm_core.market.tables.schema import QUOTES, UTC_NS
from clstm_core.market.worlds.black_scholes import simulated_columns, simulated_info
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS, MAX_LEGS, OBSERVATION

FIRST = datetime(2020, 1, 2, 21, tzinfo=UTC)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_folder(folder: Path, tables: dict[str, pl.DataFrame], quotes: Path) -> Path:
    """Tables as a backtest folder with a manifest that is true of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
    files = {f"{name}.parquet": sha256(folder / f"{name}.parquet") for name in tables}
    manifest = {"name": "by hand", "quotes": {"path": str(quotes), "sha256": sha256(quotes)}, "files": files}
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


@pytest.fixture
def hand_made(tmp_path):
    """Three steps worked out by hand: a put sold and bought back, ten shares bought, one stale mark."""
    snapshot = [FIRST + timedelta(days=day) for day in range(4)]
    quotes = pl.DataFrame(
        {
            "snapshot": [snapshot[1], snapshot[3]],
            "contract_id": ["P100", "P100"],
            "bid": [2.0, 1.0],
            "ask": [2.2, 1.4],
        }
    ).with_columns(pl.col("snapshot").cast(UTC_NS))
    path = tmp_path / "quotes.parquet"
    quotes.write_parquet(path)
    common = {"episode": 0, "fill_rule": "touch", "size_zero": False}
    fills = [
        # sell 3 puts at the bid, buy 10 shares; a day later nothing; then buy one put back at the ask
        {
            "step": 1,
            "snapshot": snapshot[1],
            "kind": "option",
            "contract_id": "P100",
            "quantity": -3.0,
            "price": 2.0,
            "multiplier": 100.0,
            "fee_usd": 1.95,
            "reason": "open",
            "bid": 2.0,
            "ask": 2.2,
        },
        {
            "step": 1,
            "snapshot": snapshot[1],
            "kind": "underlying",
            "contract_id": None,
            "quantity": 10.0,
            "price": 100.5,
            "multiplier": 1.0,
            "fee_usd": 0.05,
            "reason": "open",
            "bid": 99.5,
            "ask": 100.5,
        },
        {
            "step": 3,
            "snapshot": snapshot[3],
            "kind": "option",
            "contract_id": "P100",
            "quantity": 1.0,
            "price": 1.4,
            "multiplier": 100.0,
            "fee_usd": 0.65,
            "reason": "close",
            "bid": 1.0,
            "ask": 1.4,
        },
    ]
    # cash: 10,000 + 600 - 1.95 - 1,005 - 0.05 + 1 interest = 9,593.99... by the step
    cash = [10_000.0, 10_000 + 1 + 600 - 1.95 - 1005 - 0.05, 0.0, 0.0]
    cash[2] = cash[1] + 2 + 0.5
    cash[3] = cash[2] + 2 - 140 - 0.65
    options = [0.0, -3 * 100 * 2.1, -3 * 100 * 1.9, -2 * 100 * 1.2]
    spot, shares = [100.0, 100.0, 101.0, 102.0], [0.0, 10.0, 10.0, 10.0]
    equity = pl.DataFrame(
        {
            "episode": [0] * 4,
            "step": range(4),
            "snapshot": snapshot,
            "spot": spot,
            "cash_usd": cash,
            "shares": shares,
            "options_mark_usd": options,
            "equity_usd": [c + n * s + o for c, n, s, o in zip(cash, shares, spot, options, strict=True)],
            "interest_usd": [0.0, 1.0, 2.0, 2.0],
            "dividends_usd": [0.0, 0.0, 0.5, 0.0],
            "borrow_usd": [0.0] * 4,
            "margin_usd": [0.0] * 4,
        }
    ).with_columns(pl.col("snapshot").cast(UTC_NS))
    held = [(1, -3.0, 2.1, False), (2, -3.0, 1.9, True), (3, -2.0, 1.2, False)]
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
        "fills": pl.DataFrame([common | fill for fill in fills]).select(list(ledgers.FILLS)).cast(ledgers.FILLS),
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
    """The simulated market, with the canonical quotes it was built from as a Parquet file."""
    quotes, underlyings, rates = simulated_columns(market_config)
    path = tmp_path_factory.mktemp("quotes") / "quotes.parquet"
    frame = pl.DataFrame({name: np.asarray(column) for name, column in quotes.items()}, schema_overrides=QUOTES)
    frame.write_parquet(path)
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
