"""What assets are handed: the recipe of the run, the folders, the metrics store, the place where reports are shown."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import quote

import dagster as dg
from pydantic import Field

from clstm_core.artifacts.folder import write_text
from clstm_core.artifacts.places import Places
from clstm_core.config import RECIPES
from clstm_core.market.sources import source_names
from clstm_core.recipe import Recipe as CoreRecipe

if TYPE_CHECKING:
    from clstm_core.store.store import MetricsStore

    RecipeName: TypeAlias = str
    SourceName: TypeAlias = str
else:  # the launch form offers these names and refuses others
    RecipeName, SourceName = Literal[tuple(RECIPES)], Literal[source_names()]

REPORT_URL = "http://127.0.0.1:3001"


class Recipe(dg.ConfigurableResource):
    """What a run is made from, chosen once and read by every asset."""

    name: RecipeName = Field(
        "default_cpu",
        description="named settings: default_cpu (minutes), smoke (seconds), seed_100m (published run) or steady_100m",
    )
    source: SourceName = Field("sp500_modelled", description="where quotes come from; `clstm sources` describes them")
    data_dir: str | None = Field(None, description="folder of the vendor's files, for sources that need one")
    n_snapshots: int | None = Field(None, description="length of the simulated source, in snapshots")
    timesteps: int | None = Field(None, description="env steps, in place of the settings'")
    seed: int = Field(0, description="of weights, envs and every draw")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes the GPU where there is one")
    audit: Literal["quick", "full"] = Field("quick", description="both ask the same questions; quick takes a minute")
    policy_of: str | None = Field(None, description="train nothing: judge this run's policy on the data of today")

    def core(self) -> CoreRecipe:
        """The same as the core knows it; ConfigError for what cannot work, before anything is done."""
        chosen = CoreRecipe(
            name=self.name,
            source=self.source,
            data_dir=self.data_dir or None,
            n_snapshots=self.n_snapshots,
            timesteps=self.timesteps,
            seed=self.seed,
            device=self.device,
            audit=self.audit,
            policy_of=self.policy_of or None,
        )
        chosen.run_config()
        return chosen


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
    """The static server that `make dev` starts beside the UI, and the folder that it serves."""

    home: str
    url: str = REPORT_URL

    def page(self, run: str, panel: str = "") -> str:
        """Where a run's report is shown, at one of its panels where one is named."""
        return f"{self.url}/{quote(run)}/index.html" + (f"#{panel}" if panel else "")

    def panel(self, run: str, panel: str) -> dg.UrlMetadataValue:
        """The same as a link."""
        return dg.MetadataValue.url(self.page(run, panel))

    def picture(self, folder: str, name: str, svg: str) -> dg.MarkdownMetadataValue:
        """Keep an SVG where the server finds it, and link it: the UI shows it without a click.

        Dagster folds Markdown of more than a thousand characters away, and a picture inside it is longer than that.

        Args:
            folder: the run's name, or `market` for what belongs to no run
        """
        write_text(ProjectPaths(home=self.home).reports / folder / "pictures" / f"{name}.svg", svg)
        # browsers keep what they have seen: another picture gets another address
        version = hashlib.sha256(svg.encode()).hexdigest()[:8]
        address = f"{self.url}/{quote(folder)}/pictures/{name}.svg?v={version}"
        return dg.MetadataValue.md(f"![{name.replace('_', ' ')}]({address})")
