"""The page of two runs side by side: tables and one picture, without a script."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from clstm_core.artifacts.folder import write_text
from reports.pages import CSP, template
from reports.render import label_kind, write_shared
from reports.svg import both_widths, line_chart


class Pair(Protocol):
    """What is shown (`evaluation.side_by_side.SideBySide`)."""

    @property
    def names(self) -> tuple[str, str]:
        """Of the runs."""
        ...

    @property
    def labels(self) -> tuple[str, str]:
        """What the quotes of either are."""
        ...

    @property
    def curves(self) -> Mapping[str, Sequence[tuple[Any, float]]]:
        """Growth of 1 by date."""
        ...


def render_pair(pair: Pair, out_dir: Path) -> Path:
    """Write `<out_dir>/<a>+<b>/index.html`, a name that no run can have, and the files it shares; the page's path."""
    # inside a picture the chart needs no script and no leave of the content security policy beyond `img-src data:`
    kinds = dict.fromkeys(label.split(" (")[0] for label in pair.labels)
    chart = partial(line_chart, pair.curves, "Growth of 1, each on its own test window", subtitle="; ".join(kinds))
    page = template("side_by_side.html").render(
        pair=pair,
        kinds=[label_kind(label) for label in pair.labels],
        picture=both_widths(chart),
        csp=CSP,
        inline=None,  # style and scripts are files beside the page
    )
    write_shared(out_dir)
    index = out_dir / "+".join(pair.names) / "index.html"
    index.parent.mkdir(parents=True, exist_ok=True)
    write_text(index, page)
    return index
