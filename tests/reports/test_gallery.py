"""The gallery's table of runs, and the page that lays two of them side by side."""

import dataclasses
import json
import re

from clstm_core.evaluation.evidence import Evidence
from reports.gallery import COMPARED, in_short, write_gallery
from reports.render import render_report

EVIL = "<script>alert('x')</script></script><!--\"&"


def cells(page: str, run: str) -> list[str]:
    """Texts of a run's row."""
    row = page.split(f'<tr data-run="{run}">')[1].split("</tr>")[0]
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.S)]


def test_a_run_is_a_row_of_numbers(report_data, tmp_path):
    render_report(report_data, tmp_path)
    page = (tmp_path / "index.html").read_text()
    row = cells(page, "demo")
    assert row[:5] == ["demo", "2026-01-05", "modelled quotes, modelled spread", "default_cpu", "–"]
    assert row[5:] == ["Not distinguishable from cash", "+1.8% (-4.5 to +8.3)", "0.40", row[8], "1 of 6"]
    assert re.fullmatch(r"-\d+\.\d%", row[8])
    assert page.count('scope="col"') == len(row)


def test_a_run_in_short_is_its_row(report_data, tmp_path):
    answer, figures = in_short(render_report(report_data, tmp_path))
    assert answer == "Not distinguishable from cash"
    assert figures.startswith("  over cash +1.8% (-4.5 to +8.3) per year; Sharpe ratio 0.40; largest drawdown -")
    assert figures.endswith("; checks failed 1 of 6; modelled quotes, modelled spread")
    assert in_short(render_report(Evidence(run="empty"), tmp_path))[0] == "No verdict yet"


def test_what_is_sorted_is_a_number_and_what_is_missing_is_empty(report_data, tmp_path):
    render_report(report_data, tmp_path)
    render_report(Evidence(run="empty"), tmp_path)
    page = (tmp_path / "index.html").read_text()
    full, empty = (page.split(f'<tr data-run="{run}">')[1].split("</tr>")[0] for run in ("demo", "empty"))
    found = re.findall(r'class="number[^"]*" data-by="([^"]*)"', full)
    assert [float(value) for value in found][1] == 0.4
    assert re.findall(r'class="number[^"]*" data-by="([^"]*)"', empty) == [""] * 4
    assert "No verdict yet" in empty


def test_a_summary_of_an_earlier_version_is_still_a_row(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "index.html").write_text("old")
    old = {"run": "old", "data_label": "real quotes", "kind": "real", "verdict": "v", "generated_at": "", "figures": 3}
    (tmp_path / "old" / "summary.json").write_text(json.dumps(old))
    assert cells(write_gallery(tmp_path).read_text(), "old")[:3] == ["old", "unknown", "real quotes"]


def test_two_runs_can_be_laid_side_by_side(report_data, tmp_path):
    render_report(report_data, tmp_path)
    render_report(dataclasses.replace(report_data, run="other", provenance=[("seed", "1")]), tmp_path)
    page = (tmp_path / "compare.html").read_text()
    known = json.loads(re.search(r'id="known">(.*?)</script>', page, flags=re.S)[1])
    assert set(known) == {"demo", "other"}
    assert [name for name, _ in known["demo"]] == [*COMPARED, "recipe", "configuration", "git commit"]
    assert dict(known["other"])["seed"] == "1"
    assert dict(known["demo"])["excess over cash"] == "+1.8% (-4.5 to +8.3)"


def test_text_of_a_run_is_escaped_in_both_pages(report_data, tmp_path):
    hostile = dataclasses.replace(
        report_data, label=EVIL, verdict=EVIL, provenance=[("recipe", EVIL), (EVIL, EVIL)], generated_at=EVIL
    )
    render_report(hostile, tmp_path)
    for name in ("index.html", "compare.html"):
        page = (tmp_path / name).read_text()
        assert "<script>alert" not in page
        assert "<!--" not in page
        assert len(re.findall(r"<script", page)) == {"index.html": 1, "compare.html": 2}[name]
