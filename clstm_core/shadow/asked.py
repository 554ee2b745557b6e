"""What a person asks of an account whose log another process holds: it is heeded before the next session.

    asked.json      the state and why; removed once it stands in the log

A kill between the two writes the same switch again, which changes nothing.
"""

from pathlib import Path

from clstm_core.artifacts.folder import is_locked, read_json, write_json
from clstm_core.errors import ShadowError
from clstm_core.shadow.switch import ACTIVE, HALTED, STATES, require_reason, tighter

ASKED = "asked.json"


def in_use(folder: Path) -> bool:
    """Whether some process writes to the account now."""
    return is_locked(folder / "log.lock")


def ask(folder: Path, state: str, reason: str, now: str) -> None:
    """Leave word for the process that holds the account; of two words the stricter stays.

    Args:
        now: where the switch stands in the log

    Raises: ShadowError for a switch that loosens, or without a reason
    """
    said = require_reason(reason)
    if state == ACTIVE or tighter(now, state) != state:
        raise ShadowError(
            f"shadow account {folder.name} is in use by another process: expected to wait for it before the switch is "
            "loosened. Run the same command again when it has ended."
        )
    before = asked_of(folder)
    if before is None or tighter(before[0], state) != before[0]:
        write_json(folder / ASKED, {"switch": state, "reason": said})


def asked_of(folder: Path) -> tuple[str, str] | None:
    """What was asked and why; None where nothing was. What cannot be read asks to halt."""
    if not (folder / ASKED).exists():
        return None
    found = read_json(folder / ASKED)
    if isinstance(found, dict) and found.get("switch") in STATES and found.get("reason"):
        return found["switch"], str(found["reason"])
    return HALTED, f"{ASKED} cannot be read"


def forget_asked(folder: Path) -> None:
    """It stands in the log now."""
    (folder / ASKED).unlink(missing_ok=True)
