"""What schedules and sensors launch: one standing recipe, kept in `data/standing.json` by `clstm schedule on`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.jobs import chosen

if TYPE_CHECKING:
    from clstm_core.recipe import Recipe

FILE = "standing.json"


def read_standing(data: Path) -> "Recipe":
    """The standing recipe; the default one where none was chosen.

    Raises: ConfigError naming the file where it holds no recipe
    """
    import json

    from clstm_core.errors import ConfigError
    from clstm_core.recipe import Recipe

    place = data / FILE
    if not place.is_file():
        return Recipe()
    try:
        return Recipe(**json.loads(place.read_text()))
    except (ValueError, TypeError) as error:
        found = " ".join(str(error).split())
        raise ConfigError(f"{place}: {found} Expected a recipe: `clstm schedule on --recipe NAME`.") from None


def write_standing(data: Path, recipe: "Recipe") -> Path:
    """Keep a recipe as the one that schedules launch."""
    from clstm_core.artifacts.folder import write_json

    data.mkdir(parents=True, exist_ok=True)
    write_json(data / FILE, dataclasses.asdict(recipe))
    return data / FILE


def run_config(recipe: "Recipe") -> dict[str, Any]:
    """The recipe as the run configuration of a job."""
    return chosen(**dataclasses.asdict(recipe))
