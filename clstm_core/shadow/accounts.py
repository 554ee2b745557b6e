"""Shadow accounts in a data folder: opened, run, judged and reconciled; what commands and assets call."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import BundleManifest, ReconciliationManifest, ShadowManifest
from clstm_core.artifacts.places import Places
from clstm_core.config import MarketConfig, RunConfig
from clstm_core.errors import ArtifactError, ConfigError, ShadowError
from clstm_core.evaluation.trial_ledger import enter
from clstm_core.market.cache import ensure_quotes, ensure_tensors
from clstm_core.market.instrument import SPX
from clstm_core.market.sources import default_config
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.shadow.arrival import QuoteSource
from clstm_core.shadow.asked import ask, in_use
from clstm_core.shadow.drift import regime_of, tercile_limits
from clstm_core.shadow.limits import Limits
from clstm_core.shadow.log import ROOM, ShadowLog, opened_with
from clstm_core.shadow.reconcile import LEAST_SESSIONS, reconcile
from clstm_core.shadow.runner import Opening, ShadowRunner, heed, set_switch, switch_of
from clstm_core.shadow.sources.directory import Directory
from clstm_core.shadow.sources.replay import Replay
from clstm_core.shadow.summary import keep, summarise, training_features

SOURCES = ("replay", "directory", "alpaca")


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """Where sessions come from.

    kind:   one of SOURCES
    market: source of quotes, the bundle's own where empty; data: its folder; window: split of it that is replayed, all
            of it where empty; since: first session of a folder, its newest where none; keys: of a feed, identity and
            secret
    tenors: near and far days of the grid; None for those that the chains of the market can fill today
    """

    kind: str = "replay"
    market: str = ""
    data: str = ""
    window: str = ""
    since: date | None = None
    keys: tuple[str, str] | None = field(default=None, repr=False)
    tenors: tuple[float, float] | None = None


def run_account(
    places: Places,
    name: str,
    bundle: Path,
    feed: Feed,
    *,
    limits: Path | None = None,
    no_limits: bool = False,
    unqualified: bool = False,
    most: int | None = None,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> ShadowManifest:
    """Open an account or go on with it, take every session that arrived, and judge it as it stands.

    Raises: ConfigError, BundleError, ShadowError, MarketDataError: what `ShadowRunner` and the source raise
    """
    manifest = _bundle(bundle)
    feed = _as_opened(opened_with(places.shadow(name)), bundle, feed)
    source = open_feed(places, bundle, feed)
    stated = Limits.from_file(limits, manifest.account) if limits else Limits.of_account(manifest.account)
    trained = training_features(places, manifest.provenance.get("training_data_sha256"))
    with ShadowLog.writing(places.shadow(name)) as log:
        limited = Limits.none() if no_limits else stated
        opening = Opening(bundle=bundle, limits=limited, unqualified=unqualified, tenors=feed.tenors)
        if limits or no_limits:
            _require_limits(log, opening.limits)
        limit = None if trained is None else tercile_limits(trained)

        def regime(observation: np.ndarray) -> str | None:
            return None if limit is None else regime_of(observation, limit)

        ShadowRunner(log, opening, source, regime=regime).run(most=most, tell=tell)
        return summarise(log, trained)


def judge_account(places: Places, name: str) -> ShadowManifest:
    """Make an account's summary again."""
    log = log_of(places, name)
    return summarise(log, training_features(places, log.facts["training_data_sha256"]))


def switch_account(places: Places, name: str, state: str, reason: str) -> str | None:
    """Let a person switch: the state before; None where a process holds the account, which heeds it before its next
    session.

    Raises: ShadowError without a reason or an account; for one that is in use, when the switch would be loosened
    """
    folder = _existing(places, name)
    try:
        with ShadowLog.writing(folder) as log:
            heed(log)  # what was asked before this comes before it
            return set_switch(log, state, reason)
    except ArtifactError:
        if not in_use(folder):
            raise
    ask(folder, state, reason, switch_of(ShadowLog(folder)))
    return None


def log_of(places: Places, name: str) -> ShadowLog:
    """The log of an account that is there."""
    return ShadowLog(_existing(places, name))


def too_short(places: Places, name: str) -> str:
    """Why an account cannot be compared with its backtest yet, in words; empty where it can."""
    decided = len(log_of(places, name).decided)
    if decided >= LEAST_SESSIONS:
        return ""
    return f"Not compared yet: {decided} of the {LEAST_SESSIONS} sessions that are needed were decided on."


def reconcile_account(places: Places, name: str, bundle: Path, feed: Feed) -> ReconciliationManifest:
    """Compare an account with the backtest of its days, and keep what came of it."""
    log = log_of(places, name)
    if (found := _bundle(bundle).identity) != log.facts["bundle"]:
        raise ShadowError(
            f"shadow account {name} is of bundle {log.facts['bundle'][:12]}: found {found[:12]}. Pass that one."
        )
    market = market_of(places, bundle, _as_opened(log.facts, bundle, feed))
    compared = reconcile(log, market, bundle, log.folder / "reference")
    # a policy that is watched has looked at these dates
    enter(places, [compared.reference], datetime.now(UTC).isoformat(timespec="seconds"))
    return keep(compared, log)


def open_feed(places: Places, bundle: Path, feed: Feed) -> QuoteSource:
    """The source of sessions that a feed states; ConfigError for an unknown one."""
    if feed.kind == "replay":
        market = market_of(places, bundle, feed)
        return Replay(market, market.split(feed.window) if feed.window else None)
    if feed.kind == "directory":
        settings, embargo = _settings(bundle, feed)
        return Directory(settings, places.cache, embargo=embargo, since=feed.since)
    if feed.kind == "alpaca":
        from clstm_core.shadow.sources.alpaca import Alpaca, chain_client

        settings, embargo = _settings(bundle, _kept_feed(places, feed))
        return Alpaca(chain_client(feed.keys), feed.market or SPX.name, settings, places.cache, embargo=embargo)
    raise ConfigError(f"unknown source {feed.kind!r}: expected {', '.join(SOURCES)}. Pass one as --source.")


def _kept_feed(places: Places, feed: Feed) -> Feed:
    """The table that a feed's sessions are kept in, as a source of files."""
    folder = Path(feed.data) if feed.data else places.root / "shadow-quotes" / f"alpaca-{feed.market or SPX.name}"
    folder.mkdir(parents=True, exist_ok=True)
    return dataclasses.replace(feed, market="table", data=str(folder))


def market_of(places: Places, bundle: Path, feed: Feed) -> MarketTensors:
    """The market that a feed reads, as it is known today."""
    if feed.kind == "alpaca":
        feed = _kept_feed(places, feed)
    settings, embargo = _settings(bundle, feed)
    quotes = ensure_quotes(settings, places.cache)
    return load_market(ensure_tensors(quotes, settings, places.cache, embargo=embargo))


def _as_opened(facts: Mapping[str, Any], bundle: Path, feed: Feed) -> Feed:
    """The feed with the tenors that an account was opened with: files that arrive later must not move its grid.

    An account that was opened before they were kept goes on as it did.
    """
    if facts:
        near_far = facts.get("tenors")
        return dataclasses.replace(feed, tenors=(near_far[0], near_far[1]) if near_far else None)
    if feed.kind not in ("replay", "directory") or feed.market in ("", _trained_config(bundle).market.source):
        return feed  # those of the bundle
    settings, _ = _settings(bundle, feed)
    return dataclasses.replace(feed, tenors=(settings.near_days, settings.far_days))


def _settings(bundle: Path, feed: Feed) -> tuple[MarketConfig, int]:
    """Settings of the market, with the tenors that its chains can fill, and the embargo of the bundle's run."""
    trained = _trained_config(bundle)
    folder = str(Path(feed.data).resolve()) if feed.data else None
    source = feed.market or trained.market.source
    if source == trained.market.source:
        settings = dataclasses.replace(trained.market, data_dir=folder or trained.market.data_dir)
    else:
        known: dict[str, Any] = {"min_training_snapshots": trained.market.min_training_snapshots}
        if feed.tenors:
            known |= dict(zip(("near_days", "far_days"), feed.tenors, strict=True))
        elif feed.kind == "alpaca":  # its folder is empty at first, and what is kept there must not move the tenors
            known |= {"near_days": trained.market.near_days, "far_days": trained.market.far_days}
        settings = default_config(source, data_dir=folder, **known)
    return settings, trained.env.horizon + settings.feature_lookback


def _require_limits(log: ShadowLog, stated: Limits) -> None:
    """Refuse other limits than an account was opened with."""
    if log.entries and (kept := Limits.kept(log.facts["limits"])) != stated:
        names = [name for name, value in stated.to_dict().items() if value != kept.to_dict()[name]]
        raise ShadowError(
            f"shadow account {log.folder.name} was opened with other limits ({', '.join(names)}): expected the same, "
            "they are stated once. Leave them out to go on, or pass another --name for a new account."
        )


def _trained_config(bundle: Path) -> RunConfig:
    return RunConfig.from_dict(json.loads((bundle / "config.json").read_text()))


def _bundle(bundle: Path) -> BundleManifest:
    if not (bundle / FILE).is_file():
        raise ConfigError(
            f"no bundle at {bundle}: expected a folder with {FILE}, e.g. data/bundles/RUN. Pass one as --bundle."
        )
    return BundleManifest.read(bundle / FILE)


def _existing(places: Places, name: str) -> Path:
    folder = places.shadow(name)
    if not (folder / ROOM).is_dir():
        known = ", ".join(sorted(path.parent.name for path in folder.parent.glob(f"*/{ROOM}"))) or "none"
        raise ShadowError(f"no shadow account {name}: found {known}. Run `clstm shadow run --name {name}` first.")
    return folder
