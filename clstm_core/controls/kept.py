"""Controls kept by what was controlled: a recipe's account, net and learning rules, whatever market it trains on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from clstm_core.artifacts.code import git_commit
from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifests import ControlsManifest
from clstm_core.artifacts.places import DIGITS, Places
from clstm_core.config import RunConfig
from clstm_core.controls.names import CONTROLS, EDGE_FREE, OVERPAID
from clstm_core.controls.settings import taught
from clstm_core.errors import ArtifactError, ConfigError

WINDOWS = 100
"""Windows that a policy is judged in, in either world, and as many of luck."""

Progress = Callable[[str, int, int], None]


def recipe_sha256(config: RunConfig) -> str:
    """Hash of what a recipe teaches and how (`settings.taught`); neither market, seed, steps nor device.

    A new setting leaves it alone where it changes nothing; another value or default of a known one does not.
    """
    return json_sha256(taught(config))


def make_controls(
    config: RunConfig, places: Places, *, episodes: int | None = None, progress: Progress | None = None
) -> ControlsManifest:
    """Train the recipe in every control world, judge it there, and keep the figures in place of earlier ones.

    Args:
        episodes: walked in each world; as many as make `WINDOWS` windows when left out
        progress: told the world, the env steps that were learned from, and all of them

    Raises: ConfigError for fewer episodes than make windows to tell luck by
    """
    from clstm_core.controls.found import FEWEST_WINDOWS, episodes_per_window, found_in

    each = episodes_per_window(config.env.horizon)
    episodes = WINDOWS * each if episodes is None else episodes
    if episodes < FEWEST_WINDOWS * each:
        raise ConfigError(
            f"controls of {episodes} episodes of {config.env.horizon} sessions: expected at least "
            f"{FEWEST_WINDOWS * each} ({FEWEST_WINDOWS} windows of luck), as a rule {WINDOWS * each}. With fewer "
            "nothing could be called better than cash. Ask for more."
        )
    found = []
    for name in CONTROLS:
        tell = None if progress is None else (lambda done, total, name=name: progress(name, done, total))
        found.append({"world": name, **found_in(name, config, episodes=episodes, progress=tell)})
    key = recipe_sha256(config)
    return ControlsManifest(
        recipe=config.recipe,
        recipe_sha256=key,
        seed=config.seed,
        steps=config.timesteps,
        episodes=episodes,
        found=found,
        git_commit=git_commit(),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    ).write(places.controls(key))


def kept_controls(config: RunConfig, places: Places) -> ControlsManifest | None:
    """The controls of this recipe; None where none were made.

    Raises: ArtifactError for controls that were altered, or are another recipe's
    """
    key = recipe_sha256(config)
    if not (place := places.controls(key)).is_file():
        return None
    kept = ControlsManifest.read(place)
    if kept.recipe_sha256 != key:
        raise ArtifactError(
            f"{place} holds controls of {kept.recipe_sha256[:DIGITS]}: expected {key[:DIGITS]}, which this recipe "
            f"teaches. {kept.remedy}"
        )
    return kept


def controls_said(kept: ControlsManifest | None, recipe: str) -> str:
    """The controls beside a verdict: what they say and when they were made, or how to make them."""
    if kept is None:
        return f"No controls of this recipe yet: `clstm controls --recipe {recipe}` makes them, once for all its runs."
    commit = kept.git_commit[:7]
    made = f"({kept.steps:,} env steps in simulated worlds, seed {kept.seed}, {kept.made_at[:10]}, commit {commit})"
    return f"{words_of(kept.found)} {made}"


def words_of(found: Sequence[Mapping[str, Any]]) -> str:
    """What the controls say, for whoever reads a verdict: what it invents where nothing is, what it finds else."""
    of = {row["world"]: row for row in found}
    nothing, edge = of[EDGE_FREE], of[OVERPAID]
    best = edge["rule_growth"]["growth_bps"]
    share = (
        f"{edge['growth_bps'] / best:.0%} of the best fixed rule's profit" if best > 0 else "nothing that a rule finds"
    )
    return (
        f"Where nothing can be earned it held no position in {nothing['idle']:.0%} of its decisions, and was called "
        f"better than cash in {_windows(nothing)}. Where sellers of options are overpaid it earned {share}, and was "
        f"called better in {_windows(edge)}."
    )


def _windows(row: Mapping[str, Any]) -> str:
    return f"{row['called_better']} of {row['windows']} windows of {row['window_sessions']:,} sessions"
