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
from clstm_core.generalisation.walk import earned, habits, raw, walk_episodes
from clstm_core.market.tensors import MarketTensors
from clstm_core.model.clstm import CLSTM

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a ladder earned in each kind of market.

    rows:   one per rung, kind and mode: what it was, `walk.Earned`, and its gap
    habits: one per rung and tercile of volatility, on fresh worlds: `walk.habits`
    """

    rows: list[dict[str, Any]]
    habits: list[dict[str, Any]]


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
    rows: list[dict[str, Any]] = []
    seen: list[dict[str, Any]] = []
    for done, kind in enumerate(kinds, start=1):
        if (env := _env(kind, config)) is not None:
            for milestone, (model, meta) in policies.items():
                rung = {"milestone": milestone, "env_steps": int(meta.get("env_steps", 0))}
                made, told = _walk(model, env, kind, config)
                rows += [{**rung, **row} for row in made]
                seen += [{**rung, **row} for row in told]
        if progress is not None:
            progress(done, len(kinds))
    order = list(policies)
    rows.sort(key=lambda row: order.index(row["milestone"]))  # and as they were walked within a rung
    seen.sort(key=lambda row: order.index(row["milestone"]))
    return Measured(rows=with_gaps(rows), habits=seen)


def _env(kind: Kind, config: RunConfig) -> OptionsEnv | None:
    """Accounts that begin together; None where no history in the window lasts an episode."""
    account = raw(config.env)
    try:
        return OptionsEnv(
            kind.market, account, n_envs=kind.episodes, seed=config.seed, window=kind.window, stagger=False
        )
    except ConfigError:
        return None


def _walk(
    model: CLSTM, env: OptionsEnv, kind: Kind, config: RunConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One rung's rows of a kind of market, and its habits where these are asked for."""
    rows, seen = [], []
    for mode in kind.modes:
        walked = walk_episodes(model, env, config.env, sampled=mode == STOCHASTIC, seed=config.seed)
        facts = {"kind": kind.name, "mode": mode, "label": kind.label}
        rows.append({**facts, **asdict(earned(walked, config.ppo.gamma, kind.draws))})
        if kind.name == FRESH_WORLDS and mode == ARGMAX:
            seen = habits(walked)
    return rows, seen
