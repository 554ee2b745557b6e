"""Whether a Parquet file can be read without harm: a damaged one may make its reader ask for all memory and abort.

Text is read by code that raises; the Parquet reader is native, and what it cannot survive no handler here would catch.
So an unknown file is read by a child process first, once.
"""

import subprocess
import sys
from pathlib import Path

from clstm_core.errors import MarketDataError

MAX_ROWS = 20_000_000  # of one Parquet file: as text these take some gigabytes
SECONDS = 600.0  # for all files of a folder

_READ = f"""
import resource, sys
import polars as pl
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for path in sys.argv[1:]:
    try:
        lazy = pl.scan_parquet(path)
        if lazy.select(pl.len()).collect().item() <= {MAX_ROWS}:
            lazy.collect()
    except BaseException:
        pass
    print(flush=True)
"""

_read: dict[tuple[str, int, int], bool] = {}  # path, time of writing, size -> whether it did no harm


def require_harmless(path: Path) -> None:
    """Raise MarketDataError where reading the file ends the process that does it; its folder's others are tried too."""
    if _key(path) not in _read:
        beside = {path, *(other for other in path.parent.glob("*.parquet") if other.is_file())}
        _try(sorted(other for other in beside if _key(other) not in _read))
    if not _read[_key(path)]:
        raise MarketDataError(
            f"damaged file {path.name}: found Parquet that its reader cannot survive, expected a whole file. Write it "
            "again."
        )


def _key(path: Path) -> tuple[str, int, int]:
    facts = path.stat()
    return str(path.resolve()), facts.st_mtime_ns, facts.st_size


def _try(paths: list[Path]) -> None:
    """Read the files in a child until all are judged: the one it dies at does harm, the next child goes on after it."""
    while paths:
        keys = [_key(path) for path in paths]
        command = [sys.executable, "-I", "-c", _READ, *map(str, paths)]
        try:
            child = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
            done, whole = child.stdout.count(b"\n"), child.returncode == 0
        except subprocess.TimeoutExpired as late:
            done, whole = (late.stdout or b"").count(b"\n"), False
        _read.update(dict.fromkeys(keys[:done], True))
        if not whole and done < len(paths):
            _read[keys[done]] = False
        paths = [] if whole else paths[done + 1 :]
