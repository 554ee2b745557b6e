"""The environment audit: every proof that the market cannot be cheated, in one verdict."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from clstm_core.audit.names import PROOFS
from clstm_core.audit.proofs.conservation import conservation
from clstm_core.audit.proofs.fees_never_help import fees_never_help
from clstm_core.audit.proofs.invariance import invariance
from clstm_core.audit.proofs.martingale_exact import martingale_exact
from clstm_core.audit.proofs.martingale_sampled import Decide, martingale_sampled
from clstm_core.audit.proofs.no_look_ahead import no_look_ahead
from clstm_core.audit.proofs.training_worlds import training_worlds
from clstm_core.audit.reference.terms import Tables
from clstm_core.audit.result import AuditReport, Finding, prove
from clstm_core.audit.sessions.scene import EnvFactory, Scene
from clstm_core.audit.worlds.kept import kept_tables
from clstm_core.audit.worlds.listed import build_listed, listed_tables
from clstm_core.audit.worlds.markets import stretch, whole
from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.errors import AuditError
from clstm_core.market.tensors import MarketTensors

Size = Literal["quick", "full"]
Proof = Callable[[], list[Finding]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Effort:
    """How much each proof looks at."""

    snapshots: int  # of the given market
    world: int  # snapshots of the listed worlds
    envs: int
    steps: int
    visited: int  # snapshots branched per fill lag
    branched_envs: int  # accounts x nodes of one branching
    episodes: int
    horizon: int
    cuts: int
    table_snapshots: int
    worlds: int  # steps in generated worlds
    world_envs: int


_EFFORT: dict[str, _Effort] = {
    "quick": _Effort(
        snapshots=90,
        world=110,
        envs=16,
        steps=60,
        visited=4,
        branched_envs=3000,
        episodes=120,
        horizon=10,
        cuts=2,
        table_snapshots=70,
        worlds=300,
        world_envs=128,
    ),
    "full": _Effort(
        snapshots=300,
        world=300,
        envs=48,
        steps=126,
        visited=12,
        branched_envs=12000,
        episodes=400,
        horizon=21,
        cuts=5,
        table_snapshots=200,
        worlds=2600,
        world_envs=512,
    ),
}


def audit(
    market: MarketTensors,
    env_config: EnvConfig,
    *,
    size: Size = "quick",
    device: str = "cpu",
    env_factory: EnvFactory = OptionsEnv,
    policies: Mapping[str, Decide] | None = None,
    tables: Tables | None = None,
    only: Sequence[str] = PROOFS,
    progress: Callable[[int, int, str], None] | None = None,
) -> AuditReport:
    """Prove that money is conserved, that nothing is free and that nothing sees the future.

    Proofs 1, 3, 4 and 6 run on a stretch of `market` itself and in a rough listed world in which everything that can
    happen does, read from its tables; proof 2 runs in a fair listed world, where P = Q, with `policies` (trained ones,
    say) beside the preset ones; the worlds to train in are made of the market's
    training days. Everything is seeded and in float64: the verdict is the same every time.

    Args:
        tables: what `market` was built from; None reads them where `market.info` says that they are kept. From them
            the reference ledger takes the market's terms, quotes and settlements; without them those are the tensors'
            word, but for the spot that modelled and simulated contracts settle at

    Units:   env_config as in EnvConfig; its horizon is shortened where a proof needs shorter episodes
    Raises:  AuditError for an unknown size or proof, or a market of fewer than 3 snapshots
    Assumes: env_factory is called as OptionsEnv is; `progress` gets (proofs done, proofs, name of the next one).
             A verdict on fewer proofs than PROOFS (`only`) is for tests, not for a gate.
    """
    if size not in _EFFORT:
        raise AuditError(f"unknown audit size {size!r}: expected quick or full. Pass one as size.")
    unknown = sorted(set(only) - set(PROOFS))
    if unknown or not only:
        raise AuditError(
            f"unknown proof {', '.join(unknown) or '(none named)'}: expected some of {', '.join(PROOFS)}. Name them."
        )
    if market.n_snapshots < 3:
        raise AuditError(
            f"a market of {market.n_snapshots} snapshots proves nothing: expected at least 3. Use a longer history."
        )
    market = market.to("cpu")
    proofs = _proofs(market, env_config, _EFFORT[size], device, env_factory, policies, tables)
    wanted = [name for name in PROOFS if name in only]
    results = []
    for done, name in enumerate(wanted):
        if progress:
            progress(done, len(wanted), name)
        results.append(prove(name, proofs[name]))
    if progress:
        progress(len(wanted), len(wanted), "")
    label = f"{market.info.get('source', 'unnamed')} ({market.info.get('label', 'unlabelled quotes')})"
    return AuditReport(proofs=tuple(results), size=size, market=label)


def _proofs(
    market: MarketTensors,
    config: EnvConfig,
    effort: _Effort,
    device: str,
    factory: EnvFactory,
    policies: Mapping[str, Decide] | None,
    tables: Tables | None,
) -> dict[str, Proof]:
    """The code behind each name of PROOFS: where it walks, and for how long."""

    @cache
    def rough() -> Tables:
        return listed_tables(effort.world, fair=False)

    @cache
    def listed(fair: bool) -> MarketTensors:
        return whole(build_listed(listed_tables(effort.world, fair=True) if fair else rough()))

    scene = Scene(
        market=stretch(market, effort.snapshots),
        config=config,
        factory=factory,
        device=device,
        n_envs=effort.envs,
        n_steps=effort.steps,
    )
    walked = partial(dataclasses.replace, scene)
    return {
        "conservation": lambda: conservation(
            scene,
            tables=kept_tables(market, scene.market) if tables is None else tables,
            entire=market,
            listed=rough(),
        ),
        "martingale_exact": lambda: martingale_exact(
            walked(market=listed(fair=True), n_steps=min(effort.steps, effort.world - 2)),
            snapshots=effort.visited,
            max_envs=effort.branched_envs,
        ),
        "martingale_sampled": partial(
            martingale_sampled, walked(market=market, n_envs=effort.episodes, n_steps=effort.horizon), policies
        ),
        "no_look_ahead": lambda: no_look_ahead(
            walked(n_envs=16, n_steps=effort.steps // 2),
            market,
            n_cuts=effort.cuts,
            table_snapshots=effort.table_snapshots,
            listed=rough(),
        ),
        "fees_never_help": lambda: fees_never_help(scene, listed(fair=False)),
        "training_worlds": lambda: training_worlds(walked(n_envs=effort.world_envs, n_steps=effort.worlds), market),
        "invariance": lambda: invariance(walked(n_steps=20), listed(fair=False)),
    }
