"""Where things lie below one data folder, and the one rule of a run's name. Paths in manifests are relative to it.

cache/sessions/<source>/             vendor files, parsed
cache/quotes/<identity>/             canonical tables          (the first 16 digits of the manifest's sha256)
cache/tensors/<identity>/            market tensors
cache/fair/<key>/                    baselines walked through fair worlds
cache/audits/<key>.json              verdicts, by what they prove
cache/realism/<key>.json             the outside judge's verdicts on quotes
runs/<run>/                          inputs.json, checkpoints/, metrics.jsonl, generalisation.json, comparison.json, ...
backtests/<id>/                      four ledgers and their manifest
bundles/<run>/                       what is deployed
shadow/<account>/                    a bundle on sessions as they arrive: log/, account.json, reconciliation.json
controls/<key>.json                  a recipe in worlds whose edge is known, by what it teaches and how
walk_forward/<name>/                 plan, baselines per fold and the record of one walk-forward; its runs are in runs/
sweeps/<name>/                       plan, trials and the record of one sweep; its runs are in runs/
challengers/<run>/                   what a challenger is and showed beside the champion: manifest.json, pairs.parquet
registry/                            the champion: every decision as a state, its own bundles, `current` -> what holds
set_aside/<run>.<time>/              a run of the same name that was made from something else
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from clstm_core.errors import ConfigError

DIGITS = 16
"""Digits of an identity that name a folder."""

LOCK = ".lock"
"""File in a run's folder that its trainer holds."""

NAME_BYTES = 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def run_name(name: str) -> str:
    """`name` where it can name a run everywhere: as a folder, a partition key, a URL and an argument.

    Raises: ConfigError that says the rule
    """
    if not _NAME.fullmatch(name) or ".." in name or len(name.encode(errors="replace")) > NAME_BYTES:
        raise ConfigError(
            f"run name {name!r}: expected A-Z, a-z, 0-9, '_', '-' and '.', a letter, digit or '_' first, no '..', at "
            f"most {NAME_BYTES} bytes. Pass another RUN."
        )
    return name


@dataclass(frozen=True)
class RunFolder:
    """Files of one training run."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def inputs(self) -> Path:
        """What it is made from."""
        return self.path / "inputs.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains it."""
        return self.path / LOCK

    @property
    def status(self) -> Path:
        """How far it came."""
        return self.path / "status.json"

    @property
    def critic(self) -> Path:
        """What its champion's critic foresees."""
        return self.path / "critic.json"

    @property
    def luck(self) -> Path:
        """The champion among fair worlds."""
        return self.path / "luck.json"

    @property
    def generalisation(self) -> Path:
        """What its ladder earns where it was trained and where it was not."""
        return self.path / "generalisation.json"

    @property
    def comparison(self) -> Path:
        """The ladder against the baselines."""
        return self.path / "comparison.json"

    @property
    def conventions(self) -> Path:
        """What conventions that nobody may judge by would have bought."""
        return self.path / "conventions.json"

    @property
    def evidence(self) -> Path:
        """The folder of what the report shows."""
        return self.path / "evidence"

    @property
    def report(self) -> Path:
        """The manifest of its page."""
        return self.path / "report.json"

    def checkpoint(self, name: str) -> Path:
        """The folder of a checkpoint."""
        return self.path / "checkpoints" / name

    def backtests(self, asset: str) -> Path:
        """The set of backtests that an asset left."""
        return self.path / f"{asset}.json"

    def gates(self, asset: str) -> Path:
        """The results of an asset's checks."""
        return self.path / "gates" / f"{asset}.json"


@dataclass(frozen=True)
class Places:
    """Folders of one data folder; nothing is written outside them."""

    root: Path

    @property
    def cache(self) -> Path:
        """Canonical tables, tensors and verdicts, by content."""
        return self.root / "cache"

    @property
    def runs(self) -> Path:
        """One folder per training run."""
        return self.root / "runs"

    @property
    def backtests(self) -> Path:
        """One folder per backtest, by content."""
        return self.root / "backtests"

    @property
    def bundles(self) -> Path:
        """One folder per exported run."""
        return self.root / "bundles"

    @property
    def walks(self) -> Path:
        """One folder per walk-forward."""
        return self.root / "walk_forward"

    @property
    def registry(self) -> Path:
        """Champion, challenger and every decision on them."""
        return self.root / "registry"

    @property
    def set_aside(self) -> Path:
        """Runs that gave way to another of their name."""
        return self.root / "set_aside"

    def run(self, name: str) -> RunFolder:
        """One training run's folder; ConfigError for a name that cannot be one."""
        return RunFolder(self.runs / run_name(name))

    def bundle(self, name: str) -> Path:
        """The bundle exported from a run; ConfigError for a name that cannot be one."""
        return self.bundles / run_name(name)

    def walk(self, name: str) -> Path:
        """The folder of a walk-forward; ConfigError for a name that cannot be one."""
        return self.walks / run_name(name)

    def sweep(self, name: str) -> Path:
        """The folder of a sweep; ConfigError for a name that cannot be one."""
        return self.root / "sweeps" / run_name(name)

    def challenger(self, name: str) -> Path:
        """What the challenger of that run showed; ConfigError for a name that cannot be one."""
        return self.root / "challengers" / run_name(name)

    def shadow(self, name: str) -> Path:
        """The folder of a shadow account; ConfigError for a name that cannot be one."""
        return self.root / "shadow" / run_name(name)

    def quotes(self, identity: str) -> Path:
        """Canonical tables of that identity."""
        return self.cache / "quotes" / identity[:DIGITS]

    def tensors(self, identity: str) -> Path:
        """Market tensors of that identity."""
        return self.cache / "tensors" / identity[:DIGITS]

    def controls(self, recipe_sha256: str) -> Path:
        """What a recipe finds in worlds whose edge is known."""
        return self.root / "controls" / f"{recipe_sha256[:DIGITS]}.json"

    def relative(self, path: Path) -> str:
        """A path as manifests name it: below the data folder, wherever that lies today."""
        return Path(os.path.relpath(path.resolve(), self.root.resolve())).as_posix()
