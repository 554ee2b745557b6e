"""Drop a vendor's session files one by one into a watched folder, each once the one before is logged and on the page.

    clstm dev &                                            # CLSTM_SHADOW_RUN=RUN in its environment
    clstm schedule on shadow_sessions --source spx_barchart --data TO
    python -m tools.drop_sessions FROM TO --account data/shadow/RUN --sessions 60

Prints a line per session: seconds from the file to its entry in the log, and to its date on the account's page.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

LOOK_S = 0.5


def entries(account: Path) -> int:
    """How many the log's head counts; 0 where there is no account yet."""
    head = account / "head.json"
    return json.loads(head.read_text())["entries"] if head.is_file() else 0


def wait(done, patience_s: float, what: str) -> float:
    """Seconds until `done()` holds; ends the program where it never does."""
    begun = time.monotonic()
    while not done():
        if time.monotonic() - begun > patience_s:
            sys.exit(f"error: {what} was not seen within {patience_s:.0f} s. Look at the sensor and its launches.")
        time.sleep(LOOK_S)
    return time.monotonic() - begun


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("source", type=Path, help="folder with the files, named by session")
    asked.add_argument("target", type=Path, help="the watched folder")
    asked.add_argument("--account", type=Path, required=True, help="data/shadow/NAME")
    asked.add_argument("--reports", type=Path, default=Path("reports/generated"))
    asked.add_argument("--sessions", type=int, default=60)
    asked.add_argument("--patience", type=float, default=600.0, help="seconds to wait for one session")
    given = asked.parse_args()
    page = given.reports / "shadow" / given.account.name / "index.html"
    files = [path for path in sorted(given.source.iterdir()) if not (given.target / path.name).exists()]
    taken = []
    for path in files[: given.sessions]:
        before, begun = entries(given.account), time.time()
        arriving = given.target / f".{path.name}"
        shutil.copyfile(path, arriving)
        os.replace(arriving, given.target / path.name)
        logged = wait(lambda before=before: entries(given.account) > before, given.patience, f"{path.name} in the log")
        shown = logged + wait(
            lambda begun=begun: page.stat().st_mtime > begun, given.patience, f"{path.name} on {page}"
        )
        taken.append(shown)
        print(f"{path.name[:10]}  log {logged:5.1f} s  page {shown:5.1f} s  {page.stat().st_size:,} bytes", flush=True)
    print(
        f"{len(taken)} sessions, seconds to the page: median {statistics.median(taken):.1f}, largest {max(taken):.1f}"
    )


if __name__ == "__main__":
    main()
