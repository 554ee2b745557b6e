"""One checkpoint on one window of a market, outside the chain: its account, its figures by episode, its returns.

Source: the published training summary, section 8.1
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from clstm_core.artifacts.code import git_commit
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.checkpoint import META, load_policy
from clstm_core.config import MarketConfig, RunConfig
from clstm_core.errors import ConfigError
from clstm_core.evaluation.backtest import BacktestResult, run_backtest
from clstm_core.evaluation.episodes import curves_of, episodes_of
from clstm_core.evaluation.policies import load_checkpoint
from clstm_core.evaluation.trial_ledger import enter
from clstm_core.market.tensors import MarketTensors, load_market

MODES = {"deterministic": "argmax", "stochastic": "stochastic"}
WINDOWS = ("train", "validation", "test")
STOCHASTIC_EPISODES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What a checkpoint did.

    episodes: a row per account (`episodes.episodes_of`); curves: a row per account and session (`episodes.curves_of`)
    entered:  whether the trial registry had to be told: False where these weights had looked at these dates before
    """

    result: BacktestResult
    episodes: pl.DataFrame
    curves: pl.DataFrame
    entered: bool

    @property
    def facts(self) -> dict[str, Any]:
        """What was traded on what, and the summary."""
        return self.result.manifest


def evaluate_checkpoint(
    folder: Path,
    places: Places,
    out_dir: Path,
    *,
    mode: str = "deterministic",
    window: str = "test",
    episodes: int | None = None,
    source: str | None = None,
    data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluated:
    """Trade a window with a checkpoint, weights alone, and enter the look at it in the trial registry.

    Args:
        places: of the registry, and of the cache where `source` is read
        out_dir: folder that the ledgers are written to, as `out_dir/<id>`
        episodes: accounts side by side, each with its own draws; one where the likeliest action is played
        source, data: another market than the one that the checkpoint's run was judged on

    Raises: ConfigError for what is no checkpoint or cannot be asked; CheckpointError for an altered one;
            MarketDataError for a market that is not there or has no such window
    """
    count = _episodes(mode, episodes)
    _require_one_of("window", window, WINDOWS)
    require_checkpoint(folder)
    _, meta = load_policy(folder)
    config = RunConfig.from_dict(meta["config"])
    market = _market(folder, config, places, source, data)
    policy = load_checkpoint(folder, modes=(MODES[mode],), seed=config.seed, stochastic_episodes=count)[0]
    result = run_backtest(
        policy,
        market,
        config.env,
        window,
        out_dir=out_dir,
        seed=config.seed,
        meta={"config_sha256": config.sha256, "git_commit": git_commit()},
        progress=progress,
    )
    added = enter(places, [result], datetime.now(UTC).isoformat(timespec="seconds"))
    return Evaluated(result=result, episodes=episodes_of(result), curves=curves_of(result), entered=bool(added))


def require_checkpoint(folder: Path) -> None:
    """Refuse a path that is no checkpoint's folder.

    Raises: ConfigError that says what it is
    """
    if (folder / FILE).is_file() and (folder / META).is_file():
        return
    found = "a file" if folder.is_file() else f"a folder without {FILE} and {META}" if folder.is_dir() else "nothing"
    raise ConfigError(
        f"no checkpoint at {folder}: found {found}, expected a checkpoint's folder. Pass one as --checkpoint, e.g. "
        "data/runs/RUN/checkpoints/100; `clstm runs` lists the runs."
    )


def _episodes(mode: str, episodes: int | None) -> int:
    _require_one_of("mode", mode, tuple(MODES))
    if episodes is not None and episodes < 1:
        raise ConfigError(f"episodes={episodes}: expected 1 or more. Pass another --episodes.")
    if mode == "deterministic" and (episodes or 1) > 1:
        raise ConfigError(
            f"episodes={episodes} of the likeliest action would all be one: expected 1. Leave --episodes out, or pass "
            "--mode stochastic."
        )
    return episodes or STOCHASTIC_EPISODES


def _require_one_of(what: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise ConfigError(f"unknown {what} {found!r}: expected {', '.join(known)}. Pass one as --{what}.")


def _market(folder: Path, config: RunConfig, places: Places, source: str | None, data: Path | None) -> MarketTensors:
    """The market that is asked for, else the one that the checkpoint's run was judged on."""
    if source is None and data is None:
        return _own_market(folder)
    from clstm_core.market.cache import ensure_quotes, ensure_tensors

    settings = _settings(config.market, source or config.market.source, data)
    embargo = config.env.horizon + settings.feature_lookback
    quotes = ensure_quotes(settings, places.cache)
    return load_market(ensure_tensors(quotes, settings, places.cache, embargo=embargo))


def _own_market(folder: Path) -> MarketTensors:
    run = folder.resolve().parent.parent
    if not (run / "inputs.json").is_file():
        raise ConfigError(
            f"checkpoint {folder} lies in no run that says its market: expected {run / 'inputs.json'}. Pass --source, "
            "and --data where it needs one; `clstm sources` lists them."
        )
    identity = str(RunInputs.read(run / "inputs.json").data_sha256)
    return load_market(Places(run.parent.parent).tensors(identity), identity=identity)


def _settings(trained: MarketConfig, source: str, data: Path | None) -> MarketConfig:
    """A source's settings: the run's own where it is the run's source, else its defaults."""
    from clstm_core.market.sources import default_config, spec

    folder = str(data.resolve()) if data else None
    if folder and not spec(source).needs_folder:
        raise ConfigError(f"data_dir={folder!r}: the source {source} has no such setting. Leave --data out.")
    if source == trained.source:
        return dataclasses.replace(trained, data_dir=folder)
    return default_config(source, data_dir=folder, min_training_snapshots=trained.min_training_snapshots)
