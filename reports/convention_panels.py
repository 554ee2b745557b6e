"""The panels of conventions, delay, spread and timing; `panels` puts them among the others."""

from clstm_core.evaluation.evidence import Evidence
from reports.account_panels import present
from reports.charts import Panel
from reports.convention_figures import (
    break_evens_table,
    costs_chart,
    delays_chart,
    sins_chart,
    sins_table,
    tilt_chart,
    tilt_months_chart,
)

NOTHING = "No convention was switched: no checkpoint was judged, or the sweeps were not made yet."


def sins_panel(data: Evidence) -> Panel:
    """What each sin of evaluation would have bought the judged policy."""
    charts = present(sins_chart(data))
    # behind its chart where there is one
    tables = [("Each convention switched alone", sins_table(data))] if data.sins and not charts else []
    return Panel(
        id="conventions",
        title="What would each sin have bought?",
        message=data.sins_words or NOTHING,
        charts=charts,
        tables=tables,
    )


def delay_panel(data: Evidence) -> Panel:
    """How the same orders bear another session."""
    message = data.delays_words or "No delay was walked: no checkpoint was judged, or the sweeps were not made yet."
    return Panel(id="delay", title="Does it bear delay?", message=message, charts=present(delays_chart(data)))


def costs_panel(data: Evidence) -> Panel:
    """What is left as the spread grows, and where nothing is."""
    message = data.costs_words or "No spread was walked: no checkpoint was judged, or the sweeps were not made yet."
    tables = [("The spread at which cash is met", break_evens_table(data))] if data.break_evens else []
    return Panel(
        id="costs",
        title="How much spread does it bear?",
        message=message,
        charts=present(costs_chart(data)),
        tables=tables,
    )


def tilt_panel(data: Evidence) -> Panel:
    """What average Greeks would have earned, and what varying them added."""
    message = data.tilt_words or "No account to split: no checkpoint was judged, or the sweeps were not made yet."
    charts = present(tilt_chart(data), tilt_months_chart(data))
    return Panel(id="tilt", title="Tilt or timing?", message=message, charts=charts)
