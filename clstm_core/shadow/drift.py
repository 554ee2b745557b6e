"""Drift: how far the features of the sessions that were met lie from those of training's dates.

Days are not independent draws: volatility stays high for months, so that any stretch of a hundred sessions differs from
the whole it was taken from, and a test that takes days for draws calls nearly every stretch drifted. What the sessions
differ by is therefore laid beside what stretches of the same length, cut out of training's own dates, differ from the
rest.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import ks_2samp, wasserstein_distance
from scipy.stats import t as student

from clstm_core.evaluation.regimes import TERCILES
from clstm_core.specs import MARKET_FEATURES

WATCH, MOVED = 0.1, 0.25
"""Bands of the population stability index. Source: the practice of credit scoring, e.g. Siddiqi 2006"""

BINS, STRETCHES, LEVEL, LEAST = 10, 8, 0.05, 21
"""Bins of the index; stretches of training at least, without which nothing is flagged; sessions at least."""
ALL = "all"
VOLATILITY = MARKET_FEATURES.index("near_atm_vol")


def stability_index(seen: np.ndarray, trained: np.ndarray) -> float:
    """Population stability index over deciles of training; half a day is added to each bin, so that none is empty.

        PSI = sum over bins of (p - q) log(p / q)

    Where training's top decile is one value (a constant, a flag), what lies above it has a bin of its own.

    Shapes: seen [T], trained [M]
    """
    edges = np.unique(np.quantile(trained, np.linspace(0.0, 1.0, BINS + 1))[1:-1])
    if edges[-1] == trained.max():
        edges = np.append(edges, np.nextafter(edges[-1], np.inf))
    share = []
    for values in (seen, trained):
        count = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) + 0.5
        share.append(count / count.sum())
    return float(((share[0] - share[1]) * np.log(share[0] / share[1])).sum())


def drift(seen: np.ndarray, trained: np.ndarray) -> list[dict[str, Any]]:
    """One row per feature and regime: what it differs by, and whether that is more than stretches of training do.

    Each row: feature, regime (`all` or a tercile of training's volatility), sessions, psi, band (steady, watch, moved;
    unmeasured below LEAST sessions), ks, p_value (`ks_2samp`, which takes days for draws), wasserstein; of `all` also
    chance (how likely one more stretch of training lies as far by Wasserstein's distance), by_chance (PSI that one in
    twenty of its stretches reaches) and flagged.

    Flagged is a feature that moved by its band and whose `chance` is small after Benjamini and Hochberg's correction
    over all features: of those flagged at most one in twenty is expected to be so by chance.

    Shapes: seen [T, F], trained [M, F], both raw market features in the order of `specs.MARKET_FEATURES`
    Units:  wasserstein in deviations of training; None where training has none and the sessions differ from it
    Source: Benjamini & Hochberg 1995
    """
    limits = tercile_limits(trained)
    regimes = [np.searchsorted(limits, part[:, VOLATILITY], side="right") for part in (seen, trained)]
    rows: list[dict[str, Any]] = []
    for at, feature in enumerate(MARKET_FEATURES):
        rows.append(_row(feature, ALL, seen[:, at], trained[:, at]))
        rows += [
            _row(feature, name, seen[regimes[0] == number, at], trained[regimes[1] == number, at])
            for number, name in enumerate(TERCILES)
        ]
    whole = [row for row in rows if row["regime"] == ALL]
    count = len(trained) // max(len(seen), 1)
    if len(seen) < LEAST or count < STRETCHES:
        return rows
    for at, row in enumerate(whole):
        apart = np.split(trained[: count * len(seen), at], count)
        own = [_far(one, np.concatenate([*apart[:place], *apart[place + 1 :]])) for place, one in enumerate(apart)]
        row["chance"] = _chance(_far(seen[:, at], trained[:, at]), np.array(own))
        row["by_chance"] = float(np.quantile([stability_index(one, trained[:, at]) for one in apart], 0.95))
    for row, small in zip(whole, _small([row["chance"] for row in whole]), strict=True):
        row["flagged"] = bool(small and row["psi"] >= MOVED)
    return rows


def tercile_limits(trained: np.ndarray) -> np.ndarray:
    """Volatility that parts training's dates into three, [2]."""
    return np.quantile(trained[:, VOLATILITY], [1 / 3, 2 / 3])


def regime_of(observation: np.ndarray, limits: np.ndarray) -> str:
    """The tercile of training's volatility that an observation lies in."""
    return TERCILES[int(np.searchsorted(limits, observation[VOLATILITY], side="right"))]


def flagged_words(rows: Sequence[dict[str, Any]]) -> str:
    """What drifted, in a sentence."""
    whole = [row for row in rows if row["regime"] == ALL]
    if not any(row["chance"] is not None for row in whole):
        return "Drift was not measured: too few sessions, or training's dates are not at hand."
    names = [row["feature"].replace("_", " ") for row in whole if row["flagged"]]
    moved = sum(row["band"] == "moved" for row in whole)
    said = f"{moved} of {len(whole)} features lie in the band of those that moved"
    if not names:
        return f"No feature is flagged: {said}, none of them farther than stretches of training's own dates do."
    return (
        f"Flagged: {', '.join(names)} ({said}). At most one in twenty of those flagged is expected to be so by chance."
    )


def _row(feature: str, regime: str, seen: np.ndarray, trained: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {"feature": feature, "regime": regime, "sessions": len(seen)}
    empty = dict.fromkeys(("psi", "ks", "p_value", "wasserstein", "chance", "by_chance")) | {"flagged": False}
    if len(seen) < LEAST or len(trained) < LEAST:
        return row | empty | {"band": "unmeasured"}
    index = stability_index(seen, trained)
    tested = ks_2samp(seen, trained)
    spread, distance = float(trained.std()), _far(seen, trained)
    return (
        row
        | empty
        | {
            "psi": index,
            "band": "moved" if index >= MOVED else "watch" if index >= WATCH else "steady",
            "ks": float(tested.statistic),
            "p_value": float(tested.pvalue),
            "wasserstein": distance / spread if spread > 0 else None if distance else 0.0,
        }
    )


def _far(seen: np.ndarray, trained: np.ndarray) -> float:
    return float(wasserstein_distance(seen, trained))


def _chance(distance: float, own: np.ndarray) -> float:
    """How likely one more stretch lies as far as this, when the logarithms of distances are normal: Student's t."""
    logs = np.log(np.maximum(own, 1e-12))
    reach = float(logs.std(ddof=1)) * np.sqrt(1.0 + 1.0 / len(own))
    return float(student.sf((np.log(max(distance, 1e-12)) - logs.mean()) / max(reach, 1e-12), len(own) - 1))


def _small(chances: Sequence[float]) -> list[bool]:
    """Which are small after Benjamini and Hochberg's correction."""
    order = np.argsort(chances)
    enough = np.array(chances)[order] <= LEVEL * np.arange(1, len(chances) + 1) / len(chances)
    last = int(np.flatnonzero(enough)[-1]) if enough.any() else -1
    return [bool(rank <= last) for rank in np.argsort(order)]
