"""Progress of a chain: a bar a stage with its rate and the time left, or plain lines where there is no terminal."""

import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from clstm_core.artifacts.folder import NewRows

COUNTED = 100
"""Totals below this are parts of a stage, for which a rate says nothing."""


class Follower:
    """Reads the stages' progress file as it grows, and shows it."""

    def __init__(self, progress: Path):
        self._console = Console()
        self._rows = NewRows(progress)
        self._heard = time.monotonic()
        self._told = ""
        self._bars: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._said: dict[str, int] = {}
        self._live = self._console.is_terminal
        self._display = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._live,
        )

    def __enter__(self) -> "Follower":
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()

    def update(self) -> None:
        """Show what was written since the last call."""
        for row in self._rows():
            self._heard, self._told = time.monotonic(), ""
            self._show(str(row["stage"]), int(row["done"]), int(row["total"]), str(row.get("note", "")))

    @property
    def silent_s(self) -> float:
        """Seconds since a stage last said anything."""
        return time.monotonic() - self._heard

    def say(self, sentence: str) -> None:
        """Print a sentence once, until a stage is heard again."""
        if sentence and sentence != self._told:
            self._told = sentence
            self._console.print(sentence, highlight=False, markup=False, soft_wrap=True)

    def _show(self, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        began = self._began.setdefault(stage, now)
        elapsed = now - began
        rate = f"{done / elapsed:,.0f}/s" if total >= COUNTED and elapsed > 0.5 else ""
        if self._live:
            if stage not in self._bars:
                self._bars[stage] = self._display.add_task(stage, total=total, rate="", note="")
            self._display.update(self._bars[stage], completed=done, total=total, rate=rate, note=note)
            return
        tenth = 10 * done // max(1, total)
        if tenth == self._said.get(stage, -1):
            return
        self._said[stage] = tenth
        left = f"{elapsed * (total - done) / done:.0f} s left" if 0 < done < total else ""
        parts = [f"{stage:<20} {done / max(1, total):4.0%}", rate, f"{elapsed:.0f} s", left, note]
        self._console.print("  ".join(part for part in parts if part), highlight=False, markup=False, soft_wrap=True)
