"""The whole ladder through every kind of market: the figures from which the gap is told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from clstm_core.checkpoint import load_checkpoint, load_policy
from clstm_core.config import RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.evaluation.generalisation import FRESH_WORLDS, TRAINING_WORLDS, with_gaps
from clstm_core.evaluation.static_rules import FINAL_PATHS, PATHS, best_rules
from clstm_core.generalisation.kinds import ARGMAX, COMPARED, EPISODES, STOCHASTIC, Kind, kinds_of
from clstm_core.generalisation.trained import newest_met
from clstm_core.generalisation.walk import Lane, earned, habits, raw, walk_episodes
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.model.clstm import CLSTM
from clstm_core.process import beside

Progress = Callable[[int, int], None]
Rows = list[dict[str, Any]]

RULES_SEED = 7_001
"""Added to a run's seed for the paths that fixed rules are walked on: none of the policy's."""

WORTH_A_PROCESS = 500_000
"""Sessions of all accounts together from which on a process of its own is worth the seconds it takes to begin."""


class Rung(NamedTuple):
    """A rung on its walk.

    env_steps: that it was trained on
    state: of its checkpoint: which episodes these were
    """

    model: CLSTM
    env_steps: int
    state: Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a ladder earned in each kind of market.

    rows:   one per rung, kind and mode: what it was, `walk.Earned`, and its gap
    habits: one per rung and tercile of volatility, on fresh worlds: `walk.habits`
    rules:  the best fixed rules on fresh worlds, the best per unit of risk first: `static_rules.RuleEarned`
    """

    rows: Rows
    habits: Rows
    rules: Rows


def measure(
    ladder: Mapping[str, Path],
    market: MarketTensors,
    config: RunConfig,
    *,
    episodes: int = EPISODES,
    compared: int = COMPARED,
    market_folder: Path | None = None,
    progress: Progress | None = None,
) -> Measured:
    """Walk every rung through every kind of market.

    All rungs through the same episodes, but in the worlds of training: there each walks the paths that it was trained
    on, the newest first. On any others of that seed nobody was trained.

    Args:
        ladder: folders of checkpoints by milestone, the earliest first
        market: that the run was trained on, or that its worlds are made of
        market_folder: where `market` lies, for a second process that walks half of the kinds beside this one

    Raises: what `checkpoint.load_policy` raises, CheckpointError where a checkpoint of a run in worlds tells nothing of
            its envs
    """
    kinds = kinds_of(market, config, episodes=episodes, compared=compared)
    part = partial(_part, ladder, config=config, episodes=episodes, compared=compared)
    mine, theirs = _halves(kinds)
    sessions = sum(map(_accounts, kinds)) * len(ladder) * config.env.horizon
    if market_folder is None or sessions < WORTH_A_PROCESS or not theirs:
        found = part([kind.name for kind in kinds], market=market, progress=progress)
    else:
        with beside() as pool:
            other = pool.submit(part, theirs, market=market_folder)
            found = part(mine, market=market, progress=progress)
            found = [*found, *other.result()]
    order, names = list(ladder), [kind.name for kind in kinds]
    found.sort(key=lambda made: names.index(made[0]))
    rows = sorted((row for _, made, _ in found for row in made), key=lambda row: order.index(row["milestone"]))
    seen = sorted((row for _, _, told in found for row in told), key=lambda row: order.index(row["milestone"]))
    return Measured(rows=with_gaps(rows), habits=seen, rules=_rules(kinds, config, episodes))


def _rules(kinds: Sequence[Kind], config: RunConfig, episodes: int) -> Rows:
    """The best fixed rules on fresh worlds, on paths of their own; none where there are no such worlds."""
    fresh = next((kind for kind in kinds if kind.name == FRESH_WORLDS), None)
    if fresh is None or not isinstance(fresh.market, GeneratedWorld):
        return []
    few, many = min(PATHS, max(1, episodes // 8)), min(FINAL_PATHS, 2 * episodes)
    found = best_rules(
        fresh.market, config.env, seed=config.seed + RULES_SEED, paths=few, final_paths=many, draws=fresh.draws
    )
    return [rule.to_row() for rule in found]


def _accounts(kind: Kind) -> int:
    """Accounts that each rung has in a kind of market."""
    return kind.episodes * len(kind.modes)


def _halves(kinds: Sequence[Kind]) -> tuple[list[str], list[str]]:
    """Names of the kinds, shared out so that both parts have about as many accounts."""
    parts: tuple[list[Kind], list[Kind]] = ([], [])
    for kind in sorted(kinds, key=_accounts, reverse=True):
        min(parts, key=lambda part: sum(map(_accounts, part))).append(kind)
    return [kind.name for kind in parts[0]], [kind.name for kind in parts[1]]


def _part(
    ladder: Mapping[str, Path],
    names: Sequence[str],
    *,
    market: MarketTensors | Path,
    config: RunConfig,
    episodes: int,
    compared: int,
    progress: Progress | None = None,
) -> list[tuple[str, Rows, Rows]]:
    """Rows and habits of some kinds of market, by their names."""
    traded = load_market(market, verify=False) if isinstance(market, Path) else market
    rungs = {milestone: opened(folder) for milestone, folder in ladder.items()}
    found = []
    for kind in kinds_of(traded, config, episodes=episodes, compared=compared):
        if kind.name in names:
            found.append((kind.name, *walk_kind(rungs, kind, config)))
            if progress is not None:
                progress(len(found), len(names))
    return found


def opened(folder: Path) -> Rung:
    """A checkpoint as its rung; CheckpointError where it is not whole."""
    policy, meta = load_policy(folder)
    return Rung(policy, int(meta.get("env_steps", 0)), load_checkpoint(folder).state)


def walk_kind(rungs: Mapping[str, Rung], kind: Kind, config: RunConfig) -> tuple[Rows, Rows]:
    """Every rung's rows of a kind of market, by milestone, and its habits where these are asked for.

    Raises: as `measure`
    """
    if kind.name != TRAINING_WORLDS:
        return _walk(rungs, kind, config)
    apart = [_walk({milestone: rung}, kind, config, _met(rung, kind, config)) for milestone, rung in rungs.items()]
    return [row for rows, _ in apart for row in rows], [row for _, seen in apart for row in seen]


def _met(rung: Rung, kind: Kind, config: RunConfig) -> torch.Tensor:
    """Where accounts begin that stand on the paths a rung was trained on: snapshot index [M]."""
    horizon = config.env.horizon
    met = newest_met(rung.state, env_steps=rung.env_steps, horizon=horizon, wanted=kind.episodes)
    assert isinstance(kind.market, GeneratedWorld)
    return kind.market.paths.begin(met.seed, met.episode, horizon, fixed=False)


def _walk(
    rungs: Mapping[str, Rung], kind: Kind, config: RunConfig, begin: torch.Tensor | None = None
) -> tuple[Rows, Rows]:
    """Rungs side by side.

    Args:
        begin: snapshot index [n] at which the accounts of each rung begin; the env's own choice when left out
    """
    asked = [(milestone, mode) for milestone in rungs for mode in kind.modes]
    count = (kind.episodes if begin is None else len(begin)) * len(asked)
    env = OptionsEnv(kind.market, raw(config.env), n_envs=count, seed=config.seed, window=kind.window, stagger=False)
    lanes = [Lane(rungs[milestone].model, mode == STOCHASTIC) for milestone, mode in asked]
    walks = walk_episodes(lanes, env, config.env, seed=config.seed, begin=begin)
    rows, seen = [], []
    for (milestone, mode), walked in zip(asked, walks, strict=True):
        rung = {"milestone": milestone, "env_steps": rungs[milestone].env_steps}
        facts = {"kind": kind.name, "mode": mode, "label": kind.label}
        rows.append({**rung, **facts, **asdict(earned(walked, config.ppo.gamma, kind.draws))})
        if kind.name == FRESH_WORLDS and mode == ARGMAX:
            seen += [{**rung, **row} for row in habits(walked)]
    return rows, seen
