"""The panels of the account that is judged; `panels` puts them among the others."""

from clstm_core.evaluation.evidence import Evidence
from reports.account_figures import drawdowns_table, excess_chart, tear_sheet_table, years_table
from reports.attribution_figures import attribution_chart, profit_words
from reports.charts import Chart, Panel
from reports.exposure_figures import exposure_charts
from reports.regime_figures import crises_chart, regime_chart
from reports.return_figures import distribution_chart, month_chart, rolling_charts
from reports.trade_figures import trips_chart, trips_table, worst_table


def present(*charts: Chart | None) -> list[Chart]:
    """Those that there is something to draw for."""
    return [chart for chart in charts if chart is not None]


def excess_panel(data: Evidence) -> Panel:
    """Its excess over cash, its tear sheet, its years and its falls."""
    charts = present(excess_chart(data))
    message = "" if charts else "No excess over cash to draw: no checkpoint was judged yet."
    tables = [("Tear sheet", tear_sheet_table(data))] if data.tear_sheet else []
    if data.years:
        tables.append(("Year by year", years_table(data)))
    if data.drawdowns:
        tables.append(("The deepest drawdowns", drawdowns_table(data)))
    return Panel(id="excess", title="The judged policy against cash", message=message, charts=charts, tables=tables)


def attribution_panel(data: Evidence) -> Panel:
    """What explains its profit, and how much of that is interest."""
    charts = present(attribution_chart(data))
    message = profit_words(data)
    if not charts:
        message = "No attribution: no checkpoint was judged, or its backtest has no whole step yet."
    return Panel(id="attribution", title="Where profit came from", message=message, charts=charts)


def returns_panel(data: Evidence) -> Panel:
    """Its returns by month and day, and over rolling windows."""
    charts = [*present(month_chart(data), distribution_chart(data)), *rolling_charts(data)]
    message = "" if charts else "No returns: no checkpoint was judged yet."
    return Panel(id="returns", title="Returns over time", message=message, charts=charts)


def regimes_panel(data: Evidence) -> Panel:
    """What it earned in calm and wild markets, and in crises."""
    charts = present(regime_chart(data), crises_chart(data))
    message = (
        "" if charts else "No regimes: no checkpoint was judged, or too few sessions have a volatility before them."
    )
    if charts and not data.crises:
        message = "No named crisis lies whole in this window, or its dates are made up."
    return Panel(id="regimes", title="Calm markets, wild markets and crises", message=message, charts=charts)


def book_panel(data: Evidence) -> Panel:
    """What it held and risked over time."""
    charts = exposure_charts(data)
    message = "" if charts else "No book to show: no checkpoint was judged yet."
    return Panel(id="book", title="Greeks, margin and exposure over time", message=message, charts=charts)


def trips_panel(data: Evidence) -> Panel:
    """What its packages made from opening to flat."""
    charts = present(trips_chart(data))
    message = "" if charts else "No round trip: the judged policy has opened no package of options and closed it again."
    tables = [("By the action that opened them", trips_table(data))] if data.trade_figures else []
    if data.worst_trades:
        tables.append(("The ten worst trades", worst_table(data)))
    return Panel(id="trips", title="Round trips", message=message, charts=charts, tables=tables)
