"""What is written of a decision after it took effect: its rows in the store, and the pages of the feedback loop.

The pages are drawn together: a decision changes what a challenger's page says, and links it. A decision holds whether
these can be written or not; what cannot is named, and written by the next command or asset that comes here.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from clstm_core.artifacts.places import Places

if TYPE_CHECKING:
    from clstm_core.store.store import MetricsStore


def keep_decisions(places: Places, store: "MetricsStore", out_dir: Path, unwritten: str = "") -> str:
    """Keep every decision in the store and draw the pages; in a sentence what could not be written, "" where all was.

    Args:
        unwritten: what the registry could not write of a decision that was just taken

    Raises: RegistryError for a registry that is altered, after the pages of retrainings are drawn
    """
    from clstm_core.feedback.registry import Registry

    registry = Registry(places)
    failed = [
        unwritten,
        _tried(f"the store {store.path}", lambda: store.record(*reversed(registry.history()))),
        _tried(f"the pages below {out_dir}", lambda: draw_feedback(places, out_dir)),
    ]
    if not any(failed):
        return ""
    return (
        f"What was decided holds; what could not be written: {'; '.join(filter(None, failed))}. Mend that, e.g. free "
        "space on the disk, and run `clstm champion show` to complete it: the next decision does too."
    )


def _tried(what: str, write: Callable[[], object]) -> str:
    """What could not be written and why; "" where it was."""
    from clstm_core.errors import MetricsError, of_file_system

    try:
        write()
    except Exception as error:
        if not (of_file_system(error) or isinstance(error, MetricsError)):
            raise
        return f"{what} ({getattr(error, 'strerror', None) or error})"
    return ""


def draw_feedback(places: Places, out_dir: Path) -> Path:
    """Draw every retraining's page, and the champion's where anything was decided; the path of the list of retrainings.

    Raises: RegistryError for a registry that is altered, after the pages of retrainings are drawn
    """
    from clstm_core.feedback import challenger_story, decision_story
    from clstm_core.feedback.registry import Registry
    from reports.challenger_page import render_challengers
    from reports.feedback_page import render_champion

    index = render_challengers(challenger_story.story(places), out_dir)
    registry = Registry(places)
    if registry.current() is not None:
        render_champion(decision_story.story(registry), out_dir)
    return index
