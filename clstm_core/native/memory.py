"""What becomes of memory that is freed: training asks for the same large arrays over and over."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep what it frees for its next use, rather than hand every large array back to the system.

    Each array would be cleared by the system, page by page, before it is written: a sixth of an iteration's time with a
    narrow policy. The process stays as large as it was at its largest. Whether the C library is one that can be told.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, MOST) == 1 for name in (MMAP_THRESHOLD, TRIM_THRESHOLD))
