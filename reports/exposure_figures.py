"""What the judged book held and risked over time: exposures under their caps, margin, legs, and its Greeks."""

from typing import Any, NamedTuple

from clstm_core.evaluation.evidence import Evidence
from reports.charts import REFERENCE, Chart, framed, line, number, table

GREEKS_WORDS = (
    "It is that of the book before the next move, without legs that settle in it, by the ledger's attribution."
)


class _Shown(NamedTuple):
    """One figure: its columns with their names, the axis, what to read in it, and the column that is its size where a
    cap bounds that on either side."""

    id: str
    title: str
    columns: dict[str, str]
    unit: str
    scale: float
    caption: str
    size: str = ""


SHOWN = (
    _Shown(
        "exposure",
        "Net and gross exposure",
        {"net_exposure": "net, size", "gross_exposure": "gross"},
        "% of equity",
        100.0,
        "Delta of the whole book times the index, and the same summed over positions without sign. Grey: their caps.",
    ),
    _Shown(
        "crash",
        "Loss in the stated crash",
        {"crash_loss": "loss"},
        "% of equity",
        100.0,
        "What the book would lose if the index fell and volatility rose at once by the stated sizes. Grey: its cap.",
    ),
    _Shown("margin", "Margin", {"margin": "margin"}, "% of equity", 100.0, "Margin asked for by the broker's scan."),
    _Shown("legs", "Legs held", {"legs": "contracts by kind"}, "legs", 1.0, "Different contracts held at each close."),
    _Shown("delta", "Delta", {"delta": "delta"}, "% of equity", 100.0, f"Signed dollar delta. {GREEKS_WORDS}"),
    _Shown(
        "gamma",
        "Gamma",
        {"gamma": "gamma"},
        "% of equity per 1% move",
        100.0,
        f"Change of dollar delta when the index moves by 1%; negative: losses grow with the move. {GREEKS_WORDS}",
    ),
    _Shown(
        "vega",
        "Vega",
        {"vega": "vega"},
        "% of equity per volatility point",
        100.0,
        "What a rise of implied volatility by a point, alike in all expiries, is worth to the book; negative: it is "
        "short of volatility. Grey: the cap on its size.",
        size="vega_per_point",
    ),
    _Shown(
        "theta",
        "Theta",
        {"theta": "theta"},
        "bps of equity per day",
        1e4,
        f"What a calendar day is worth when nothing moves; positive: premium comes in. {GREEKS_WORDS}",
    ),
)


def exposure_charts(data: Evidence) -> list[Chart]:
    """Every figure of `SHOWN` that some session has a number for."""
    return [chart for shown in SHOWN if (chart := _chart(data, shown)) is not None]


def _chart(data: Evidence, shown: _Shown) -> Chart | None:
    def scaled(value: Any) -> float | None:
        return None if (known := number(value)) is None else shown.scale * known

    rows = [{"date": row.get("date"), **{key: scaled(row.get(key)) for key in shown.columns}} for row in data.sessions]
    if not any(row[key] is not None for row in rows for key in shown.columns):
        return None
    dates = [row["date"] for row in rows]
    shape = "hv" if shown.id == "legs" else "linear"
    traces = [
        line(dates, [row[key] for row in rows], name, style, line_shape=shape)
        for style, (key, name) in enumerate(shown.columns.items())
    ]
    for key, name in shown.columns.items():
        if (cap := scaled(data.caps.get(key))) is not None:
            words = f"cap of {name.split(',')[0]}: {cap:.3g}"
            traces.append(_level(dates, cap, words))
    if (cap := scaled(data.caps.get(shown.size))) is not None:
        traces += [_level(dates, side * cap, f"cap: {side * cap:+.3g}") for side in (1.0, -1.0)]
    return Chart(
        id=f"book-{shown.id}",
        title=shown.title,
        figure=framed(traces, shown.title, data.data_label, shown.unit),
        caption=shown.caption,
        table=table(rows, {"date": ("date", ""), **{k: (f"{v}, {shown.unit}", "") for k, v in shown.columns.items()}}),
    )


def _level(dates: list[Any], cap: float, words: str) -> Any:
    """A cap through all dates."""
    grey = {"color": REFERENCE, "dash": "dash", "width": 1.4}
    return line([dates[0], dates[-1]], [cap, cap], words, line=grey, mode="lines")
