"""Skill or luck: the champion walked through fair worlds of its own test window, and placed among what luck gave it."""

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from assets.backtests import baseline_backtests, chosen_by, measured_of, policy_backtests, results_of
from assets.check_specs import check_specs
from assets.code_versions import EVALUATION, code_version
from assets.partitions import training_run
from assets.resources import Metrics, ProjectPaths, ReportServer
from assets.support import NOTHING_MADE, Progress, check, record_gates, run_stage, table
from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifests import LuckManifest, RunInputs
from clstm_core.artifacts.places import RunFolder
from clstm_core.train.inputs import config_of

if TYPE_CHECKING:
    from clstm_core.evaluation.backtest import BacktestResult
    from clstm_core.evaluation.statistics import Floats

CODE = ("clstm_core.evaluation.fair_cache", "clstm_core.evaluation.fair_proof", "clstm_core.evaluation.ladder")
PARENTS = ("policy_backtests", "baseline_backtests")


class BaselineLuckConfig(dg.Config):
    """How finely the baselines' luck is measured."""

    worlds: int = Field(300, ge=200, description="fair worlds that the baselines walk")


@dg.asset(
    group_name="evaluation",
    # it reads nothing of theirs: started beside them, it would take the place of the training, which all else waits for
    deps=[baseline_backtests],
    partitions_def=training_run,
    kinds={"torch"},
    code_version=code_version(__file__, rooms=EVALUATION),
    owners=["team:research"],
)
def baseline_luck(
    context: dg.AssetExecutionContext, paths: ProjectPaths, report_server: ReportServer, config: BaselineLuckConfig
) -> dg.MaterializeResult:
    """The baselines in fair worlds of the test window: they wait for no training, and other runs on it reuse them.

    What these worlds are: `docs/fair-worlds.md`, *The worlds*.
    """
    with run_stage(context, "baseline luck", paths) as (progress, run):
        from clstm_core.evaluation.fair_cache import baseline_walks
        from clstm_core.evaluation.fair_worlds import usual_luck
        from clstm_core.market.tensors import load_market

        inputs = RunInputs.read(run.inputs)
        identity = str(inputs.data_sha256)
        market = load_market(paths.places.tensors(identity), identity=identity)
        walked = baseline_walks(market, config_of(inputs), paths.places, worlds=config.worlds, progress=progress)
        progress(1, 1)
    luck = [
        {"baseline": name, **dict(zip(("median", "one_in_forty"), usual_luck(excess), strict=True))}
        for name, excess in walked.items()
    ]
    return dg.MaterializeResult(
        metadata={
            "panel": report_server.panel(run.name, "luck"),
            "worlds": config.worlds,
            "annual_ratio_by_luck": table(luck, ["baseline", "median", "one_in_forty"]),
            "label": "simulated quotes: fair worlds",
        },
        data_version=_version(walked),
    )


def _version(walked: "dict[str, Floats]") -> dg.DataVersion:
    """What the walks came to, at the precision that is kept: the same walked again is no news to what comes after."""
    if not walked:
        return NOTHING_MADE
    found = {name: hashlib.sha256(excess.astype("float32").tobytes()).hexdigest() for name, excess in walked.items()}
    return dg.DataVersion(json_sha256(found)[:16])


class FairWorldsConfig(dg.Config):
    """How finely luck is measured."""

    worlds: int = Field(1000, ge=200, description="fair worlds that the champion walks")
    baseline_worlds: int = Field(300, ge=200, description="how many of them the other baselines walk")


@dg.asset(
    group_name="evaluation",
    deps=[policy_backtests, baseline_backtests, baseline_luck],
    partitions_def=training_run,
    kinds={"torch"},
    code_version=code_version(__file__, rooms=EVALUATION),
    owners=["team:research"],
    check_specs=check_specs(
        "fair_worlds", blocking={"worlds_are_fair": "In these worlds nothing is to be expected of any action."}
    ),
)
def fair_worlds(
    context: dg.AssetExecutionContext,
    paths: ProjectPaths,
    metrics: Metrics,
    report_server: ReportServer,
    config: FairWorldsConfig,
) -> dg.MaterializeResult:
    """How often luck alone looked as good as the champion, in worlds in which nothing can be earned before costs.

    How it is read: `docs/fair-worlds.md`, *How often luck is called skill*.
    """
    with run_stage(context, "fair worlds", paths) as (progress, run):
        from clstm_core.evaluation.fair_worlds import Luck

        inputs = RunInputs.read(run.inputs)
        sets, results = zip(*(results_of(run, name, paths.places) for name in PARENTS), strict=True)
        parents = {name: found.identity for name, found in zip(PARENTS, sets, strict=True)}
        chosen = chosen_by(measured_of(run))
        made_from = json_sha256([inputs.config_sha256, parents, dict(config), code_sha256(*CODE), *chosen])
        kept = LuckManifest.kept(run.luck)
        if kept is not None and kept.made_from == made_from:
            progress.reused("the same champion met the same worlds before")
            made = kept
        else:
            facts = _judge(paths, run, inputs, [*results[0], *results[1]], config, progress)
            made = LuckManifest(run=run.name, made_from=made_from, parents=parents, **facts).write(run.luck)
        checks = [_fair(made)]
        record_gates(metrics, run, inputs.data_sha256, "fair_worlds", checks)
    if made.luck is None:
        return dg.MaterializeResult(
            metadata={"panel": report_server.panel(run.name, "luck"), "why_not": made.why_not},
            data_version=NOTHING_MADE,
            check_results=checks,
        )
    placed = [asdict(item) for item in Luck.from_dict(made.luck).placed]
    columns = ["against", "observed", "luck_median", "luck_high", "worlds", "p", "p_adjusted", "level"]
    return dg.MaterializeResult(
        metadata={
            "panel": report_server.panel(run.name, "luck"),
            "policy": made.luck["policy"],
            "p_against_cash": placed[0]["p"],
            "worlds": placed[0]["worlds"],
            "placed": table(placed, columns),
            "label": "simulated quotes: fair worlds",
            "path": dg.MetadataValue.path(str(run.luck)),
        },
        data_version=dg.DataVersion(made_from[:16]),
        check_results=checks,
    )


def _judge(
    paths: ProjectPaths,
    run: RunFolder,
    inputs: RunInputs,
    results: "list[BacktestResult]",
    counts: FairWorldsConfig,
    progress: Progress,
) -> dict[str, Any]:
    """The manifest's facts: the champion's luck and the proof, or why there is none."""
    from clstm_core.evaluation.fair_cache import baseline_walks
    from clstm_core.evaluation.fair_proof import prove_fair
    from clstm_core.evaluation.fair_worlds import place_champion, surface_for, why_not
    from clstm_core.evaluation.headline import champion_among
    from clstm_core.evaluation.ladder import matched_random
    from clstm_core.evaluation.policies import load_checkpoint
    from clstm_core.market.tensors import load_market
    from clstm_core.market.worlds.fair import fair_world

    config, identity = config_of(inputs), str(inputs.data_sha256)
    market = load_market(paths.places.tensors(identity), identity=identity)
    window = market.split("test")
    if reason := why_not(market, window):
        progress.reused(reason)
        return {"luck": None, "proof": None, "why_not": reason}
    measured = measured_of(run)
    champion = champion_among(results, measured)
    policy = load_checkpoint(run.checkpoint(champion.manifest["milestone"]), modes=("argmax",), seed=config.seed)[0]
    chance = matched_random(results, market, config.env.fill_lag, seed=config.seed, measured=measured)
    few = min(counts.worlds, counts.baseline_worlds)
    world = fair_world(market, window, surface=surface_for(config.market), seed=config.seed)
    proof = prove_fair(world, config.env)
    luck = place_champion(
        results,
        policy,
        [] if chance is None else [chance],
        world,
        config.env,
        walked=baseline_walks(market, config, paths.places, worlds=few),
        worlds=counts.worlds,
        baseline_worlds=few,
        measured=measured,
        progress=progress,
    )
    return {"luck": luck.to_dict(), "proof": asdict(proof) | {"holds": proof.holds, "missing": proof.missing}}


def _fair(made: LuckManifest) -> dg.AssetCheckResult:
    """Whether the worlds were proven fair."""
    if made.proof is None:
        return check("worlds_are_fair", True, f"No fair worlds: {made.why_not}", blocking=True)
    proof = made.proof
    met = f"{proof['steps']} steps, {proof['settled']} settlements and {proof['liquidated']} liquidations met"
    words = f"At most {proof['worst']:.1e} of capital is expected of any action in a step ({met})."
    if proof["missing"]:
        words += f" Not met: {', '.join(proof['missing'])}."
    return check("worlds_are_fair", bool(proof["holds"]), words, blocking=True, worst=proof["worst"])
