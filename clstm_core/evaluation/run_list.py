"""Every training run of a data folder in one line each, from the files that it left; what is not there stays empty."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clstm_core.artifacts.manifests import ComparisonManifest, RunInputs, RunStatus
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.errors import ConfigError
from clstm_core.evaluation import words
from clstm_core.evaluation.headline import judged_pairs


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLine:
    """One run as a list shows it; every field is text for a person, empty where nothing is known.

    standing: running, stopped, failed, finished, or begun where no trainer said anything
    champion: the rung that was judged, and whether it is a champion
    outcome:  what its test window shows, in few words
    """

    name: str
    recipe: str = ""
    source: str = ""
    seed: str = ""
    standing: str = "begun"
    env_steps: str = ""
    champion: str = ""
    outcome: str = "not judged yet"
    date: str = ""


HEADINGS = ("name", "recipe", "source", "seed", "standing", "env steps", "champion", "outcome", "date")


def list_runs(places: Places) -> list[RunLine]:
    """The runs of a data folder, the one that was begun last first."""
    folders = [path for path in places.runs.glob("[!.]*") if path.is_dir()]
    lines = [_line(RunFolder(path)) for path in folders]
    return sorted(lines, key=lambda line: (line.date, line.name), reverse=True)


def require_run(places: Places, name: str) -> RunFolder:
    """The folder of a run that is there.

    Raises: ConfigError that names the runs there are
    """
    run = places.run(name)
    if not run.path.is_dir():
        known = ", ".join(sorted(path.name for path in places.runs.glob("[!.]*") if path.is_dir()))
        raise ConfigError(
            f"no run {name} in {places.runs}: expected one of {known or 'none, nothing was trained here'}. "
            "`clstm runs` lists them."
        )
    return run


def _line(run: RunFolder) -> RunLine:
    # how far a run came is asked of its small files alone: a list reads no checkpoint and no curve
    inputs = RunInputs.kept(run.inputs, files=False)
    status = RunStatus.kept(run.status, files=False)
    comparison = ComparisonManifest.kept(run.comparison, files=False)
    known: dict[str, Any] = {}
    if inputs is not None:
        known |= {"recipe": inputs.config.get("recipe"), "seed": inputs.config.get("seed")}
        known["source"] = inputs.facts.get("source")
    if status is not None:
        known |= {"standing": status.status, "date": (status.started_at or "")[:10]}
        known["env_steps"] = None if status.env_steps is None else f"{status.env_steps:,}"
    if comparison is not None:
        known |= {"champion": champion_words(comparison.champion), "outcome": outcome_words(comparison.comparison)}
    return RunLine(name=run.name, **{key: str(value) for key, value in known.items() if value not in (None, "")})


def champion_words(champion: Mapping[str, Any]) -> str:
    """The judged rung in few words: `80%` of the run, or `none (100% shown)` where no rung qualifies."""
    if not champion:
        return "none"
    rung = words.percent_of_run(champion["milestone"])
    return rung if champion.get("qualified") else f"none ({rung} shown)"


def outcome_words(comparison: Mapping[str, Any]) -> str:
    """What the judged rung did against cash, e.g. `+11.6%; not distinguishable from cash`."""
    champion = comparison.get("champion")
    if not champion:
        return "no checkpoint was judged"
    row = next((row for row in comparison["rows"] if row["backtest_id"] == champion["backtest_id"]), None)
    pairs = [pair for pair in judged_pairs(comparison["pairs"], champion) if pair["against"] == "cash"]
    said = [f"{row['total_return']:+.1%}"] if row else []
    return "; ".join(said + [f"{words.relation_of(pair)} cash" for pair in pairs])
