"""Market data: a source's canonical quotes, judged, and the tensors that a market is made of."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from assets.resources import ProjectPaths
from assets.support import check, latest_metadata, stage, table

GROUP = "market_data"
FRESH_DAYS = 7


class MarketQuotesConfig(dg.Config):
    """Which quotes to read."""

    source: str = Field("sp500_modelled", description="sp500_modelled, simulated, spx_barchart or spx_cboe")
    data_dir: str | None = Field(None, description="folder of the vendor's files, for sources that need one")
    n_snapshots: int | None = Field(None, description="length of the simulated source, in snapshots")


class MarketTensorsConfig(dg.Config):
    """What the tensors are cut for."""

    recipe: str = Field("default_cpu", description="named configuration whose episode horizon sets the embargo")


@dg.asset(
    group_name=GROUP,
    kinds={"polars", "parquet"},
    owners=["team:research"],
    check_specs=[
        dg.AssetCheckSpec("structure", asset="market_quotes", blocking=True, description="rows that can be traded"),
        dg.AssetCheckSpec("freshness", asset="market_quotes", description="how old the newest session is"),
        dg.AssetCheckSpec("coverage", asset="market_quotes", description="every trading day between first and last"),
    ],
)
def market_quotes(
    context: dg.AssetExecutionContext, config: MarketQuotesConfig, paths: ProjectPaths
) -> dg.MaterializeResult:
    """Canonical quotes, underlyings and rates of one source, with every fault named and bad rows in quarantine."""
    with stage(context, "data") as progress:
        import polars as pl

        from clstm_core.market.cache import ensure_quotes, read_manifest
        from clstm_core.market.sources import default_config
        from clstm_core.market.tables.quality import blocking

        overrides = {"data_dir": config.data_dir, "n_snapshots": config.n_snapshots}
        market = default_config(config.source, **{key: value for key, value in overrides.items() if value is not None})
        folder = ensure_quotes(market, paths.cache, progress)
        manifest = read_manifest(folder)
        findings = pl.read_parquet(folder / "findings.parquet")
        structural = blocking(findings)
        named = findings.filter(pl.col("severity") == "warning").sort("check")
        missing = findings.filter(pl.col("check").str.contains("missing_session"))
        counts = manifest["counts"]
        newest = pl.scan_parquet(folder / "quotes.parquet").select(pl.col("snapshot").max()).collect().item().date()
        today = datetime.now(UTC).date()
    columns = ["check", "severity", "count", "share", "snapshots", "detail"]
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(folder)),
            "source": manifest["source"],
            "label": manifest["label"],
            "spread": manifest["spread"],
            "data_dir": config.data_dir or "",
            "n_snapshots_asked": config.n_snapshots or 0,
            "rows": counts["rows"],
            "snapshots": counts["snapshots"],
            "contracts": counts["contracts"],
            "quarantined": counts["quarantined"],
            "quotes_sha256": manifest["files"]["quotes.parquet"],
            "faults": "; ".join(_fault(row) for row in named.to_dicts()) or "none",
            "quality": table(findings.select(columns).to_dicts(), columns),
        },
        data_version=dg.DataVersion(manifest["files"]["quotes.parquet"][:16]),
        check_results=[
            check(
                "structure",
                counts["rows"] > 0 and counts["snapshots"] > 1 and not structural,
                f"{counts['rows']:,} rows on {counts['snapshots']} snapshots; {counts['quarantined']:,} rows are in "
                f"quarantine, {named.height} kinds of fault were handled. {' '.join(structural)}",
                blocking=True,
            ),
            check(
                "freshness",
                manifest["label"] != "real quotes" or (today - newest).days <= FRESH_DAYS,
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
    owners=["team:research"],
    check_specs=[
        dg.AssetCheckSpec("parents_recorded", asset="market_tensors", blocking=True, description="hash of the quotes"),
        dg.AssetCheckSpec(
            "fitted_on_training_dates", asset="market_tensors", blocking=True, description="scaler saw nothing later"
        ),
    ],
)
def market_tensors(
    context: dg.AssetExecutionContext, config: MarketTensorsConfig, paths: ProjectPaths
) -> dg.MaterializeResult:
    """The chains as tensors: the market to evaluate on, and the one to train on where the source is too short."""
    with stage(context, "tensors") as progress:
        from clstm_core.config import RECIPES
        from clstm_core.errors import ConfigError
        from clstm_core.market.cache import training_tensors
        from clstm_core.market.sources import default_config
        from clstm_core.market.tensors import file_sha256, load_market

        if config.recipe not in RECIPES:
            raise ConfigError(f"unknown recipe {config.recipe!r}: expected one of {', '.join(RECIPES)}. Pass one.")
        parent = latest_metadata(context, "market_quotes")
        overrides = {"data_dir": parent["data_dir"] or None, "n_snapshots": parent["n_snapshots_asked"] or None}
        market_config = default_config(
            parent["source"], **{key: value for key, value in overrides.items() if value is not None}
        )
        embargo = RECIPES[config.recipe]().env.horizon + market_config.feature_lookback
        found = training_tensors(market_config, paths.cache, embargo)
        evaluation, training = (load_market(folder, verify=False) for folder in (found.evaluation, found.training))
        scaler = training.info["scaler"]
        train_stop = training.split("train")[1]
        hashes = {
            "data_sha256": file_sha256(found.evaluation / "market.safetensors"),
            "training_data_sha256": file_sha256(found.training / "market.safetensors"),
        }
        progress(1, 1)
    return dg.MaterializeResult(
        metadata={
            "folder": dg.MetadataValue.path(str(found.evaluation)),
            "training_folder": dg.MetadataValue.path(str(found.training)),
            "quotes_folder": dg.MetadataValue.path(str(Path(evaluation.info["quotes_path"]).parent)),
            "source": evaluation.info["source"],
            "label": evaluation.info["label"],
            "spread": evaluation.info["spread"],
            "trained_label": training.info["label"],
            "quotes_sha256": evaluation.info["quotes_sha256"],
            "trained_on": found.reason,
            "snapshots": evaluation.n_snapshots,
            "contracts": evaluation.strike_K.shape[0],
            "rows": evaluation.n_rows,
            "splits": dg.MetadataValue.json(evaluation.info["splits"]),
            "training_splits": dg.MetadataValue.json(training.info["splits"]),
            "notes": dg.MetadataValue.md("\n".join(f"- {note}" for note in evaluation.info["notes"]) or "none"),
            "embargo": embargo,
            "near_days": evaluation.info["near_days"],
            "far_days": evaluation.info["far_days"],
            **hashes,
        },
        data_version=dg.DataVersion(hashes["data_sha256"][:16]),
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
