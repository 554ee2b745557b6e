"""What assets are handed: the recipe of the run, the folders, the metrics store, the place where reports are shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dagster as dg
from pydantic import Field

from clstm_core.artifacts.places import Places
from clstm_core.recipe import Recipe as CoreRecipe

if TYPE_CHECKING:
    from clstm_core.store.store import MetricsStore


class Recipe(dg.ConfigurableResource):
    """What a run is made from, chosen once and read by every asset."""

    name: str = Field("default_cpu", description="named settings: default_cpu, smoke or seed_100m (the published run)")
    source: str = Field("sp500_modelled", description="where quotes come from; `clstm demo --help` lists the names")
    data_dir: str | None = Field(None, description="folder of the vendor's files, for sources that need one")
    n_snapshots: int | None = Field(None, description="length of the simulated source, in snapshots")
    timesteps: int | None = Field(None, description="env steps, in place of the settings'")
    seed: int = Field(0, description="of weights, envs and every draw")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes the GPU where there is one")
    audit: Literal["quick", "full"] = Field("quick", description="both ask the same questions; quick takes a minute")

    def core(self) -> CoreRecipe:
        """The same as the core knows it; ConfigError for what cannot work."""
        return CoreRecipe(
            name=self.name,
            source=self.source,
            data_dir=self.data_dir or None,
            n_snapshots=self.n_snapshots,
            timesteps=self.timesteps,
            seed=self.seed,
            device=self.device,
            audit=self.audit,
        )


class ProjectPaths(dg.ConfigurableResource):
    """Folders of one installation; nothing is written outside them."""

    home: str

    @property
    def data(self) -> Path:
        """Everything that is not code: cache, runs, backtests, bundles, the store."""
        return Path(self.home).resolve() / "data"

    @property
    def places(self) -> Places:
        """Where things lie below the data folder."""
        return Places(self.data)

    @property
    def reports(self) -> Path:
        """Generated pages and the gallery."""
        return Path(self.home).resolve() / "reports" / "generated"


class Metrics(dg.ConfigurableResource):
    """The DuckDB store, opened for one short transaction at a time."""

    path: str

    def store(self) -> "MetricsStore":
        """A handle; it connects when asked something and lets go at once."""
        from clstm_core.store.store import MetricsStore

        return MetricsStore(Path(self.path))


class ReportServer(dg.ConfigurableResource):
    """The static server that `make dev` starts beside the UI, on the loopback address."""

    url: str = "http://127.0.0.1:3001"

    def page(self, run: str) -> str:
        """Where a run's report is shown."""
        from urllib.parse import quote

        return f"{self.url}/{quote(run)}/index.html"
