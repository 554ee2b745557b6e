"""The whole ladder through every kind of market: the figures from which the gap is told."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clstm_core.checkpoint import load_policy
from clstm_core.config import RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.errors import ConfigError
from clstm_core.evaluation.generalisation import FRESH_WORLDS, with_gaps
from clstm_core.generalisation.kinds import ARGMAX, COMPARED, EPISODES, STOCHASTIC, Kind, kinds_of
from clstm_core.generalisation.walk import Lane, earned, habits, raw, walk_episodes
from clstm_core.market.tensors import MarketTensors
from clstm_core.model.clstm import CLSTM

Progress = Callable[[int, int], None]
Policy = tuple[CLSTM, dict[str, Any]]
Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a ladder earned in each kind of market.

    rows:   one per rung, kind and mode: what it was, `walk.Earned`, and its gap
    habits: one per rung and tercile of volatility, on fresh worlds: `walk.habits`
    """

    rows: Rows
    habits: Rows


def measure(
    ladder: Mapping[str, Path],
    market: MarketTensors,
    config: RunConfig,
    *,
    episodes: int = EPISODES,
    compared: int = COMPARED,
    progress: Progress | None = None,
) -> Measured:
    """Walk every rung through every kind of market, all rungs through the same episodes.

    Args:
        ladder: folders of checkpoints by milestone, the earliest first
        market: that the run was trained on, or that its worlds are made of

    Raises: what `checkpoint.load_policy` raises
    """
    policies = {milestone: load_policy(folder) for milestone, folder in ladder.items()}
    kinds = kinds_of(market, config, episodes=episodes, compared=compared)
    rows: Rows = []
    seen: Rows = []
    for done, kind in enumerate(kinds, start=1):
        made, told = _walk(policies, kind, config)
        rows += made
        seen += told
        if progress is not None:
            progress(done, len(kinds))
    order = list(policies)
    rows.sort(key=lambda row: order.index(row["milestone"]))  # and as they were walked within a rung
    seen.sort(key=lambda row: order.index(row["milestone"]))
    return Measured(rows=with_gaps(rows), habits=seen)


def _walk(policies: Mapping[str, Policy], kind: Kind, config: RunConfig) -> tuple[Rows, Rows]:
    """Every rung's rows of a kind of market, and its habits where these are asked for.

    Nothing where no history in the window lasts an episode.
    """
    rungs = [(milestone, mode) for milestone in policies for mode in kind.modes]
    count = kind.episodes * len(rungs)
    try:
        env = OptionsEnv(
            kind.market, raw(config.env), n_envs=count, seed=config.seed, window=kind.window, stagger=False
        )
    except ConfigError:
        return [], []
    lanes = [Lane(policies[milestone][0], mode == STOCHASTIC) for milestone, mode in rungs]
    rows, seen = [], []
    for (milestone, mode), walked in zip(rungs, walk_episodes(lanes, env, config.env, seed=config.seed), strict=True):
        rung = {"milestone": milestone, "env_steps": int(policies[milestone][1].get("env_steps", 0))}
        facts = {"kind": kind.name, "mode": mode, "label": kind.label}
        rows.append({**rung, **facts, **asdict(earned(walked, config.ppo.gamma, kind.draws))})
        if kind.name == FRESH_WORLDS and mode == ARGMAX:
            seen += [{**rung, **row} for row in habits(walked)]
    return rows, seen
