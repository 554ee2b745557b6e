"""A rung has one name wherever a person reads of it."""

import re
from pathlib import Path

import pytest

from clstm_core.evaluation.run_list import champion_words
from clstm_core.evaluation.words import percent_of_run, rung_name
from reports.names import policy_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("milestone", "said"), [("060", "60%"), ("100", "100%"), (80, "80%"), ("latest", "latest")])
def test_a_rung_is_named_by_how_far_it_is_into_the_run(milestone, said):
    assert percent_of_run(milestone) == said
    assert rung_name(milestone) == f"checkpoint {said}"


def test_pages_and_lists_take_the_same_name():
    assert policy_name("clstm_060_argmax") == rung_name("060")
    assert champion_words({"milestone": "060", "qualified": True}) == percent_of_run("060")
    assert champion_words({"milestone": "100", "qualified": False}) == "none (100% shown)"


def test_no_sentence_names_a_rung_by_its_folder():
    """A milestone in a sentence's braces goes through `rung_name`: as it stands it names a folder."""
    bare = re.compile(r"\b(?:rung|checkpoint)s? \{(?!percent_of_run)[^}]*(?:milestone|rung\b)", re.IGNORECASE)
    parts = ("clstm_core", "assets", "orchestration", "reports")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for part in parts
        for path in sorted((ROOT / part).rglob("*.py"))
        for line in path.read_text().splitlines()
        if bare.search(line)
    ]
    assert found == []
