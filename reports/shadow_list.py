"""Which shadow accounts have a page."""

import json
from pathlib import Path

ROOM, SUMMARY = "shadow", "shadow.json"


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
