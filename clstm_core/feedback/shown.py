"""What a challenger showed, as one hash that its bundle carries: a figure that was altered later fits it no more."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifests import BundleManifest, ChallengerManifest
from clstm_core.errors import RegistryError
from clstm_core.feedback.registry_state import PAIRS

SHOWN = "shown_sha256"
"""Of a bundle's provenance."""

OF_THE_BUNDLE = ("parity", "latency_p50_us")
"""Figures that are read from the bundle itself."""


def shown_sha256(
    pairs: pl.DataFrame,
    figures: Mapping[str, Any],
    judged: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    champion: str,
) -> str:
    """Hash of the pairs, figures, facts and stages of a challenger, and of whom it was held against."""
    own = {name: value for name, value in figures.items() if name not in OF_THE_BUNDLE}
    return json_sha256([pairs.to_dict(as_series=False), own, dict(judged), list(stages), champion])


def figures_of(bundle: BundleManifest) -> dict[str, Any]:
    """What a bundle says of itself: whether its exports decide alike, and the median time of a decision.

    What was not measured is None.
    """
    p50 = next((row.get("p50_us") for row in bundle.latency if row.get("runtime") == "onnx"), None)
    return {"parity": all(row["passed"] for row in bundle.parity) if bundle.parity else None, "latency_p50_us": p50}


def require_as_shown(manifest: ChallengerManifest, bundle: BundleManifest) -> None:
    """Refuse a challenger that says other things than when its bundle was made.

    A bundle that carries no hash was made by hand, and says nothing of it.

    Raises: RegistryError
    """
    if (expected := bundle.provenance.get(SHOWN)) is None:
        return
    pairs = pl.read_parquet(manifest.folder / PAIRS)
    found = shown_sha256(pairs, manifest.figures, manifest.judged, manifest.stages, manifest.champion)
    told = {name: manifest.figures.get(name) for name in OF_THE_BUNDLE}
    if found != expected or told != figures_of(bundle):
        raise RegistryError(
            f"altered challenger {manifest.place}: its pairs, figures and stages have sha256 {found[:12]}, expected "
            f"{str(expected)[:12]} as its bundle says, and of parity and latency {told}, expected "
            f"{figures_of(bundle)}. Move its folder away and run the same `clstm retrain` again."
        )
