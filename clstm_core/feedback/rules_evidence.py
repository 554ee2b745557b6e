"""What the rules are asked about, read from files: pairs of daily growth, and days that policies know."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clstm_core.artifacts.folder import read_json
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BundleManifest, ChallengerManifest, TensorsManifest
from clstm_core.artifacts.places import DIGITS, Places
from clstm_core.errors import RegistryError
from clstm_core.evaluation.regimes import TERCILES
from clstm_core.evaluation.statistics import MIN_OBSERVATIONS, Floats
from clstm_core.feedback.registry_files import BUNDLES
from clstm_core.plural import counted

_AGAIN = "Make the challenger again."


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """Log growth per session of a challenger, of what it is held against and of cash, on days new to both [T]."""

    dates: list[str]
    challenger: Floats
    reference: Floats
    cash: Floats
    regime: list[str]

    @property
    def difference(self) -> Floats:
        """Growth of the challenger less the other's [T]."""
        return self.challenger - self.reference


def read_pairs(file: Path, manifest: ChallengerManifest) -> Pairs:
    """The pairs of a challenger; against cash where it was held against no champion.

    Raises: RegistryError for columns, numbers or days that are not as the manifest says
    """
    import polars as pl

    other = "champion" if manifest.champion else "cash"
    wanted = list(dict.fromkeys(["date", "challenger", other, "cash", "regime"]))
    try:
        table = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RegistryError(f"unreadable pairs {file}: {error}. {_AGAIN}") from error
    if missing := [name for name in wanted if name not in table.columns]:
        raise RegistryError(f"{file} has no {', '.join(missing)}: expected {', '.join(wanted)}. {_AGAIN}")
    dates = [str(day)[:10] for day in table["date"].to_list()]
    try:
        mine, theirs, cash = (table[name].cast(pl.Float64).to_numpy() for name in ("challenger", other, "cash"))
    except pl.exceptions.PolarsError as error:
        raise RegistryError(f"{file} has growth that is no number: {error}. {_AGAIN}") from error
    regime = [str(name) for name in table["regime"].to_list()]
    if len(dates) < MIN_OBSERVATIONS or dates != sorted(set(dates)):
        raise RegistryError(
            f"{file} has {counted(len(dates), 'row')} on {counted(len(set(dates)), 'day')}: expected at least "
            f"{MIN_OBSERVATIONS}, one per session in order. {_AGAIN}"
        )
    if not all(np.isfinite(growth).all() for growth in (mine, theirs, cash)):
        raise RegistryError(f"{file} has growth that is not finite: expected a number per session. {_AGAIN}")
    if strange := sorted(set(regime) - set(TERCILES)):
        raise RegistryError(f"{file} has regimes {', '.join(strange)}: expected {', '.join(TERCILES)}. {_AGAIN}")
    said = tuple(str(manifest.judged.get(name))[:10] for name in ("first", "last"))
    if said != (dates[0], dates[-1]):
        raise RegistryError(
            f"{file} runs from {dates[0]} to {dates[-1]}: expected {said[0]} to {said[1]} as its manifest says. "
            f"{_AGAIN}"
        )
    return Pairs(dates=dates, challenger=mine, reference=theirs, cash=cash, regime=regime)


def known_until(places: Places, bundle: BundleManifest) -> str | None:
    """The last day (ISO) that a policy was trained or chosen on: its training and its validation window.

    As its configuration names them, and as the market says that it was trained on, where that is at hand. One that was
    trained on from a champion knows what that one knew, and so on to the first. None where any of them is not known.
    """
    config = read_json(bundle.folder / "config.json")
    market, fine_tune = (_room(config, name) for name in ("market", "fine_tune"))
    own = _own_until(places, bundle, market)
    began_with = str(fine_tune.get("champion") or "")
    if not began_with or own is None:
        return own
    champion = BundleManifest.kept(places.registry / BUNDLES / began_with[:DIGITS] / FILE)
    inherited = known_until(places, champion) if champion is not None and champion.identity == began_with else None
    return None if inherited is None else max(own, inherited)


def _room(config: Any, name: str) -> Mapping[str, Any]:
    """A room of a configuration; nothing where it is none."""
    room = config.get(name) if isinstance(config, dict) else None
    return room if isinstance(room, dict) else {}


def _own_until(places: Places, bundle: BundleManifest, market: Mapping[str, Any]) -> str | None:
    """The last day of a policy's own windows: the later, where its settings and the market it was trained on differ."""
    named = [str(market[name])[:10] for name in ("train_until", "validation_until") if market.get(name)]
    ends = named if len(named) == 2 else []
    identity = str(bundle.policy.get("training_data_sha256") or "")
    tensors = TensorsManifest.kept(places.tensors(identity) / FILE, files=False) if identity else None
    if tensors is not None and tensors.identity == identity:
        days = window_days(tensors)
        ends = [*ends, *(last for name, (_, last, _) in days.items() if name in ("train", "validation"))]
    return max(ends, default=None)


def window_days(tensors: TensorsManifest) -> dict[str, tuple[str, str, int]]:
    """First and last day (ISO) and sessions of each window of a market, by its name; those that hold none are left out.

    Raises: RegistryError where the tensors beside their manifest cannot be read
    """
    from safetensors import SafetensorError, safe_open

    splits = tensors.info.get("splits", {})
    if not splits:
        return {}
    place = tensors.folder / "market.safetensors"
    try:
        with safe_open(str(place), framework="np") as stored:
            days = stored.get_tensor("snapshot_T").astype("datetime64[ns]").astype("datetime64[D]").astype(str)
    except (OSError, SafetensorError) as error:
        raise RegistryError(f"unreadable market {place}: {error}. {tensors.remedy}") from error
    return {
        name: (str(days[start]), str(days[stop - 1]), stop - start)
        for name, (start, stop) in splits.items()
        if stop > start
    }


def plan_in(file: Path) -> dict[str, Any]:
    """Limits from a JSON file; RegistryError where it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RegistryError(f"unreadable plan {file}: {error}. Expected a JSON object of limits.") from error
    if not isinstance(content, dict):
        raise RegistryError(f"plan {file} holds a {type(content).__name__}: expected a JSON object of limits.")
    return content
