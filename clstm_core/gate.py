"""The gate before training: a verdict is kept by what it proved, and asked for by what is about to be trained.

    proven = (tensors, EnvConfig, code of the environment and of the audit)

So it holds however a stage is started: a refreshed market, another account or changed code has no verdict yet.
"""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clstm_core.artifacts.code import code_sha256
from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import AuditVerdict, TensorsManifest, proves
from clstm_core.artifacts.places import DIGITS
from clstm_core.config import EnvConfig
from clstm_core.errors import AuditError

if TYPE_CHECKING:
    from clstm_core.market.tensors import MarketTensors

Size = Literal["quick", "full"]
_AT_LEAST: dict[str, tuple[Size, ...]] = {"quick": ("quick", "full"), "full": ("full",)}


def ensure_verdict(
    tensors_dir: Path,
    env_config: EnvConfig,
    size: Size,
    cache_dir: Path,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[AuditVerdict, bool]:
    """The audit's verdict on a market, and whether it stood already.

    Raises: MarketDataError when the tensors are not whole
    """
    from clstm_core.audit.run import audit
    from clstm_core.market.tensors import load_market

    market = load_market(tensors_dir)
    place = _place(cache_dir, market.identity, env_config, size)
    if (known := AuditVerdict.kept(place)) is not None and _whole(known, market.identity, env_config):
        return known, True
    report = audit(_with_tables(market, cache_dir), env_config, size=size, progress=progress).to_dict()
    verdict = AuditVerdict(
        env=dataclasses.asdict(env_config),
        code=_code(),
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        parents={"tensors": market.identity},
        **report,
    )
    return verdict.write(place), False


def _with_tables(market: "MarketTensors", cache_dir: Path) -> "MarketTensors":
    """The market, and where the tables that it was built from are kept."""
    from clstm_core.audit.worlds.kept import QUOTES_DIR

    if "quotes_path" not in market.info:
        return market
    folder = (cache_dir.parent / market.info["quotes_path"]).parent
    return dataclasses.replace(market, info={**market.info, QUOTES_DIR: str(folder)})


def require_verdict(
    tensors: TensorsManifest, env_config: EnvConfig, size: Size, cache_dir: Path, command: str
) -> AuditVerdict:
    """A verdict that this market is proven for this account by this code, at least as thorough as `size`.

    Args:
        command: what a person types to make one

    Raises: AuditError where there is none, or where it did not pass
    """
    failed: list[str] = []
    for other in _AT_LEAST[size]:
        verdict = AuditVerdict.kept(_place(cache_dir, tensors.identity, env_config, other))
        if verdict is None:
            continue
        if proves(verdict, tensors.identity, dataclasses.asdict(env_config), _code()):
            return verdict
        failed.append(verdict.verdict)
    remedy = f"Materialize environment_audit with the same recipe, or run `{command}`"
    if failed:
        raise AuditError(f"the audit of this market failed: {failed[0]} Nothing is trained in it. {remedy}.")
    raise AuditError(
        f"no {size} audit verdict for these market tensors ({tensors.info.get('source')}, "
        f"{tensors.identity[:12]}), this account and this code: expected one that passed before anything is trained. "
        f"{remedy}."
    )


def read_tensors(tensors_dir: Path) -> TensorsManifest:
    """The manifest of market tensors, its files not looked at."""
    return TensorsManifest.read(tensors_dir / FILE, files=False)


def _place(cache_dir: Path, tensors: str, env_config: EnvConfig, size: str) -> Path:
    proven = {"tensors": tensors, "env": dataclasses.asdict(env_config), "size": size, "code": _code()}
    return cache_dir / "audits" / f"{json_sha256(proven)[:DIGITS]}.json"


def _whole(verdict: AuditVerdict, tensors: str, env_config: EnvConfig) -> bool:
    """Whether a kept verdict, passed or not, is about this market and account and has every proof."""
    from clstm_core.audit.run import PROOFS

    about = (verdict.parents.get("tensors"), dict(verdict.env)) == (tensors, dataclasses.asdict(env_config))
    names = {proof["name"] for proof in verdict.proofs} == set(PROOFS)
    return about and names and verdict.passed == all(proof["passed"] for proof in verdict.proofs)


def _code() -> str:
    return code_sha256("clstm_core.audit.run")
