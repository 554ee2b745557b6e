"""The report in headless Chromium, from disk and offline: no error, every figure drawn, nothing overlaps."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clstm_core.evaluation.evidence import Evidence
from reports.render import render_report

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no /usr/bin/chromium: the report is NOT looked at")

FRAME = """<!DOCTYPE html><body style="margin:0">
<iframe src="demo/index.html" style="width:{width}px;height:2000px;border:0"></iframe>
<script>
addEventListener("load", () => setTimeout(() => {{
  const page = document.querySelector("iframe").contentDocument;
  const boxes = [...page.querySelectorAll(".chart")].map((node) => node.getBoundingClientRect());
  const overlaps = boxes.some((a, i) => boxes.slice(i + 1).some((b) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1));
  document.body.dataset.scroll = page.documentElement.scrollWidth;
  document.body.dataset.drawn = page.documentElement.dataset.drawn;
  document.body.dataset.overlaps = overlaps;
}}, 3000));
</script>"""


def browse(page: Path, profile: Path, *flags: str) -> tuple[str, list[str]]:
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
        "--window-size=1280,2000",
        "--virtual-time-budget=15000",
        *flags,
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def drawn_charts(dom: str) -> list[str]:
    """Names of the chart boxes that hold a drawing."""
    boxes = re.split(r'<div class="chart', dom)[1:]
    return [
        re.search(r'id="chart-([^"]+)"', box)[1] for box in boxes if 'class="main-svg"' in box.split("<figcaption")[0]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_without_a_console_message(report_data, tmp_path, scheme):
    index = render_report(report_data, tmp_path / "out")
    flags = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    dom, console = browse(index, tmp_path / "profile", *flags)
    assert console == []
    wanted = re.findall(r'data-chart="chart-([^"]+)"', index.read_text())
    assert drawn_charts(dom) == wanted
    assert f'data-drawn="{len(wanted)}"' in dom


def test_an_inline_script_would_be_refused_and_noticed(report_data, tmp_path):
    index = render_report(report_data, tmp_path / "out")
    planted = "<script>document.title = 'planted'</script></body>"
    index.write_text(index.read_text().replace("</body>", planted))
    dom, console = browse(index, tmp_path / "profile")
    assert "<title>planted" not in dom
    assert any("Content Security Policy" in line for line in console)


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overlaps_or_scrolls_sideways(report_data, tmp_path, width):
    out = tmp_path / "out"
    render_report(report_data, out)
    frame = out / "frame.html"
    frame.write_text(FRAME.format(width=width))
    dom, console = browse(frame, tmp_path / "profile", "--allow-file-access-from-files")
    assert console == []
    seen = dict(re.findall(r'data-(scroll|drawn|overlaps)="(\w+)"', dom.split("<iframe")[0]))
    assert seen == {"scroll": str(width), "drawn": "42", "overlaps": "false"}


def test_an_empty_report_and_the_gallery_open_without_a_console_message(tmp_path):
    index = render_report(Evidence(run="empty"), tmp_path / "out")
    for page in (index, tmp_path / "out" / "index.html"):
        dom, console = browse(page, tmp_path / "profile")
        assert console == []
        assert "empty" in dom
