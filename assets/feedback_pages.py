"""The pages of the feedback loop, drawn together: a decision changes what a challenger's page says, and links it."""

from pathlib import Path

from clstm_core.artifacts.places import Places


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
