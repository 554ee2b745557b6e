"""The report as one file: nothing beside it is asked for, and its policy admits its own two scripts alone."""

import base64
import dataclasses
import hashlib
import html
import re

import pytest

from clstm_core.evaluation.evidence import Evidence
from reports.render import render_single_file, shown_panels

EVIL = "<script>alert('x')</script></script><!--\"&"


def scripts(page: str) -> list[str]:
    """Texts of the scripts that would run."""
    found = re.findall(r"<script([^>]*)>(.*?)</script>", page, flags=re.S)
    return [text for attributes, text in found if "application/json" not in attributes]


@pytest.fixture(scope="module")
def page(report_data) -> str:
    return render_single_file(report_data)


def test_nothing_beside_it_is_asked_for(page):
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert re.findall(r'(?:src|href)="(?!#|data:)([^"]*)"', markup) == []
    assert "<style>" in page
    assert "url(" not in markup
    assert len(scripts(page)) == 2


def test_the_policy_names_each_script_by_its_hash(page):
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    admitted = re.search(r"script-src ([^;]*);", policy)[1].split()
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts(page)]
    assert admitted == [f"'sha256-{digest}'" for digest in hashes]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy


def test_it_shows_what_the_page_shows(page, report_data):
    assert page.count("data-chart=") == sum(len(panel.charts) for panel in shown_panels(report_data))
    assert "Not distinguishable" in page
    assert report_data.verdict in page
    assert "All reports" not in page


def test_text_from_data_is_no_script(report_data):
    hostile = dataclasses.replace(report_data, verdict=EVIL, label=EVIL, gates=[{"name": EVIL, "passed": False}])
    page = render_single_file(hostile)
    assert "<script>alert" not in page
    assert len(scripts(page)) == 2


def test_an_empty_run_has_a_file_as_well():
    assert "No verdict yet" in render_single_file(Evidence(run="empty"))
