"""Training diagnostics over env steps, with the published run's values as reference lines."""

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.charts import REFERENCE, Chart, framed, has_values, line, number, table
from reports.palette import OKABE_ITO

SPANS = {1: "1 session", 5: "5 sessions", 21: "21 sessions"}
IN_SAMPLE = {f"explained_variance_{span}": name for span, name in SPANS.items()}
HELD_OUT = {f"heldout_explained_variance_{span}": name for span, name in SPANS.items()}
BOTH_EV = (*IN_SAMPLE, *HELD_OUT)
PUBLISHED_NOTE = "published run; its environment was broken"


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnostic:
    """One small figure: metric keys with their names, the published values, the target band, what to read in it."""

    title: str
    series: dict[str, str]
    y_title: str
    caption: str
    published: tuple[tuple[str, float], ...] = ()
    target: tuple[float, float] | None = None
    log: bool = False
    measured: bool = False  # a zero says that there was nothing to measure, as a device's memory where there is none
    range_of: tuple[str, ...] = ()  # metrics whose common range the axis shows, so that two figures compare


DIAGNOSTICS: tuple[Diagnostic, ...] = (
    Diagnostic(
        title="KL per policy update",
        series={"approx_kl": "approximate KL", "full_unroll_kl": "full-unroll KL"},
        y_title="nats",
        published=(("final", 0.053),),
        target=(0.0, 0.02),
        caption="How far one update moves the policy; target below 0.02.",
    ),
    Diagnostic(
        title="Clip fraction",
        series={"clip_fraction": "clipped"},
        y_title="share of samples",
        published=(("final, low", 0.27), ("final, high", 0.29)),
        target=(0.10, 0.20),
        caption="Samples whose probability ratio left the clip range; target 10-20%.",
    ),
    Diagnostic(
        title="Entropy, % of initial",
        series={"entropy_pct": "entropy"},
        y_title="entropy, % of initial",
        caption="A fall to a few percent early on means that exploration has stopped.",
    ),
    Diagnostic(
        title="Entropy",
        series={"entropy": "entropy"},
        y_title="nats",
        published=(("final", 0.45),),
        caption="The published value is given without a unit.",
    ),
    Diagnostic(
        title="Gradient norms",
        series={"policy_grad_norm": "policy", "value_grad_norm": "value"},
        y_title="norm",
        published=(("final, policy", 0.06), ("final, value", 0.002)),
        log=True,
        caption="Lengths of the gradients before they are clipped.",
    ),
    Diagnostic(
        title="Learning rates",
        series={"actor_lr": "actor", "critic_lr": "critic"},
        y_title="learning rate",
        published=(("final", 0.0),),
        caption="Lowered step by step over the run.",
    ),
    Diagnostic(
        title="Explained variance, in sample",
        series=IN_SAMPLE,
        y_title="of rewards that came",
        range_of=BOTH_EV,
        caption="How much of the rewards of the next sessions the critic foresaw, by its value less its discounted "
        "value after them; a critic that says the same everywhere scores 0. High here and low on held-out data: it has "
        "memorised histories.",
    ),
    Diagnostic(
        title="Explained variance, held out",
        series=HELD_OUT,
        y_title="of rewards that came",
        range_of=BOTH_EV,
        caption="On snapshots that the policy was not trained on. No held-out value was published.",
    ),
    Diagnostic(
        title="Bootstrapped explained variance",
        series={
            "bootstrapped_explained_variance": "in sample",
            "heldout_bootstrapped_explained_variance": "held out",
        },
        y_title="of Monte Carlo returns",
        published=(("early", 0.80), ("final", 0.50)),
        caption="The published figure. Where episodes are short, such returns are mostly the critic's own values: "
        "random constants per episode score as high. Published at the end: 0.48-0.51.",
    ),
    Diagnostic(
        title="Correlation of values and returns",
        series={"value_correlation": "correlation"},
        y_title="correlation",
        published=(("early", 0.92), ("final", 0.69)),
        caption="Predicted values against Monte Carlo returns. Early published: 0.90-0.95.",
    ),
    Diagnostic(
        title="Predicted and Monte Carlo mean",
        series={"predicted_mean": "predicted", "monte_carlo_mean": "Monte Carlo"},
        y_title="scaled reward",
        published=(("final, predicted", 0.253), ("final, Monte Carlo", 0.252)),
        caption="The critic is biased where the two part.",
    ),
    Diagnostic(
        title="Predicted and Monte Carlo spread",
        series={"predicted_std": "predicted", "monte_carlo_std": "Monte Carlo"},
        y_title="scaled reward",
        caption="Standard deviations: a critic that cannot tell states apart predicts with little spread.",
    ),
    Diagnostic(
        title="Mean reward per step",
        series={"mean_reward": "mean reward"},
        y_title="scaled reward",
        published=(("best", 1.47), ("final", 1.30)),
        caption="The published rewards came from an environment that paid for nothing; they are no target.",
    ),
    Diagnostic(
        title="Reward distribution",
        series={"reward_p999": "99.9% quantile", "reward_p50": "median", "reward_p001": "0.1% quantile"},
        y_title="scaled reward",
        caption="Of single steps.",
    ),
    Diagnostic(
        title="Steps per second",
        series={"steps_per_second": "this run"},
        y_title="env steps/s",
        published=(("average, one H200", 196_000.0),),
        log=True,
        caption="Whole iterations, updates included. Logarithmic.",
    ),
    Diagnostic(
        title="Device memory",
        series={"gpu_memory_mb": "peak"},
        y_title="MB",
        caption="The most that the device had given out so far.",
        measured=True,
    ),
)


def training_charts(data: Evidence) -> list[Chart]:
    """A figure for every diagnostic that the run logged."""
    return [_chart(d, index, data) for index, d in enumerate(DIAGNOSTICS) if _logged(d, data)]


def _logged(diagnostic: Diagnostic, data: Evidence) -> bool:
    values = [number(row.get(key)) for row in data.training for key in diagnostic.series]
    return any(value or not diagnostic.measured for value in values if value is not None)


def _chart(diagnostic: Diagnostic, index: int, data: Evidence) -> Chart:
    steps = [number(row.get("env_steps")) for row in data.training]
    traces: list[Any] = [
        line(steps, [row.get(key) for row in data.training], name, style, connectgaps=True)
        for style, (key, name) in enumerate(diagnostic.series.items())
        if has_values(data.training, key)
    ]
    known = [step for step in steps if step is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    for dash, (label, value) in zip(("dot", "longdash"), diagnostic.published, strict=False):
        # above or below zero alone: a logarithmic axis cannot show the rest
        if not diagnostic.log or value > 0:
            traces.append(_reference(low, high, value, label, dash))
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "env steps"}, "exponentformat": "SI"},
        "yaxis": {"rangemode": "tozero"},
    }
    if diagnostic.log:
        layout["yaxis"] = {"type": "log", "exponentformat": "SI", "dtick": 1}
    if diagnostic.range_of:
        layout["yaxis"] = {"range": _common_range(data, diagnostic.range_of)}
    if diagnostic.target:
        layout["shapes"] = [_band(*diagnostic.target)]
    label = data.trained_label or data.label or "quotes of unknown origin"
    columns = {key: (name, "") for key, name in diagnostic.series.items()}
    return Chart(
        id=f"training-{index}",
        title=diagnostic.title,
        figure=framed(traces, diagnostic.title, f"trained on {label}", diagnostic.y_title, height=360, **layout),
        caption=diagnostic.caption + (" Shaded: the target." if diagnostic.target else ""),
        table=table(data.training, {"env_steps": ("env steps", "count"), **columns}),
    )


def _common_range(data: Evidence, keys: tuple[str, ...]) -> list[float]:
    values = [v for row in data.training for key in keys if (v := number(row.get(key))) is not None]
    # explained variance has no lower bound: below -1 the figures are cut, the table is not
    return [max(-1.0, min(0.0, *values)) - 0.05, 1.05]


def _reference(low: float, high: float, value: float, label: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=[low, high],
        y=[value, value],
        mode="lines",
        name=f"{label} {value:,g} ({PUBLISHED_NOTE})",
        line={"color": REFERENCE, "dash": dash, "width": 1.5},
        hoverinfo="name+y",
    )


def _band(low: float, high: float) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": low,
        "y1": high,
        "fillcolor": OKABE_ITO[2],
        "opacity": 0.13,
        "line": {"width": 0},
        "layer": "below",
    }
