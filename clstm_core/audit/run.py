"""The environment audit: every proof that the market cannot be cheated, in one verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from clstm_core.audit.proofs.conservation import conservation
from clstm_core.audit.proofs.fees import fees_never_help
from clstm_core.audit.proofs.invariance import invariance
from clstm_core.audit.proofs.lookahead import built_in_time, fitted_in_time, look_ahead
from clstm_core.audit.proofs.martingale import martingale_exact
from clstm_core.audit.proofs.sampled import Decide, martingale_sampled
from clstm_core.audit.result import AuditReport, Finding, ProofResult, prove
from clstm_core.audit.worlds.markets import fair_world, stretch
from clstm_core.audit.worlds.sessions import EnvFactory
from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.errors import AuditError
from clstm_core.market.tensors import MarketTensors

Size = Literal["quick", "full"]
PROOFS = (
    "conservation",
    "martingale_exact",
    "martingale_sampled",
    "no_look_ahead",
    "fees_never_help",
    "invariance",
)
"""Names of the proofs, in the order in which they run; `size` changes how long each looks, never what it asks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Effort:
    """How much each proof looks at."""

    snapshots: int  # of the given market
    world: int  # snapshots of the simulated world
    envs: int
    steps: int
    visited: int  # snapshots branched, a fill lag
    branched_envs: int  # accounts x nodes of one branching
    episodes: int
    horizon: int
    cuts: int
    table_snapshots: int


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
    only: Sequence[str] = PROOFS,
    progress: Callable[[int, int, str], None] | None = None,
) -> AuditReport:
    """Prove that money is conserved, that nothing is free and that nothing sees the future.

    Proofs 1, 3, 4 and 6 run on a stretch of `market` itself, 1 also on a simulated world in which everything that can
    happen does; proof 2 runs in a simulated P = Q world of the market's tenors, with `policies` (trained ones, say)
    beside the preset ones. Everything is seeded and in float64: the verdict is the same every time.

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
    effort = _EFFORT[size]
    market = market.to("cpu")
    part = stretch(market, effort.snapshots)
    world = fair_world(market, effort.world)
    place = (env_config, env_factory)
    walk: dict[str, Any] = {"n_envs": effort.envs, "n_steps": effort.steps, "device": device}
    proofs: dict[str, Callable[[], list[Finding]]] = {
        "conservation": partial(conservation, part, world, *place, **walk),
        "martingale_exact": partial(
            martingale_exact,
            world,
            *place,
            n_envs=effort.envs,
            snapshots=effort.visited,
            steps=min(effort.steps, effort.world - 2),
            max_envs=effort.branched_envs,
            device=device,
        ),
        "martingale_sampled": partial(
            martingale_sampled,
            market,
            *place,
            episodes=effort.episodes,
            horizon=effort.horizon,
            device=device,
            policies=policies,
        ),
        "no_look_ahead": lambda: [
            *look_ahead(part, *place, n_envs=16, n_cuts=effort.cuts, n_steps=effort.steps // 2, device=device),
            *fitted_in_time(market),
            *built_in_time(market, n_snapshots=effort.table_snapshots, n_cuts=effort.cuts),
        ],
        "fees_never_help": partial(fees_never_help, part, *place, **walk),
        "invariance": partial(invariance, part, *place, n_envs=effort.envs, n_steps=20, device=device),
    }
    results: list[ProofResult] = []
    wanted = [name for name in PROOFS if name in only]
    for done, name in enumerate(wanted):
        if progress:
            progress(done, len(wanted), name)
        results.append(prove(name, proofs[name]))
    if progress:
        progress(len(wanted), len(wanted), "")
    label = f"{market.info.get('source', 'unnamed')} ({market.info.get('label', 'unlabelled quotes')})"
    return AuditReport(proofs=tuple(results), size=size, market=label)
