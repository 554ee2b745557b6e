"""Market data: a source's canonical quotes, judged, and the tensors that a market is made of."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from assets.check_specs import check_specs
from assets.code_versions import MARKET, READ, code_version
from assets.resources import ProjectPaths, Recipe
from assets.support import PARTITION_TAG, check, column_schema, long_table, stage, table, tag_by_recipe, trains
from clstm_core.plural import counted
from clstm_core.train.inputs import trained_on

GROUP = "market_data"
FRESH_DAYS = 7
FRESH_WINDOW, WARN_WINDOW = timedelta(days=FRESH_DAYS), timedelta(days=4)  # a long weekend warns of nothing


@dg.asset(
    group_name=GROUP,
    kinds={"polars", "parquet"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=FRESH_WINDOW, warn_window=WARN_WINDOW),
    code_version=code_version(__file__, rooms=(*MARKET, *READ, "train/adopt.py")),
    owners=["team:research"],
    check_specs=check_specs(
        "market_quotes",
        blocking={"structure": "There are rows that can be traded, on at least two snapshots."},
        warning={
            "freshness": f"The newest session of real quotes is at most {FRESH_DAYS} days old.",
            "coverage": "Every trading day between the first and the last session is there.",
        },
        keyed=None,
    ),
)
def market_quotes(context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths) -> dg.MaterializeResult:
    """Canonical quotes, underlyings and rates of one source, with every fault named and bad rows in quarantine.

    A vendor's files that `vendor_sessions` has parsed are not parsed again; those that it has not are read here.
    What goes into quarantine: `docs/data.md`, *What is quarantined, and why*.
    """
    with stage(context, "data") as progress:
        import polars as pl

        from clstm_core.artifacts.manifest import FILE
        from clstm_core.artifacts.manifests import QuotesManifest
        from clstm_core.market.cache import ensure_quotes
        from clstm_core.market.tables.quality import blocking

        chosen = recipe.core()
        if trains(context):
            chosen.require_hardware()
            if chosen.policy_of:
                from clstm_core.train.adopt import require_policy  # it brings torch

                run = context.run.tags.get(PARTITION_TAG, "")
                require_policy(chosen.run_config(), paths.places.run(chosen.policy_of), run)
        tag_by_recipe(context, recipe)
        market = chosen.market()
        folder = ensure_quotes(market, paths.places.cache, progress)
        manifest = QuotesManifest.read(folder / FILE, files=False)
        findings = pl.read_parquet(folder / "findings.parquet")
        structural = blocking(findings)
        named = findings.filter(pl.col("severity") == "warning").sort("check")
        missing = findings.filter(pl.col("check").str.contains("missing_session"))
        counts = manifest.counts
        newest = pl.scan_parquet(folder / "quotes.parquet").select(pl.col("snapshot").max()).collect().item().date()
        today = datetime.now(UTC).date()
    columns = ["check", "severity", "count", "share", "snapshots", "detail"]
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(folder)),
            "source": manifest.source,
            "label": manifest.label,
            "spread": manifest.spread,
            "dagster/row_count": counts["rows"],
            "dagster/column_schema": column_schema(quotes=folder / "quotes.parquet"),
            "snapshots": counts["snapshots"],
            "contracts": counts["contracts"],
            "quarantined": counts["quarantined"],
            "identity": manifest.identity,
            "quotes_sha256": manifest.files["quotes.parquet"],
            "faults": "; ".join(_fault(row) for row in named.to_dicts()) or "none",
            "quality": long_table(findings.select(columns).to_dicts(), columns),
        },
        data_version=dg.DataVersion(manifest.identity[:16]),
        check_results=[
            check(
                "structure",
                counts["rows"] > 0 and counts["snapshots"] > 1 and not structural,
                f"{counted(counts['rows'], 'row')} on {counted(counts['snapshots'], 'snapshot')}; "
                f"{counted(counts['quarantined'], 'row is', 'rows are')} in "
                f"quarantine, {counted(named.height, 'kind of fault was', 'kinds of fault were')} handled. "
                f"{' '.join(structural)}",
                blocking=True,
            ),
            check(
                "freshness",
                manifest.label != "real quotes" or (today - newest).days <= FRESH_DAYS,
                f"The newest session is {newest}; quotes of the market are asked to be at most {FRESH_DAYS} days old, "
                "modelled and simulated ones are not.",
            ),
            check(
                "coverage", missing.is_empty(), "; ".join(missing["detail"].to_list()) or "No trading day is missing."
            ),
        ],
    )


def _fault(finding: Mapping[str, Any]) -> str:
    """A fault in a few words: which, how often, when."""
    where = f" ({finding['snapshots']})" if finding["snapshots"] else ""
    return f"{finding['check']} {finding['count']:,}{where}"


@dg.asset(
    group_name=GROUP,
    deps=[market_quotes],
    kinds={"torch"},
    code_version=code_version(__file__, rooms=(*MARKET, *READ)),
    owners=["team:research"],
    check_specs=check_specs(
        "market_tensors",
        blocking={
            "parents_recorded": "The tensors name the quotes that they were made from, by hash.",
            "fitted_on_training_dates": "The scaler saw no session after the training window.",
        },
        keyed=None,
    ),
)
def market_tensors(context: dg.AssetExecutionContext, recipe: Recipe, paths: ProjectPaths) -> dg.MaterializeResult:
    """The chains as tensors: the market to evaluate on, and the one to train on where the source is too short."""
    with stage(context, "tensors") as progress:
        from clstm_core.artifacts.retention import prune
        from clstm_core.market.cache import ensure_quotes, training_tensors
        from clstm_core.market.tensors import load_market

        chosen = recipe.core()
        tag_by_recipe(context, recipe)
        ensure_quotes(chosen.market(), paths.places.cache, make=False)
        found = training_tensors(chosen.market(), paths.places.cache, chosen.embargo, progress)
        evaluation, training = (load_market(folder, verify=False) for folder in (found.evaluation, found.training))
        scaler = training.info["scaler"]
        train_stop = training.info["splits"]["train"][1]
        for removed in prune(paths.places):
            context.log.info(f"no longer used, removed: {removed}")
        progress(1, 1)
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(found.evaluation)),
            "training_folder": dg.MetadataValue.path(str(found.training)),
            "source": evaluation.info["source"],
            "label": evaluation.info["label"],
            "spread": evaluation.info["spread"],
            "identity": evaluation.identity,
            "training_identity": training.identity,
            **trained_on(
                chosen.run_config().worlds,
                source=training.info["source"],
                label=training.info["label"],
                sessions=train_stop - training.info["splits"]["train"][0],
                reason=found.reason,
            ),
            "snapshots": evaluation.n_snapshots,
            "contracts": evaluation.strike_K.shape[0],
            "rows": evaluation.n_rows,
            "splits": dg.MetadataValue.json(evaluation.info["splits"]),
            "training_splits": dg.MetadataValue.json(training.info["splits"]),
            "notes": table([{"note": note} for note in evaluation.info["notes"]], ["note"]),
            "embargo": chosen.embargo,
            "near_days": evaluation.info["near_days"],
            "far_days": evaluation.info["far_days"],
        },
        data_version=dg.DataVersion(f"{evaluation.identity[:16]}-{training.identity[:16]}"),
        check_results=[
            check(
                "parents_recorded",
                bool(evaluation.info.get("quotes_sha256")) and bool(training.info.get("quotes_sha256")),
                f"Made from quotes {evaluation.info.get('quotes_sha256')}.",
                blocking=True,
            ),
            check(
                "fitted_on_training_dates",
                int(scaler["fitted_on"][1]) <= train_stop,
                f"The scaler saw snapshots {scaler['fitted_on'][0]} to {scaler['fitted_on'][1]} of a training window "
                f"that ends at {train_stop}.",
                blocking=True,
            ),
        ],
    )
