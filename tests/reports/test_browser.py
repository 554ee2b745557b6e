"""The report in headless Chromium, from disk and offline: what is on its first screen, on paper and in one file.

That every figure of every page is drawn without a word on the console, and that nothing overlaps: `test_every_page.py`.
"""

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clstm_core.evaluation.evidence import Evidence
from reports.render import render_report, render_single_file, shown_panels

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no /usr/bin/chromium: the report is NOT looked at")

TALL = 40_000  # pixels: every figure is in view, so that every one is drawn
FRAME = """<!DOCTYPE html><body style="margin:0">
<iframe src="demo/index.html#training" style="width:{width}px;height:{height}px;border:0"></iframe>
<script>
addEventListener("load", () => setTimeout(() => {{
  const frame = document.querySelector("iframe");
  const page = frame.contentDocument;
  const say = (name, value) => {{ document.body.dataset[name] = value; }};
  {script}
}}, 5000));
</script>"""
FOLD = """
  const top = (query) => page.querySelector(query).getBoundingClientRect().top;
  say("outcome", page.querySelector(".outcome").getBoundingClientRect().bottom < {height});
  say("tiles", [...page.querySelectorAll(".tiles li")].every((tile) => tile.getBoundingClientRect().bottom < {height}));
  say("failures", top(".failures li") < {height});
  say("chart", top(".chart") < {height});
  const drawn = () => Number(page.documentElement.dataset.drawn);
  const wait = setInterval(() => {{
    if (drawn() === 0) return;
    clearInterval(wait);
    say("part", drawn() < page.querySelectorAll(".chart").length);
  }}, 200);
"""
PRINT = """
  for (const sheet of page.styleSheets) for (const rule of sheet.cssRules) {
    if (rule.conditionText === "print") rule.media.mediaText = "all";
  }
  frame.contentWindow.dispatchEvent(new Event("beforeprint"));
  setTimeout(() => {
    const shown = (node) => node.checkVisibility() && node.getBoundingClientRect().height > 0;
    const inside = (node, box) => node.getBoundingClientRect().bottom <= box.getBoundingClientRect().bottom + 1;
    say("drawn", page.documentElement.dataset.drawn);
    say("cut", [...page.querySelectorAll(".scroll")].some((box) => box.scrollHeight > box.clientHeight + 1));
    const failed = [...page.querySelectorAll("tr.failed")];
    say("failed", failed.every((row) => shown(row) && inside(row, row.closest(".scroll"))));
    say("words", shown(page.querySelector(".words .lead")) && shown(page.querySelector("dl")));
    say("training", [...page.querySelectorAll("#training .main-svg")].every(shown));
    const drawings = [...page.querySelectorAll(".grid .main-svg")];
    say("wide", Math.max(...drawings.map((svg) => svg.getBoundingClientRect().width)));
    say("columns", getComputedStyle(page.querySelector(".charts.grid")).gridTemplateColumns.split(" ").length);
    say("figures", getComputedStyle(page.querySelector("figure")).breakInside);
    say("contents", shown(page.querySelector(".toc")));
  }, 5000);
"""


def browse(page: Path, profile: Path, *flags: str, anchor: str = "") -> tuple[str, list[str]]:
    """The page's final DOM and what it said on the console."""
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        f"--window-size=1280,{TALL}",
        "--virtual-time-budget=20000",
        *flags,
        "--dump-dom",
        page.as_uri() + anchor,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_an_inline_script_would_be_refused_and_noticed(report_data, tmp_path):
    index = render_report(report_data, tmp_path / "out")
    planted = "<script>document.title = 'planted'</script></body>"
    index.write_text(index.read_text().replace("</body>", planted))
    dom, console = browse(index, tmp_path / "profile")
    assert "<title>planted" not in dom
    assert any("Content Security Policy" in line for line in console)


def count_of(data: Evidence) -> str:
    """Figures of a report."""
    return str(sum(len(panel.charts) for panel in shown_panels(data)))


def framed(report_data, tmp_path: Path, script: str, width: int, height: int = TALL) -> dict[str, str]:
    """What a script finds in the report's page, shown in a frame of that size."""
    out = tmp_path / "out"
    render_report(report_data, out)
    page = out / "frame.html"
    page.write_text(FRAME.format(width=width, height=height, script=script))
    dom, console = browse(page, tmp_path / "profile", "--allow-file-access-from-files")
    assert console == []
    return dict(re.findall(r'data-(\w+)="([^"]*)"', dom.split("<iframe")[0]))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_answer_and_the_first_figure_are_above_the_fold(report_data, tmp_path, width):
    out = tmp_path / "out"
    render_report(report_data, out)
    frame = out / "frame.html"
    script = FOLD.format(height=900)
    frame.write_text(FRAME.format(width=width, height=900, script=script).replace("#training", ""))
    dom, console = browse(frame, tmp_path / "profile", "--allow-file-access-from-files")
    assert console == []
    seen = dict(re.findall(r'data-(\w+)="([^"]*)"', dom.split("<iframe")[0]))
    assert seen == dict.fromkeys(("outcome", "tiles", "failures", "chart", "part"), "true")


def test_paper_shows_all_that_the_screen_scrolls_or_folds(report_data, tmp_path):
    quality = [{"check": f"fault_{k}", "severity": "error", "count": k} for k in range(40)]
    data = dataclasses.replace(report_data, quality=quality)
    seen = framed(data, tmp_path, PRINT, width=720)
    assert float(seen.pop("wide")) <= 340
    assert seen == {
        "drawn": count_of(data),
        "cut": "false",
        "failed": "true",
        "words": "true",
        "training": "true",
        "columns": "2",
        "figures": "avoid",
        "contents": "false",
    }


def test_a_data_table_is_built_when_it_is_opened(report_data, tmp_path):
    script = """
  const first = page.querySelector("details.data");
  say("before", first.querySelectorAll("tr").length);
  first.open = true;
  setTimeout(() => {
    say("after", first.querySelectorAll("tr").length);
    say("others", page.querySelectorAll("details.data table").length);
    say("heading", first.querySelector("th").textContent);
  }, 500);
"""
    seen = framed(report_data, tmp_path, script, 1280)
    assert seen == {"before": "0", "after": "251", "others": "1", "heading": "date"}


def test_one_file_draws_itself_under_its_own_policy(report_data, tmp_path):
    page = tmp_path / "one.html"
    page.write_text(render_single_file(report_data))
    dom, console = browse(page, tmp_path / "profile", anchor="#training")
    assert console == []
    assert f'data-drawn="{count_of(report_data)}"' in dom
    planted = "<script>document.title = 'planted'</script></body>"
    page.write_text(page.read_text().replace("</body>", planted))
    dom, console = browse(page, tmp_path / "profile")
    assert "<title>planted" not in dom
    assert any("Content Security Policy" in line for line in console)


def test_the_gallery_sorts_filters_and_picks(report_data, tmp_path):
    out = tmp_path / "out"
    for run, ratio in (("one", 0.5), ("two", -0.25), ("three", None)):
        rows = [{**row, "sharpe": ratio} for row in report_data.backtests]
        render_report(dataclasses.replace(report_data, run=run, backtests=rows), out)
    script = """
  const rows = () => [...page.querySelectorAll("tbody tr")].filter((row) => !row.hidden).map((row) => row.dataset.run);
  const sharpe = page.querySelectorAll("thead button")[7];
  sharpe.click();
  say("up", rows());
  sharpe.click();
  say("down", rows());
  say("sorted", sharpe.parentNode.getAttribute("aria-sort"));
  for (const name of ["two", "one"]) page.querySelector(`input[value="${name}"]`).click();
  say("link", page.getElementById("compare").getAttribute("href"));
  const field = page.querySelector("input[type=search]");
  field.value = "THREE default_cpu";
  field.dispatchEvent(new Event("input"));
  say("found", rows());
"""
    frame = out / "frame.html"
    text = FRAME.format(width=1280, height=900, script=script).replace("demo/index.html#training", "index.html")
    frame.write_text(text)
    dom, console = browse(frame, tmp_path / "profile", "--allow-file-access-from-files")
    assert console == []
    seen = dict(re.findall(r'data-(\w+)="([^"]*)"', dom.split("<iframe")[0]))
    assert (seen["up"], seen["down"]) == ("two,one,three", "one,two,three")
    assert (seen["sorted"], seen["found"]) == ("descending", "three")
    assert seen["link"] == "compare.html?a=one&amp;b=two"
    dom, console = browse(out / "compare.html", tmp_path / "profile", anchor="?a=two&b=one")
    assert console == []
    assert re.search(r'<tr class="differs"><td>Sharpe ratio</td><td>-0.25</td><td>0.50</td></tr>', dom)


def test_an_empty_report_and_the_gallery_open_without_a_console_message(tmp_path):
    index = render_report(Evidence(run="empty"), tmp_path / "out")
    for page in (index, *(tmp_path / "out" / name for name in ("index.html", "compare.html"))):
        dom, console = browse(page, tmp_path / "profile")
        assert console == []
        assert "empty" in dom
