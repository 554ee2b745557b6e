"""What assets are handed: the folders they read and write, the metrics store, the place where reports are shown."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from clstm_core.store.store import MetricsStore


class ProjectPaths(dg.ConfigurableResource):
    """Folders of one installation; nothing is written outside them."""

    home: str

    @property
    def data(self) -> Path:
        """Everything that is not code: cache, runs, backtests, bundles, the store."""
        return Path(self.home) / "data"

    @property
    def cache(self) -> Path:
        """Canonical tables and tensors, by content."""
        return self.data / "cache"

    @property
    def backtests(self) -> Path:
        """One folder a backtest, by content."""
        return self.data / "backtests"

    @property
    def reports(self) -> Path:
        """Generated pages and the gallery."""
        return Path(self.home) / "reports" / "generated"

    def run(self, name: str) -> Path:
        """One training run's folder."""
        return self.data / "runs" / name

    def bundle(self, name: str) -> Path:
        """The bundle exported from a run."""
        return self.data / "bundles" / name


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
