"""What is read on the terminal and in docs/performance.md: the answer first, then the table."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from tools.bench.measure import Result
from tools.bench.task import SYSTEMS, gflops, multiply_adds

HEAD = ("system", "trunks", "hidden", "threads", "steps/s", "best", "GFLOP/s", "of fp32", "of bf16", "ours / it")


def answers(results: Sequence[Result]) -> list[str]:
    """A line per peer and thread count: our rate over its, at each size, with the range over the rounds."""
    lines: dict[tuple[str, str, int], list[str]] = {}
    for result in results:
        if not result.system.is_ours:
            ours = dataclasses.replace(result, system=SYSTEMS[result.system.rival]).name
            key = (ours, result.name, result.threads)
            lines.setdefault(key, []).append(f"{_ratio(result)} at hidden {result.hidden}")
    return [
        f"{ours} / {peer} = {', '.join(found)} ({_threads(threads)})" for (ours, peer, threads), found in lines.items()
    ]


def table(results: Sequence[Result], roofs: Mapping[int, Mapping[str, float]]) -> list[str]:
    """Markdown rows, one per result.

    Args:
        roofs: by threads, GFLOP/s of the best matrix product by dtype
    """
    rows = [HEAD, tuple("---" for _ in HEAD)]
    for result in results:
        system, roof = result.system, roofs[result.threads]
        rate = gflops(result.steps_per_second, result.hidden, system.trunks)
        rows.append(
            (
                result.name,
                str(system.trunks),
                str(result.hidden),
                str(result.threads),
                f"{result.steps_per_second:,.0f}",
                f"{max(result.bests):,.0f}",
                f"{rate:.1f}",
                f"{rate / roof['float32']:.0%}",
                f"{rate / roof['bfloat16']:.0%}",
                "" if system.is_ours else _ratio(result),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]


def notes(results: Sequence[Result], roofs: Mapping[int, Mapping[str, float]]) -> list[str]:
    """What the columns mean, with the figures they rest on."""
    asked = sorted({(result.system.trunks, result.hidden) for result in results})
    work = ", ".join(
        f"{multiply_adds(hidden, trunks) / 1e3:,.0f}k ({trunks} trunk{'s' if trunks > 1 else ''} of {hidden})"
        for trunks, hidden in asked
    )
    most = "; ".join(
        f"{roof['float32']:.0f} GFLOP/s in float32, {roof['bfloat16']:.0f} in bfloat16 ({_threads(threads)})"
        for threads, roof in roofs.items()
    )
    return [
        f"GFLOP/s: LSTMs and heads, multiply-adds that one env step asks for: {work}; `tools/bench/task.py`.",
        f"The share is of the best matrix product in the same call: {most}.",
        f"torch {', '.join(sorted({result.torch for result in results}))}.",
    ]


def _threads(number: int) -> str:
    return f"{number} thread{'s' if number > 1 else ''}"


def _ratio(result: Result) -> str:
    ratios = result.ratios
    spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}{spread}"
