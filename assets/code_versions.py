"""Which code an asset's result depends on, as Dagster's staleness reads it: a hash of its module and the rooms it uses.

Coarser than the hashes by which results are kept (`clstm_core.artifacts.code` follows every import): this one is worked
out each time that definitions are loaded, and has to cost nothing.
"""

import hashlib
from functools import cache
from pathlib import Path

import clstm_core
import clstm_policy

CORE = Path(clstm_core.__file__).parent
REPORTS = CORE.parent / "reports"
RUNTIME = tuple(map(str, sorted(Path(clstm_policy.__file__).parent.glob("*.py"))))
"""Modules that use a bundle where nothing else of this project is."""

MARKET = ("market", "options")
COMPANIONS = (*MARKET, "evaluation/companions.py")
NATIVE = ("native", "native/*.cpp", "native/*.h")
READ = ("train/inputs.py",)
"""How a run's configuration is read."""
ENV = (*MARKET, "env", *NATIVE)
AUDIT = (*ENV, "audit")
TRAIN = (*ENV, "model", "ppo", "train")
GENERALISATION = (
    *(*TRAIN, "generalisation"),
    *("evaluation/generalisation.py", "evaluation/words.py", "evaluation/static_rules.py", "evaluation/statistics.py"),
)
EVALUATION = (*ENV, *READ, "model", "evaluation")
CRITIC = (*TRAIN, "evaluation")
CONTROLS = (*CRITIC, "generalisation", "controls")
EVIDENCE = (*EVALUATION, "evidence_audit")
EXPORT = (*ENV, *READ, "model", "deployment", "evaluation/words.py")
WALK = (*CONTROLS, "audit", "walk_forward")
CHALLENGER = (*CRITIC, "audit", "generalisation", "walk_forward", "deployment", "feedback", "shadow")
SWEEP = (*CRITIC, "audit", "generalisation", "sweeps", "walk_forward/trained.py")
CHAMPION = ("feedback", "evaluation", "shadow", "walk_forward/folds.py", "market/tables/schema.py")
REPORT = (*MARKET, *READ, "controls", "evaluation")
SHADOW = (*ENV, "model", "evaluation", "deployment", "shadow")


def code_version(*modules: str, rooms: tuple[str, ...], reports: bool = False) -> str:
    """Twelve digits that change with the modules, the core's top level and configuration, these rooms, or the reports.

    Args:
        modules: files of the asset itself, and of assets whose functions it works with: `__file__`
        rooms: folders of the core, or files of it

    Raises: FileNotFoundError for a room that is not there: a renamed one never drops out in silence
    """
    digest = hashlib.sha256(_hash(CORE, "*.py") + _hash(CORE, "config/*.py"))
    for module in modules:
        digest.update(_hash(Path(module).parent, Path(module).name))
    for room in rooms:
        digest.update(_hash(CORE, room if "." in room else f"{room}/**/*.py"))
    if reports:
        digest.update(_hash(REPORTS, "*.py"))
        digest.update(_hash(REPORTS, "templates/*"))  # and not what was drawn, which lies beside them
    return digest.hexdigest()[:12]


@cache
def _hash(folder: Path, pattern: str) -> bytes:
    found = [path for path in sorted(folder.glob(pattern)) if path.suffix != ".pyc"]
    if not found:
        raise FileNotFoundError(f"no code at {folder / pattern}: expected what an asset's result depends on.")
    digest = hashlib.sha256()
    for path in found:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.digest()
