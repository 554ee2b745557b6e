"""The run whose evidence is audited, read once: its inputs, markets, checkpoints, books and comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import ComparisonManifest, GeneralisationManifest, RunInputs, TensorsManifest
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.config import RunConfig
from clstm_core.evaluation.protocol import Backtest
from clstm_core.specs import RUNGS

TENSORS_FILE = "market.safetensors"
MODEL, STATE = "model.safetensors", "state.safetensors"


class MarketFiles:
    """One market as its files say: the tensors' facts, and the canonical tables that they were built from."""

    def __init__(self, places: Places, identity: str):
        self.identity = identity
        self.folder = places.tensors(identity)
        self.manifest = TensorsManifest.read(self.folder / FILE, files=False, identity=identity)
        self.info: Mapping[str, Any] = self.manifest.info
        self.tables: Path = places.quotes(self.manifest.parents["quotes"])

    @cached_property
    def tensors(self) -> dict[str, np.ndarray]:
        """Arrays by name, as they lie in the file."""
        return load_file(self.folder / TENSORS_FILE)

    @cached_property
    def snapshots(self) -> pl.Series:
        """Snapshots of the canonical quotes, ascending."""
        return self.quotes.select(pl.col("snapshot").unique()).collect().to_series().sort()

    @property
    def quotes(self) -> pl.LazyFrame:
        """The canonical quotes."""
        return pl.scan_parquet(self.tables / "quotes.parquet")

    @property
    def splits(self) -> dict[str, tuple[int, int]]:
        """Windows [start, stop) by name, as the tensors' manifest says."""
        return {name: (int(start), int(stop)) for name, (start, stop) in self.info["splits"].items()}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run's evidence.

    ladder, baselines: backtests in the market itself; beside: in the worlds beside it, by name
    earned: what the ladder earns in each kind of market, where that was measured
    """

    run: RunFolder
    places: Places
    inputs: RunInputs
    comparison: Mapping[str, Any]
    evaluation: MarketFiles
    training: MarketFiles
    ladder: Sequence[Backtest]
    baselines: Sequence[Backtest]
    beside: Mapping[str, Sequence[Backtest]]
    earned: GeneralisationManifest | None = None

    @cached_property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return RunConfig.from_dict(dict(self.inputs.config))

    @property
    def embargo(self) -> int:
        """Sessions that windows lie apart: what an episode looks ahead and a feature back."""
        return self.config.env.horizon + self.config.market.feature_lookback

    @property
    def judged(self) -> list[Backtest]:
        """Backtests that the comparison compares."""
        return [*self.ladder, *self.baselines]

    @property
    def everything(self) -> list[Backtest]:
        """Every backtest of the run."""
        return [*self.judged, *(result for world in self.beside.values() for result in world)]

    @cached_property
    def rungs(self) -> dict[str, Path]:
        """Folders of the ladder's checkpoints, by milestone."""
        return {name: self.run.checkpoint(name) for name in RUNGS if self.run.checkpoint(name).is_dir()}

    def headline(self) -> list[Backtest]:
        """Backtests of the test window as the comparison's headline says, by the ids of its rows."""
        ids = {row["backtest_id"] for row in self.comparison["rows"] if row["headline"]}
        return [result for result in self.judged if result.id in ids]


def load_case(
    run: RunFolder,
    places: Places,
    *,
    ladder: Sequence[Backtest],
    baselines: Sequence[Backtest],
    beside: Mapping[str, Sequence[Backtest]],
) -> Case:
    """Read what a run left; the backtests are loaded (and verified) already.

    Raises: ArtifactError naming the manifest that is missing or altered, or is not what the comparison was made from
    """
    inputs, comparison = RunInputs.read(run.inputs), ComparisonManifest.read(run.comparison)
    comparison.require_parent("inputs", inputs)
    earned = GeneralisationManifest.read(run.generalisation) if run.generalisation.is_file() else None
    if earned is not None:
        comparison.require_parent(GeneralisationManifest.kind, earned)
    evaluation = MarketFiles(places, str(inputs.data_sha256))
    own = inputs.training_data_sha256 in (None, inputs.data_sha256)
    return Case(
        run=run,
        places=places,
        inputs=inputs,
        comparison=comparison.comparison,
        evaluation=evaluation,
        training=evaluation if own else MarketFiles(places, str(inputs.training_data_sha256)),
        ladder=ladder,
        baselines=baselines,
        beside=beside,
        earned=earned,
    )
