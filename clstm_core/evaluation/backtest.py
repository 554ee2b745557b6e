"""Backtests: one chronological account over a whole window, through the very environment the policy was trained in.

Several policies walk one window side by side (`walk`), and each one's ledgers are written, or kept in memory alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clstm_core.artifacts.folder import scratch, settle
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import BacktestManifest
from clstm_core.config import EnvConfig
from clstm_core.errors import EvaluationError
from clstm_core.evaluation import ledgers, summary, words
from clstm_core.evaluation.policies import Policy
from clstm_core.evaluation.protocol import require_clean
from clstm_core.evaluation.statistics import Floats
from clstm_core.evaluation.walk import Progress, steps_of, walk_window
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import ACTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class BacktestResult:
    """A written backtest: its folder, and the manifest that says what it is and what came out."""

    id: str
    folder: Path
    manifest: dict[str, Any]
    artifact: BacktestManifest

    @property
    def name(self) -> str:
        """The policy's name, unique in a comparison."""
        return self.manifest["name"]

    def table(self, name: str) -> pl.DataFrame:
        """One of `fills`, `equity`, `positions`, `decisions`."""
        return pl.read_parquet(self.folder / f"{name}.parquet")

    def curves(self) -> tuple[Floats, Floats, pl.Series]:
        """As `curves_of` gives them."""
        return curves_of(self.table("equity"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Traded:
    """One policy's accounts over one window as they were traded, in memory: a `Backtest` that nobody has written."""

    facts: dict[str, Any]
    tables: Mapping[str, pl.DataFrame]
    summary: dict[str, Any]
    parents: dict[str, str]
    id: str = ""

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.facts["name"]

    @property
    def manifest(self) -> dict[str, Any]:
        """What was traded on what, and the summary."""
        return {**self.facts, "summary": self.summary}

    def table(self, name: str) -> pl.DataFrame:
        """One of `fills`, `equity`, `positions`, `decisions`."""
        return self.tables[name]

    def curves(self) -> tuple[Floats, Floats, pl.Series]:
        """As `curves_of` gives them."""
        return curves_of(self.tables["equity"])


def curves_of(equity: pl.DataFrame) -> tuple[Floats, Floats, pl.Series]:
    """Equity [T + 1, E], the returns of cash [T], and the snapshots [T + 1] of the steps that some account lived.

    An account that ended before another keeps its last equity: what was left lies idle.
    """
    wide = equity.pivot("episode", index="step", values="equity_usd").sort("step")
    dates = equity.sort("step").unique("step", keep="first", maintain_order=True)
    curves = wide.drop("step").fill_null(strategy="forward").to_numpy()
    return curves, dates["cash_return"].to_numpy()[1:], dates["snapshot"]


def resolve_window(market: MarketTensors, window: str | tuple[int, int]) -> tuple[str, int, int]:
    """Name and snapshots [start, stop) of a window: a split's name, `in_sample`, or a range.

    `in_sample` is the end of the training split, as long as the test split where there is that much: the stretch of
    training data that a held-out window is fairly compared with.

    Raises: MarketDataError for a split there is not; EvaluationError for a window with less than one step
    """
    if isinstance(window, tuple):
        name, (start, stop) = f"{window[0]}-{window[1]}", window
    elif window == "in_sample":
        name, (start, stop) = window, market.split("train")
        if "test" in market.info.get("splits", {}):
            length = market.split("test")[1] - market.split("test")[0]
            start = max(start, stop - length)
    else:
        name, (start, stop) = window, market.split(window)
    if not 0 <= start < stop - 1 < market.n_snapshots:
        raise EvaluationError(
            f"window {name} is [{start}, {stop}) of {market.n_snapshots} snapshots: expected at least two snapshots "
            "inside the market. Use another window or a longer history."
        )
    return name, start, stop


def windows_of(market: MarketTensors) -> list[str]:
    """The windows that this market can show, test first: test, validation, in_sample."""
    splits = market.info.get("splits", {})
    found = [name for name in ("test", "validation") if name in splits and splits[name][1] - splits[name][0] >= 2]
    if "train" in splits and splits["train"][1] - splits["train"][0] >= 2:
        found.append("in_sample")
    return found


def run_backtest(
    policy: Policy, market: MarketTensors, env_config: EnvConfig, window: str | tuple[int, int], **options: Any
) -> BacktestResult:
    """`run_backtests` of one policy."""
    return run_backtests([policy], market, env_config, window, **options)[0]


def run_backtests(
    policies: Sequence[Policy],
    market: MarketTensors,
    env_config: EnvConfig,
    window: str | tuple[int, int] = "test",
    *,
    out_dir: Path,
    seed: int = 0,
    quotes: Mapping[str, str | None] | None = None,
    meta: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[BacktestResult]:
    """Trade a window from its first to its last snapshot with each policy, and write each account's ledgers.

    Args:
        env_config: costs, limits, fill rule and lag; its horizon is replaced by the whole window
        out_dir: folder of backtests; each becomes `out_dir/<id>`
        quotes: path and sha256 of the canonical quotes file; those of `market.info` when left out
        meta: run, config_sha256, git_commit, ... kept in the manifests; `premium` says whether a modelled
            world has one where `market.info` does not
        progress: called with steps done and steps in all

    Raises: EvaluationError when two policies share a name or the window is too short
    """
    accounts = trade(policies, market, env_config, window, seed=seed, quotes=quotes, meta=meta, progress=progress)
    return [_write(account, out_dir) for account in accounts]


def trade(
    policies: Sequence[Policy],
    market: MarketTensors,
    env_config: EnvConfig,
    window: str | tuple[int, int] = "test",
    *,
    seed: int = 0,
    quotes: Mapping[str, str | None] | None = None,
    meta: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Traded]:
    """The accounts of `run_backtests`, which takes the same arguments, written nowhere."""
    names = [policy.name for policy in policies]
    if len(set(names)) < len(names):
        raise EvaluationError(f"policies named {', '.join(names)}: expected one name each. Rename those that repeat.")
    name, start, stop = resolve_window(market, window)
    config = dataclasses.replace(env_config, horizon=stop - 1 - start)
    records = walk_window(policies, market, config, (start, stop), seed=seed, progress=progress)
    symbols = ledgers.contract_names(market)
    accounts = []
    for policy, record in zip(policies, records, strict=True):
        tables = ledgers.frames(
            record,
            market,
            start=start,
            capital=config.capital_usd,
            fill_rule=fill_rule_name(config),
            action_names=ACTIONS,
            names=symbols,
        )
        facts = _facts(policy, market, config, (name, start, stop), seed, quotes or {}, meta or {})
        parents = {"tensors": market.identity, "checkpoint": (facts["trader"]["checkpoint"] or {}).get("sha256")}
        accounts.append(
            Traded(
                facts=facts,
                tables=tables,
                summary=summary.summarise(tables, capital=config.capital_usd),
                parents={role: found for role, found in parents.items() if found},
            )
        )
    return accounts


def fill_rule_name(config: EnvConfig) -> str:
    """`touch`, or `fraction 0.56` of the half-spread."""
    return words.fill_rule(dataclasses.asdict(config))


def load_backtest(folder: Path, *, identity: str | None = None) -> BacktestResult:
    """A backtest that was written before; EvaluationError when it is not whole or not the one of that identity."""
    manifest = BacktestManifest.read(folder / FILE, identity=identity)
    return BacktestResult(id=manifest.id, folder=folder, manifest=manifest.flat(), artifact=manifest)


def _facts(
    policy: Policy,
    market: MarketTensors,
    config: EnvConfig,
    window: tuple[str, int, int],
    seed: int,
    quotes: Mapping[str, str | None],
    meta: Mapping[str, Any],
) -> dict[str, Any]:
    """What was backtested on what: everything of the manifest but the outcome."""
    name, start, stop = window
    info, trader = market.info, policy.describe()
    checkpoint = trader.get("checkpoint") or {}
    last = start + steps_of(market, start, stop)
    first_snapshot, last_snapshot = (_timestamp(int(market.snapshot_T[index])) for index in (start, last))
    return {
        "name": policy.name,
        "policy": "checkpoint" if policy.kind == "checkpoint" else policy.name,
        "milestone": checkpoint.get("milestone", ""),
        "mode": trader["mode"] if policy.kind == "checkpoint" else "",
        "trader": trader,
        "window": {"name": name, "start": start, "stop": stop, "first": first_snapshot, "last": last_snapshot},
        "first_date": first_snapshot[:10],
        "last_date": last_snapshot[:10],
        "n_snapshots": last - start + 1,
        "fill_rule": config.fill_rule,
        "fill_fraction": config.fill_fraction,
        "fill_lag": config.fill_lag,
        "seed": seed,
        "n_episodes": policy.n_episodes,
        "env": dataclasses.asdict(config),
        **{key: info.get(key) for key in ("source", "label", "spread", "near_days", "far_days")},
        "premium": _premium(info),
        "currency": info.get("currency", "USD"),
        "market_notes": info.get("notes", []),
        "quotes": {
            "path": quotes.get("path") or info.get("quotes_path"),
            "sha256": quotes.get("sha256") or info.get("quotes_sha256"),
        },
        "market_settings": info.get("settings", {}),
        "data_sha256": market.identity,
        "notes": policy.notes(),
        **({"config_sha256": checkpoint["config_sha256"]} if checkpoint.get("config_sha256") else {}),
        **meta,
        "run": meta.get("run") or checkpoint.get("run"),
    }


def _premium(info: Mapping[str, Any]) -> bool | None:
    """Whether the world's path and its option prices disagree (a premium); None where the source does not say."""
    if "premium" in info:
        return bool(info["premium"])
    world = info.get("world")
    return None if not world else world["vol"] != world["pricing_vol"] or world["drift"] != 0.0


def _timestamp(nanoseconds: int) -> str:
    return str(np.datetime64(nanoseconds, "ns").astype("datetime64[s]")) + "Z"


def _write(account: Traded, out_dir: Path) -> BacktestResult:
    """Write the ledgers and the manifest as `out_dir/<content hash>`, whole or not at all."""
    require_clean([account])
    with scratch(out_dir, "backtest") as place:
        for name, table in account.tables.items():
            table.write_parquet(place / f"{name}.parquet", compression="zstd")
        files = files_of(place)
        identity = summary.content_hash(account.facts, files)
        BacktestManifest(
            id=identity,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            facts=account.facts,
            summary=account.summary,
            files=files,
            parents=account.parents,
        ).write(place / FILE)
        settle(place, out_dir / identity)
    return load_backtest(out_dir / identity)
