"""What became of sessions after they were decided on: files that changed, vanished or were joined by another.

A decision stands whatever becomes of its quotes. The log names each change once, with the hashes of then and of now.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from clstm_core.market.tensors import MarketTensors
from clstm_core.shadow.arrival import day_of
from clstm_core.shadow.columns import CHANGED, DECIDED, nanoseconds

SHOWN = 12
"""Digits of a hash in words."""


class Held(NamedTuple):
    """What a source holds of one session now.

    files, sha256: of the session alone, names and hash; empty where no file is
    content_sha256: `content_of` it; empty where the market does not hold it, None where that cannot be compared
    """

    files: str = ""
    sha256: str = ""
    content_sha256: str | None = ""


class Holding(NamedTuple):
    """What a source holds of the sessions that it was asked for, by snapshot, and when it looked (int64 UTC ns)."""

    seen_at: int
    source_sha256: str
    sessions: Mapping[int, Held]


@runtime_checkable
class Keeps(Protocol):
    """A source that can say what it holds of sessions that have been decided on."""

    def holding(self, snapshots: Collection[int]) -> Holding:
        """Of those snapshots, as the source was when it last looked."""
        ...


def content_of(market: MarketTensors, index: int) -> str:
    """sha256 of what a session says by itself: the underlying's price, and the quotes of the contracts on the grid.

    Nothing that depends on the sessions before or after it is part of it: a change of one session is of that alone.
    """
    cells = market.grid_row_TG[index]
    rows = cells[cells >= 0]
    digest = hashlib.sha256(np.ascontiguousarray(market.spot_T[index].numpy(), dtype="<f8").tobytes())
    digest.update(np.ascontiguousarray((cells >= 0).numpy(), dtype="u1").tobytes())
    digest.update(market.contract_id_KB[market.row_contract_Q[rows]].contiguous().numpy().tobytes())
    for column in (market.bid_Q, market.ask_Q):
        digest.update(np.ascontiguousarray(column[rows].numpy(), dtype="<f8").tobytes())
    return digest.hexdigest()


def contents_of(market: MarketTensors, snapshots: Collection[int]) -> dict[int, Held]:
    """`content_of` the snapshots that a market holds.

    Before a gap over which no position is carried it is None: what settles in the gap has left the grid since.
    """
    index = {int(at): place for place, at in enumerate(market.snapshot_T.tolist())}
    ends = market.segment_end_T[:-1].nonzero()[:, 0].tolist()
    history = ends[-1] + 1 if ends else 0
    found = {}
    for at in snapshots:
        known = content_of(market, index[at]) if index.get(at, -1) >= history else None
        found[at] = Held(content_sha256=known if at in index else "")
    return found


def newest_known(entries: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The last entry that says what a session was decided on with, or what it became, by snapshot."""
    return {nanoseconds(row["snapshot"]): row for row in entries if row["kind"] in (DECIDED, CHANGED)}


def changed_since(entries: Iterable[Mapping[str, Any]], market: MarketTensors) -> dict[int, str]:
    """Sessions that are others than when they were decided on, in words, by snapshot: by the log, and by a market.

    A session that is again what it was decided on is none of them; a run of the account may not have looked since.
    """
    decided: dict[int, Mapping[str, Any]] = {}
    told: dict[int, Mapping[str, Any]] = {}
    for row in entries:
        if row["kind"] == DECIDED:
            decided[nanoseconds(row["snapshot"])] = row
        elif row["kind"] == CHANGED:
            told[nanoseconds(row["snapshot"])] = row
    found = {}
    for at, now in contents_of(market, decided).items():
        other = differs(decided[at], now)
        if at in told and (other or own_sha256(told[at]) != own_sha256(decided[at])):
            found[at] = "; ".join(told[at]["reasons"])
        elif other:
            then, content = decided[at]["content_sha256"][:SHOWN], (now.content_sha256 or "none")[:SHOWN]
            found[at] = f"changed since it was decided on: content {then} then, {content} now"
    return found


def changes(entries: list[dict[str, Any]], found: Holding) -> Iterator[dict[str, Any]]:
    """Columns of an entry per session that is held otherwise than the log says; its switch is left to whoever appends.

    Args:
        found: of every session that was decided on
    """
    known = newest_known(entries)
    newest = max(known, default=None)
    for snapshot, row in sorted(known.items()):
        now = found.sessions.get(snapshot, Held())
        words = [*_of_files(row, now, day_of(snapshot)), *_of_content(row, now, day_of(snapshot))]
        if not words:
            continue
        if snapshot == newest and now.content_sha256 and differs(row, now):
            words.append("the account stands there: what it decided is carried out on what is read of it now")
        yield {
            "kind": CHANGED,
            "snapshot": snapshot,
            "seen_at": found.seen_at,
            "source": row["source"],
            "label": row["label"],
            "source_sha256": found.source_sha256,
            "session_sha256": now.sha256,
            "session_files": now.files or row["session_files"],
            "content_sha256": now.content_sha256,
            "reasons": words,
        }


def own_sha256(row: Mapping[str, Any]) -> str:
    """Of the files of a session alone, as an entry says; empty where it had none."""
    return "" if row["session_sha256"] == row["source_sha256"] else row["session_sha256"] or ""


def differs(row: Mapping[str, Any], now: Held) -> bool:
    """Whether what is read of a session is known to be another than an entry says."""
    return None not in (row["content_sha256"], now.content_sha256) and row["content_sha256"] != now.content_sha256


def _of_files(row: Mapping[str, Any], now: Held, day: str) -> list[str]:
    then, before = own_sha256(row), row["session_files"] or f"the file of {day}"
    if then == now.sha256:
        return []
    since = "since it was decided on" if row["kind"] == DECIDED else "since this was last said of it"
    if not now.sha256:
        return [f"changed: {before} is gone {since}: sha256 {then[:SHOWN]} then, none now"]
    if not then:
        return [f"changed: {now.files} came {since}: no file of {day} alone then, sha256 {now.sha256[:SHOWN]} now"]
    other = "" if row["session_files"] in (None, now.files) else f", {before} then"
    return [f"changed: {now.files}{other} {since}: sha256 {then[:SHOWN]} then, {now.sha256[:SHOWN]} now"]


def _of_content(row: Mapping[str, Any], now: Held, day: str) -> list[str]:
    then = row["content_sha256"]
    if then is None or now.content_sha256 is None:
        return []
    if not differs(row, now):
        return [] if own_sha256(row) == now.sha256 else ["what is read of it is the same"]
    if not now.content_sha256:
        return [f"changed: session {day} is no longer in the market: content {then[:SHOWN] or 'none'} then, none now"]
    return [
        f"changed: quotes of {day} or its underlying's price: content {then[:SHOWN] or 'none'} then, "
        f"{now.content_sha256[:SHOWN]} now"
    ]
