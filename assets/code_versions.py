"""Which code an asset's result depends on, as Dagster's staleness reads it: a hash of the rooms that it uses.

Coarser than the hashes by which results are kept (`clstm_core.artifacts.code` follows every import): this one is worked
out each time that definitions are loaded, and has to cost nothing.
"""

import hashlib
from functools import cache
from pathlib import Path

import clstm_core

CORE = Path(clstm_core.__file__).parent
REPORTS = CORE.parent / "reports"

MARKET = ("market", "options")
ENV = (*MARKET, "env")
AUDIT = (*ENV, "audit")
TRAIN = (*ENV, "model", "ppo", "train")
EVALUATION = (*ENV, "model", "evaluation")
CRITIC = (*TRAIN, "evaluation")
EVIDENCE = (*EVALUATION, "evidence_audit")
EXPORT = (*ENV, "model", "deployment")


def code_version(*rooms: str, reports: bool = False) -> str:
    """Twelve digits that change with any file of these rooms of the core, of its top level, or of the reports."""
    digest = hashlib.sha256(_hash(CORE, "*.py"))
    for room in rooms:
        digest.update(_hash(CORE / room, "**/*.py"))
    if reports:
        digest.update(_hash(REPORTS, "**/*.*"))
    return digest.hexdigest()[:12]


@cache
def _hash(folder: Path, pattern: str) -> bytes:
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        if path.suffix != ".pyc":
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.digest()
