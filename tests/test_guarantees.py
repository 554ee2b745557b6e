"""docs/guarantees.md: every promise is held by tests that exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guarantees.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def promises(page: str) -> dict[str, list[tuple[str, str]]]:
    """Each promise's bold words and the tests (file, function) that its row names."""
    table = page.partition("## Promised")[2].partition("## Not promised")[0]
    rows = [line for line in table.splitlines() if line.startswith("| **")]
    return {row.split("**")[1]: NAMED.findall(row.rsplit(" | ", 1)[1]) for row in rows}


def missing(page: str) -> list[str]:
    """Promises without a test, and tests that there are not."""
    wrong = []
    for promise, tests in promises(page).items():
        wrong += [] if tests else [f"{promise} no test"]
        wrong += [f"{promise} {file}::{test}" for file, test in tests if test not in functions(ROOT / file)]
    return wrong


def functions(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_promise_is_held_by_tests_that_exist() -> None:
    page = PAGE.read_text()
    assert len(promises(page)) >= 15
    assert missing(page) == []


def test_a_promise_without_its_test_is_found() -> None:
    page = PAGE.read_text()
    first, row = next((words, tests) for words, tests in promises(page).items() if len(tests) > 1)
    renamed = page.replace(f"::{row[0][1]}`", "::test_of_a_dream`")
    assert missing(renamed) == [f"{first} {row[0][0]}::test_of_a_dream"]
    bare = re.sub(r"`tests/\S+`,? ?", "", page)
    assert len(missing(bare)) == len(promises(page))


def test_what_is_not_promised_is_said() -> None:
    exceptions = PAGE.read_text().partition("## Not promised")[2]
    assert exceptions.count("\n- **") >= 6
