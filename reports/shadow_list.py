"""What is deployed or watched and has a page: the champion, shadow accounts."""

import json
from pathlib import Path

ROOM, SUMMARY = "shadow", "shadow.json"
CHAMPION = "champion"


def shadow_accounts(out_dir: Path) -> list[dict[str, str]]:
    """Pages of shadow accounts below a folder, by name; what cannot be read is passed over."""
    found = []
    for place in sorted((out_dir / ROOM).glob(f"*/{SUMMARY}")):
        try:
            told = json.loads(place.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(told, dict) and (place.parent / "index.html").is_file():
            found.append({key: str(value) for key, value in told.items()} | {"name": place.parent.name})
    return found


def champion_row(out_dir: Path) -> dict[str, str] | None:
    """What the champion's page says in a line; None where there is none."""
    try:
        told = json.loads((out_dir / CHAMPION / "champion.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or not (out_dir / CHAMPION / "index.html").is_file():
        return None
    return {key: str(told.get(key) or "") for key in ("answer", "label", "kind", "champion", "challenger")}
