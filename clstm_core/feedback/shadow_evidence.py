"""What shadow accounts say of a challenger beside its champion; whose a damaged one is, decides what becomes of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from clstm_core.artifacts.folder import read_json
from clstm_core.artifacts.places import Places
from clstm_core.errors import ShadowError
from clstm_core.feedback.registry_state import Held
from clstm_core.shadow.against import Against, TooFew, against
from clstm_core.shadow.log import ROOM, ShadowLog


@dataclass(frozen=True, kw_only=True, slots=True)
class InShadow:
    """The accounts with the most sessions in common, None without any; left_out: of damaged ones, each a sentence."""

    seen: Against | None = None
    left_out: tuple[str, ...] = ()

    @property
    def sessions(self) -> int:
        """That both accounts have in common."""
        return self.seen.sessions if self.seen else 0


def in_shadow(places: Places, challenger: Held, champion: Held, margin_bps: float, after: str) -> InShadow:
    """The two policies' shadow accounts beside each other.

    A damaged account of another policy is named and left out: it has nothing to say here.

    Args:
        after: ISO date of the last day that either was trained or chosen on: sessions until then do not count

    Raises: ShadowError for a damaged account of either policy, or of one whose owner nothing says any more
    """
    roles = {challenger.identity: f"the challenger {challenger.run}", champion.identity: f"the champion {champion.run}"}
    found: dict[str, list[ShadowLog]] = {identity: [] for identity in roles}
    left_out = []
    for place in sorted((places.root / "shadow").glob(f"*/{ROOM}")):
        try:
            log = ShadowLog(place.parent)
            owner = str(_facts(log.entries[0]["facts"]).get("bundle", "")) if log.entries else ""
        except ShadowError as error:
            left_out.append(_require_of_another(place.parent, roles, error))
            continue
        if owner in found:
            found[owner].append(log)
    best: Against | None = None
    for mine in found[challenger.identity]:
        for theirs in found[champion.identity]:
            try:
                seen = against(mine, theirs, margin_bps, after=after)
            except TooFew:
                continue
            except ShadowError as error:
                both = f"{roles[challenger.identity]} or {roles[champion.identity]}"
                raise ShadowError(f"{error} {_remedy(both, mine.folder, theirs.folder)}") from error
            best = seen if best is None or seen.sessions > best.sessions else best
    return InShadow(seen=best, left_out=tuple(left_out))


def _require_of_another(folder: Path, roles: Mapping[str, str], error: ShadowError) -> str:
    """Say that a damaged account was left out; ShadowError where it is, or may be, one of those decided on."""
    owners = _owners(folder)
    if ours := [role for identity, role in roles.items() if identity in owners]:
        raise ShadowError(f"{error} {_remedy(' or '.join(ours), folder)}") from error
    if not owners:
        raise ShadowError(
            f"{error} Nothing says any more whose it is, so it may be one of {' and '.join(roles.values())}. Where no "
            f"copy is left, or it is another's, move the folder {folder} out of {folder.parent} and decide again."
        ) from error
    return f"Account {folder.name}, of another policy, is damaged and was left out: {error}"


def _remedy(whose: str, *folders: Path) -> str:
    """What to do about damaged accounts of a policy that is decided on."""
    named = " or ".join(map(str, folders))
    return (
        f"It is an account of {whose}, so nothing is decided. Where no copy is left, move the folder {named} out of "
        f"{folders[0].parent}: what it saw is lost then, and the decision is taken without it."
    )


def _owners(folder: Path) -> set[str]:
    """Identities of the bundles that a damaged account names: in its opening entry, and in what was reported of it."""
    from clstm_core.shadow.summary import ACCOUNT

    try:
        opening: Any = pl.read_parquet(folder / ROOM / "00000001.parquet", columns=["facts"])["facts"][0]
    except (pl.exceptions.PolarsError, OSError, IndexError):
        opening = None
    reported = read_json(folder / ACCOUNT)
    said = (_facts(opening), reported.get("facts") if isinstance(reported, dict) else None)
    return {str(facts["bundle"]) for facts in said if isinstance(facts, dict) and facts.get("bundle")}


def _facts(text: Any) -> Mapping[str, Any]:
    """What an account was opened with; nothing where that is no JSON object."""
    try:
        facts = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
