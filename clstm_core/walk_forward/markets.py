"""The market of one fold: what the source gives until its test ends, fitted to its training dates alone, and proven."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from clstm_core.artifacts.manifests import AuditVerdict, TensorsManifest
from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, MarketConfig
from clstm_core.errors import AuditError, MarketDataError
from clstm_core.gate import Size, ensure_verdict, read_tensors
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.sources import open_source
from clstm_core.walk_forward.folds import Fold
from clstm_core.walk_forward.plan import WalkPlan

DAY_NS = 86_400 * 10**9


def sessions_of(plan: WalkPlan) -> list[date]:
    """Every session that the source has, ascending.

    Raises: ConfigError and MarketDataError of the source
    """
    return open_source(plan.market).list_snapshots()


def fold_tensors(config: MarketConfig, places: Places, embargo: int) -> Path:
    """The folder of a fold's tensors, made where missing."""
    return ensure_tensors(ensure_quotes(config, places.cache), config, places.cache, embargo=embargo)


def proven(
    tensors: Path, plan: WalkPlan, recipe: str, fold: Fold, sessions: Sequence[date], places: Places
) -> tuple[TensorsManifest, AuditVerdict]:
    """A fold's market with the verdict without which nothing is trained in it.

    Raises: AuditError where a proof failed; MarketDataError where its windows are not those of the plan
    """
    return proven_for(tensors, plan.run_config(recipe, fold, sessions, 0).env, plan.audit, fold, sessions, places)


def proven_for(
    tensors: Path, env: EnvConfig, audit: str, fold: Fold, sessions: Sequence[date], places: Places
) -> tuple[TensorsManifest, AuditVerdict]:
    """As `proven`, for an account; `audit`: quick or full."""
    size: Size = "full" if audit == "full" else "quick"
    verdict, _ = ensure_verdict(tensors, env, size, places.cache)
    if not verdict.passed:
        raise AuditError(
            f"the audit of fold {fold.number}'s market failed: {verdict.verdict} Nothing is trained in it. "
            f"{verdict.place} says more."
        )
    manifest = read_tensors(tensors)
    require_windows(manifest, tensors, fold, sessions)
    return manifest, verdict


def require_windows(manifest: TensorsManifest, tensors: Path, fold: Fold, sessions: Sequence[date]) -> None:
    """Refuse a market whose windows reach beyond those of the plan: sessions that a source lost may only shorten them.

    Raises: MarketDataError naming the window
    """
    dates = dates_of(tensors)
    for name in ("train", "validation", "test"):
        if name not in manifest.info["splits"]:
            raise MarketDataError(
                f"fold {fold.number} has no {name} window in its market: found {', '.join(manifest.info['splits'])}. "
                "Pass fewer folds, or a source whose sessions are all there."
            )
        start, stop = manifest.info["splits"][name]
        span = getattr(fold, name)
        found, wanted = (dates[start], dates[stop - 1]), (sessions[span.start], sessions[span.stop - 1])
        if found[0] < wanted[0] or found[1] > wanted[1]:
            raise MarketDataError(
                f"fold {fold.number}: its market's {name} window is {found[0]} to {found[1]}, expected within "
                f"{wanted[0]} to {wanted[1]}. Materialize the market's quotes again."
            )


def dates_of(tensors: Path) -> list[date]:
    """The session of each snapshot."""
    from clstm_core.market.tensors import load_market

    snapshots = load_market(tensors, verify=False).snapshot_T.numpy()
    return (snapshots // DAY_NS).astype("datetime64[D]").tolist()
