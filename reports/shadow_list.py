"""What is deployed or watched, or would be, and has a page: the champion, challengers, shadow accounts."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOM, SUMMARY = "shadow", "shadow.json"
CHAMPION = "champion"
CHALLENGERS, PAGES = "challengers", "challengers.json"


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


def challengers_row(out_dir: Path) -> dict[str, str] | None:
    """What the list of retrainings says in a line; None where there is none."""
    told = _challengers(out_dir)
    return None if told is None else {key: str(told.get(key) or "") for key in ("answer", "label", "kind", "newest")}


def challenger_pages(out_dir: Path) -> dict[str, str]:
    """By run of a challenger its retraining's page, as an address below `out_dir`; those that have one."""
    pages = (_challengers(out_dir) or {}).get("pages")
    if not isinstance(pages, dict):
        return {}
    known = {place.parent.name for place in (out_dir / CHALLENGERS).glob("*/index.html")}
    named = {str(run): str(name) for run, name in pages.items()}
    return {run: f"{CHALLENGERS}/{quote(name)}/index.html" for run, name in named.items() if name in known}


def _challengers(out_dir: Path) -> dict[str, Any] | None:
    try:
        told = json.loads((out_dir / CHALLENGERS / PAGES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and (out_dir / CHALLENGERS / "index.html").is_file() else None
