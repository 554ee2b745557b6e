"""Whether the critic foresees anything: values against rewards that came, on training, validation and test dates."""

import math

import dagster as dg

from assets.backtests import measured_of, policy_backtests, results_of
from assets.check_specs import check_specs
from assets.code_versions import CRITIC, code_version
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import check, numbers, record_gates, run_stage, table
from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import file_sha256, json_sha256
from clstm_core.artifacts.manifests import CriticManifest, RunInputs
from clstm_core.evaluation.words import rung_name
from clstm_core.train.inputs import config_of

CODE = "clstm_core.train.critic"
NOTHING, TOGETHER = 0.02, 0.05
"""What a critic without skill may score, and correlate."""

SHOWN = [
    *("window", "span", "explained_variance", "correlation", "ceiling"),
    *("constant", "per_episode", "shuffled", "shuffled_correlation", "pairs"),
]


@dg.asset(
    group_name="evaluation",
    deps=[policy_backtests],
    partitions_def=training_run,
    kinds={"torch"},
    code_version=code_version(__file__, rooms=CRITIC),
    owners=["team:research"],
    check_specs=check_specs(
        "critic_foresight",
        warning={"measure_flatters_nobody": "A constant critic and a shuffled one score nothing by this measure."},
    ),
)
def critic_foresight(
    context: dg.AssetExecutionContext, paths: ProjectPaths, metrics: Metrics, report_server: ReportServer
) -> dg.MaterializeResult:
    """How much of the rewards of the next 1, 5 and 21 sessions the critic foresaw, and what no skill scores."""
    with run_stage(context, "critic", paths) as (progress, run):
        from clstm_core.evaluation.headline import champion_among
        from clstm_core.market.tensors import load_market
        from clstm_core.train.critic import critic_foresight as judge

        inputs = RunInputs.read(run.inputs)
        kept, results = results_of(run, "policy_backtests", paths.places)
        milestone = champion_among(results, measured_of(run)).manifest["milestone"]
        rung = run.checkpoint(milestone)
        made_from = json_sha256([inputs.config_sha256, file_sha256(rung / "manifest.json"), code_sha256(CODE)])
        made = CriticManifest.kept(run.critic)
        if made is not None and made.made_from == made_from:
            progress.reused("the same critic was judged before")
        else:
            config, identity = config_of(inputs), str(inputs.data_sha256)
            market = load_market(paths.places.tensors(identity), identity=identity)
            rows = [_plain(row.to_dict()) for row in judge(rung, market, config, seed=config.seed)]
            parents = {"policy_backtests": kept.identity}
            made = CriticManifest(
                run=run.name, made_from=made_from, milestone=milestone, rows_by_window=rows, parents=parents
            ).write(run.critic)
        progress(1, 1)
        checks = [_flatters_nobody(made)]
        record_gates(metrics, run, inputs.data_sha256, "critic_foresight", checks)
    return dg.MaterializeResult(
        metadata={
            "panel": report_server.panel(run.name, "critic"),
            **_numbers(made),
            "figures": table(made.rows_by_window, SHOWN),
            "checkpoint": rung_name(milestone),
            "path": dg.MetadataValue.path(str(run.critic)),
        },
        data_version=dg.DataVersion(made_from[:16]),
        check_results=checks,
    )


def _numbers(made: CriticManifest) -> dict[str, float]:
    """Explained variance by window and span, one number each."""
    return numbers(
        {f"explained_variance_{r['window']}_{r['span']}": r["explained_variance"] for r in made.rows_by_window}
    )


def _plain(row: dict) -> dict:
    """What is no finite number as None."""
    return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in row.items()}


def _flatters_nobody(made: CriticManifest) -> dg.AssetCheckResult:
    """Whether critics without skill score nothing by the measure."""
    wrong = [
        f"{row['window']} {row['span']}"
        for row in made.rows_by_window
        if abs(row["constant"] or 0.0) > NOTHING
        or (row["shuffled"] or 0.0) > NOTHING
        or abs(row["shuffled_correlation"] or 0.0) > TOGETHER
    ]
    words = f"{len(made.rows_by_window)} figures: a constant critic scores 0, a shuffled one no more than {NOTHING}."
    return check("measure_flatters_nobody", not wrong, f"Not so: {', '.join(wrong)}." if wrong else words)
