"""One run as another is laid beside it: what it was made from, and the account by which it is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BacktestManifest, ComparisonManifest, GeneralisationManifest, RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.errors import ConfigError
from clstm_core.evaluation.run_list import require_run
from clstm_core.evaluation.statistics import log_returns


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedRun:
    """A run that was judged.

    comparison: the ladder against the baselines; champion: the rung that is judged; generalisation: what the ladder
    earns in each kind of market; manifest, equity: of the judged rung's backtest on the headline's window
    """

    name: str
    inputs: RunInputs
    comparison: Mapping[str, Any]
    champion: Mapping[str, Any]
    generalisation: Sequence[Mapping[str, Any]]
    manifest: Mapping[str, Any]
    equity: pl.DataFrame

    @property
    def growth(self) -> list[tuple[Any, float]]:
        """Date and equity over the first equity."""
        curve = self.equity.sort("step")
        ratio = curve["equity_usd"] / curve["equity_usd"][0]
        return list(zip(curve["snapshot"].dt.date().to_list(), ratio.to_list(), strict=True))


def read_judged(places: Places, name: str) -> JudgedRun:
    """A run with the account that its comparison judges.

    Raises: ConfigError for a run that is not there or was not judged yet; EvaluationError for files that were altered
    """
    run = require_run(places, name)
    if not run.comparison.is_file():
        raise ConfigError(
            f"run {name} was not judged yet: expected {run.comparison}. Launch `clstm train --run {name}` again, it "
            "goes on where it stopped."
        )
    inputs, comparison = RunInputs.read(run.inputs), ComparisonManifest.read(run.comparison)
    champion = comparison.champion
    if not champion:
        raise ConfigError(
            f"no checkpoint of run {name} was backtested: expected one that is judged. Train it to its end."
        )
    earned = GeneralisationManifest.kept(run.generalisation)
    folder = places.backtests / champion["backtest_id"]
    manifest = BacktestManifest.read(folder / FILE)
    equity = pl.read_parquet(folder / "equity.parquet")
    return JudgedRun(
        name=name,
        inputs=inputs,
        comparison=comparison.comparison,
        champion=champion,
        generalisation=list(earned.figures) if earned else [],
        manifest=manifest.flat(),
        equity=equity.filter(pl.col("episode") == pl.col("episode").min()),
    )


def daily_excess(equity: pl.DataFrame) -> pl.DataFrame:
    """Log growth beyond cash of an account's steps: `since` and `until` (snapshots), `excess`."""
    curve = equity.sort("step")
    cash = curve["cash_return"][1:].to_numpy()
    growth = pl.Series(log_returns(curve["equity_usd"].to_numpy()))
    return pl.DataFrame(
        {
            "since": curve["snapshot"][:-1],
            "until": curve["snapshot"][1:],
            "excess": growth - pl.Series(cash).log1p(),
        }
    )
