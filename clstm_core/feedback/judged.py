"""Champion and challenger on the same days that neither was trained on: accounts, luck, regimes, and the bundle."""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from clstm_core.artifacts.code import code_sha256, git_commit
from clstm_core.artifacts.folder import file_sha256, json_sha256, sweep
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BacktestSet, BundleManifest, RunInputs
from clstm_core.artifacts.places import DIGITS, Places
from clstm_core.config import RunConfig
from clstm_core.errors import BundleError, ConfigError
from clstm_core.evaluation.backtest import BacktestResult, run_backtests
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.fair_walk import walk_fair_worlds
from clstm_core.evaluation.fair_worlds import surface_for, why_not
from clstm_core.evaluation.luck import p_value
from clstm_core.evaluation.periods import Account
from clstm_core.evaluation.ratios import expected_shortfall
from clstm_core.evaluation.regimes import TERCILES, implied_by_date
from clstm_core.evaluation.statistics import Floats, log_returns, max_drawdown
from clstm_core.evaluation.trial_ledger import challengers, weights_of
from clstm_core.feedback.minds import CHALLENGER, CHAMPION, Mind
from clstm_core.feedback.registry import standing_plan
from clstm_core.feedback.registry_files import BUNDLES
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.market.worlds.fair import fair_world
from clstm_core.train.champion import read_champion
from clstm_core.walk_forward.markets import dates_of
from clstm_core.walk_forward.measured import kept_or_made
from clstm_core.walk_forward.trained import Hooks

CASH, WINDOW = "cash", "test"
ASSET = "challenger_policy"
"""Name of a run's set of backtests of the judged days."""

BUNDLE_CODE = "clstm_core.deployment.bundle"
STANDING = "challenger: judged beside the champion on days that neither was trained on; the registry says what came"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the judged days showed.

    pairs: date, challenger, champion, cash (log growth per session), regime; backtests: the set that it follows from
    """

    pairs: pl.DataFrame
    figures: dict[str, Any]
    facts: dict[str, Any]
    backtests: BacktestSet


def judge(
    minds: list[Mind],
    config: RunConfig,
    inputs: RunInputs,
    places: Places,
    hooks: Hooks,
    *,
    worlds: int,
) -> Judged:
    """Trade the judged days with the challenger, the champion where there is one, and cash; place both among luck.

    The look is entered in the trial registry once, before the set of backtests is written.

    Args:
        minds: the challenger, and the champion behind it
    """
    identity = str(inputs.data_sha256)
    folder, run = places.tensors(identity), places.run(inputs.run)
    market = load_market(folder, identity=identity)
    policies = [mind.policy(config.seed) for mind in minds]

    def walk() -> list[BacktestResult]:
        return run_backtests(
            [Rule(CASH, "Cash at the risk-free rate"), *policies],
            market,
            config.env,
            WINDOW,
            out_dir=places.backtests,
            seed=config.seed,
            meta={"git_commit": git_commit()},
        )

    weights = [mind.checkpoint["sha256"] for mind in minds]
    kept = kept_or_made(run.backtests(ASSET), run.name, [identity, *weights], walk, places, hooks)
    looked = weights_of(places, minds[0].checkpoint)
    accounts = {result.name: Account.of(result.table("equity")) for result in kept.results}
    ours = accounts[minds[0].name]
    theirs = accounts[minds[1].name] if len(minds) > 1 else None
    luck = _luck(minds, accounts, market, config, worlds)
    return Judged(
        pairs=pairs_of(ours, theirs, regimes_of(ours, folder, market)),
        figures={**_figures(ours, ""), **_figures(theirs, "champion_"), **luck, "sessions": len(ours.cash)},
        facts={
            "first": ours.dates[1],
            "last": ours.dates[-1],
            "sessions": len(ours.cash),
            "label": market.info["label"],
            "worlds": worlds if luck["luck_p"] is not None else 0,
            "why_no_luck": why_not(market, market.split(WINDOW)),
            "trained_until": _day(folder, market.split("train")[1] - 1),
            "weights": looked,
            "looked": challengers(places).get((looked, ours.dates[-1])),
            "plan_sha256": standing_plan(places).sha256,
        },
        backtests=kept.set,
    )


def pairs_of(ours: Account, theirs: Account | None, regime: list[str]) -> pl.DataFrame:
    """One row per judged session; without a champion its column is cash's: what the challenger is held against then."""
    cash = np.log1p(ours.cash)
    return pl.DataFrame(
        {
            "date": [date.fromisoformat(day) for day in ours.dates[1:]],
            CHALLENGER: log_returns(ours.equity),
            CHAMPION: cash if theirs is None else log_returns(theirs.equity),
            CASH: cash,
            "regime": regime,
        }
    )


def regimes_of(account: Account, folder: Path, market: MarketTensors) -> list[str]:
    """The regime of each session [T]: the third of the *training dates'* volatility that the close before it lies in.

    Volatility is the implied one at the money of the near expiry; a session whose close shows none has the last known.
    """
    implied, days = implied_by_date(folder), dates_of(folder)
    start, stop = market.split("train")
    trained = [implied[day.isoformat()] for day in days[start:stop] if day.isoformat() in implied]
    edges = np.quantile(trained, (1 / 3, 2 / 3)) if trained else np.array([np.inf, np.inf])
    found, last = [], float(np.median(trained)) if trained else 0.0
    for day in account.dates[:-1]:
        last = implied.get(day, last)
        found.append(TERCILES[int(np.searchsorted(edges, last, side="left"))])
    return found


def ensure_bundle(
    mind: Mind,
    config: RunConfig,
    inputs: RunInputs,
    judged: Judged,
    said: dict[str, str],
    places: Places,
    parity_steps: int,
) -> BundleManifest:
    """The challenger's bundle, the one that stands or built now; its parity is proven before it is written.

    Args:
        said: what its provenance says besides where it comes from

    Raises: BundleError where an exported graph decides otherwise than the trained policy
    """
    from clstm_core.deployment.bundle import build_bundle, load_bundle
    from clstm_core.deployment.parity import unbroken_env

    run, folder = places.run(inputs.run), places.bundle(inputs.run)
    checkpoint = run.checkpoint(mind.checkpoint["milestone"])
    provenance = {
        "run": run.name,
        "standing": STANDING,
        "data_label": judged.facts["label"],
        "data_sha256": inputs.data_sha256,
        "trained_on": inputs.facts["trained_on"],
        "training_data_sha256": inputs.training_data_sha256,
        "trained_until": judged.facts["trained_until"],
        **said,
    }
    parents = {"inputs": inputs.identity, "backtests": judged.backtests.identity}
    made_from = json_sha256([provenance, parents, mind.checkpoint["sha256"], parity_steps, code_sha256(BUNDLE_CODE)])
    try:
        if (standing := load_bundle(folder).manifest).made_from == made_from:
            return standing
    except BundleError:
        pass  # none yet, or damaged: it is built now
    sweep(places.bundles)
    identity = str(inputs.training_data_sha256)
    market = load_market(places.tensors(identity), identity=identity)
    return build_bundle(
        checkpoint,
        folder,
        make_env=lambda batch: unbroken_env(market, config.env, n_envs=batch, seed=config.seed, steps=parity_steps),
        provenance=provenance,
        parents=parents,
        made_from=made_from,
        parity_steps=parity_steps,
    ).manifest


def trained_until(champion: BundleManifest, config: RunConfig, places: Places) -> str:
    """The last session that a champion, or the one that it was trained on from, was trained on, ISO.

    What its bundle says, else what its market does.

    Raises: ConfigError where neither is known: then nobody can say that a day is new to it
    """
    own = _own_until(champion, config, places)
    copy = places.registry / BUNDLES / config.fine_tune.champion[:DIGITS]
    if config.fine_tune.champion and (copy / FILE).is_file():
        earlier, before = read_champion(copy, identity=config.fine_tune.champion)
        return max(own, trained_until(before, earlier, places))
    return own


def _own_until(champion: BundleManifest, config: RunConfig, places: Places) -> str:
    if said := champion.provenance.get("trained_until"):
        return str(said)
    identity = str(champion.policy.get("training_data_sha256") or "")
    folder = places.tensors(identity)
    if identity and (folder / FILE).is_file() and file_sha256(folder / FILE) == identity:
        splits = json.loads((folder / FILE).read_text())["info"]["splits"]
        return _day(folder, splits["train"][1] - 1)
    if config.market.train_until:
        return config.market.train_until
    raise ConfigError(
        f"nobody knows until when the champion {champion.run} was trained: expected its market in {folder}, or a date "
        "in its configuration. Materialize that market again."
    )


def _day(folder: Path, snapshot: int) -> str:
    return dates_of(folder)[snapshot].isoformat()


def _figures(account: Account | None, prefix: str) -> dict[str, Any]:
    """An account's fall and tail; None where there is no account."""
    return {
        f"{prefix}max_drawdown": None if account is None else max_drawdown(account.equity),
        f"{prefix}expected_shortfall": None if account is None else expected_shortfall(account.returns),
    }


def _luck(
    minds: list[Mind], accounts: dict[str, Account], market: MarketTensors, config: RunConfig, worlds: int
) -> dict[str, Any]:
    """How often fair worlds gave each policy a ratio at least as high as its own, against cash."""
    names = {CHALLENGER: "luck_p", CHAMPION: "champion_luck_p"}
    found: dict[str, Any] = dict.fromkeys(names.values())
    window = market.split(WINDOW)
    if why_not(market, window):
        return found
    world = fair_world(market, window, surface=surface_for(config.market), seed=config.seed)
    walked: dict[str, Floats] = walk_fair_worlds(
        [mind.policy(config.seed) for mind in minds], world, config.env, n_worlds=worlds
    )
    for mind in minds:
        observed = accounts[mind.name].excess
        if len(observed) == len(walked[mind.name]):  # an account that was ruined has no whole window to place
            found[names[mind.role]] = p_value(observed, walked[mind.name])
    return found
