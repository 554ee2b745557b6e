"""Every page there is, in Chromium, offline, wide and narrow, light and dark: axe is content, and nothing overlaps."""

import os
import sys
from pathlib import Path

import pytest

from reports.pages import TEMPLATES

sys.path.insert(0, str(Path(__file__).parent))
from every_page import EVIL, draw_every_page, drawers, poisoned

WHY = "NO page is looked at: `make test` installs it"
playwright = pytest.importorskip("playwright.sync_api", reason=f"no Playwright. {WHY}")
axe = pytest.importorskip("axe_playwright_python.base", reason=f"no axe-core. {WHY}")

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no /usr/bin/chromium: NO page is looked at")

SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
LOCAL = ("file:", "data:", "blob:", "about:")
ONE_FILE = "one-file.html"
PAGES = (
    *("index.html", "compare.html", "demo/index.html", "empty/index.html", ONE_FILE, "one+other/index.html"),
    *("walk-forward/sp500/index.html", "shadow/account/index.html", "champion/index.html"),
    *("sweeps/search/index.html", "challengers/index.html"),
    *(f"challengers/{name}/index.html" for name in ("june", "may", "april")),
)
OPENED = """async () => {
  // one script builds every data table: two of them are looked at for all
  const shut = [...document.querySelectorAll("details.data")].slice(2);
  for (const details of document.querySelectorAll("details")) details.open = !shut.includes(details);
  for (const chart of document.querySelectorAll(".chart")) {
    chart.scrollIntoView({ block: "center" });
    for (let wait = 0; wait < 400 && !("drawn" in chart.dataset); wait += 1) {
      await new Promise((done) => setTimeout(done, 25));
    }
  }
  window.scrollTo(0, 0);
}"""
SHORTENED = """() => {
  for (const row of document.querySelectorAll("details.data tr:nth-child(n + 40)")) row.remove();
}"""
FAULTS = """() => {
  const faults = [];
  const say = (what, of) => faults.push(`${what}: ${of}`);
  const box = (node) => node.getBoundingClientRect();
  const meets = (a, b, by) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > by
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > by;
  if (document.documentElement.scrollWidth > window.innerWidth) {
    say("scrolls sideways", `${document.documentElement.scrollWidth} of ${window.innerWidth}`);
  }
  const charts = [...document.querySelectorAll(".chart")];
  for (const [index, chart] of charts.entries()) {
    if (!chart.querySelector(".main-svg")) say("not drawn", chart.id);
    for (const other of charts.slice(index + 1)) {
      if (meets(box(chart), box(other), 1)) say("overlap", `${chart.id}, ${other.id}`);
    }
    const frame = box(chart);
    const texts = [...chart.querySelectorAll(".main-svg text")]
      .filter((node) => node.textContent.trim() && node.checkVisibility({ opacityProperty: true }) && box(node).width)
      .filter((node) => !/rotate\\((?!0)/.test(node.getAttribute("transform") || ""));
    for (const [place, text] of texts.entries()) {
      const mine = box(text);
      if (mine.left < frame.left - 2 || mine.right > frame.right + 2) say("cut", `${chart.id}, ${text.textContent}`);
      for (const other of texts.slice(place + 1)) {
        if (meets(mine, box(other), 3)) say("words overlap", `${chart.id}, ${text.textContent}, ${other.textContent}`);
      }
    }
  }
  for (const picture of document.images) if (!picture.naturalWidth) say("not drawn", picture.alt);
  return faults;
}"""


def look(browser, page: Path, size: str) -> list[str]:
    """Everything that is wrong with a page as a reader has it, light and then dark: empty where nothing is."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="light", offline=True)
    said: list[str] = []
    with context:
        tab = context.new_page()
        tab.on("console", lambda message: said.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: said.append(f"error: {error}"))
        tab.on("request", lambda asked: None if asked.url.startswith(LOCAL) else said.append(f"asks for {asked.url}"))
        tab.goto(page.as_uri())
        tab.evaluate(OPENED)
        said += tab.evaluate(FAULTS)
        if page.name == ONE_FILE:
            return said  # a report whose scripts are inside: axe has seen its like
        tab.evaluate(SHORTENED)  # one loop draws the rows of a data table: axe need not see each
        tab.evaluate(axe.AXE_SCRIPT)  # past the page's own policy, which admits no script from elsewhere
        said += violations(tab, "{}")
        tab.emulate_media(color_scheme="dark")
        tab.wait_for_timeout(500)  # figures are drawn again
        said += [f"dark: {fault}" for fault in tab.evaluate(FAULTS)]
        said += [f"dark: {fault}" for fault in violations(tab, "{runOnly: ['color-contrast']}")]
    return said


def violations(tab, options: str) -> list[str]:
    """What axe holds against a page, three places of each rule.

    It is asked for violations alone: to name the ten thousand elements that are content takes it longer than to look.
    """
    asked = f"axe.run(document, {{preload: false, resultTypes: ['violations'], ...{options}}})"
    found = tab.evaluate(asked)["violations"]
    return [f"axe {rule['id']}: {node['html'][:160]}" for rule in found for node in rule["nodes"][:3]]


@pytest.fixture(scope="module")
def browser():
    """Chromium, once for all pages."""
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, report_data, walk_evidence):
    """A folder with a page of every kind, and who drew them."""
    out = tmp_path_factory.mktemp("pages")
    return out, draw_every_page(out, report_data, walk_evidence)


def test_no_kind_of_page_is_forgotten(drawn):
    out, by = drawn
    assert {module for module, _ in by} == set(drawers())
    assert {name for _, name in by} == {path.name for path in TEMPLATES.glob("*.html")} - {"base.html"}
    assert {page.relative_to(out).as_posix() for page in out.rglob("*.html")} == set(PAGES)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_as_it_should_be_light_and_dark(drawn, browser, page, size):
    assert look(browser, drawn[0] / page, size) == []


FAULTY = {
    "axe image-alt": "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>",
    "axe color-contrast": "<p style='color: #999; background: #aaa'>Who can read this?</p>",
    "scrolls sideways": "<p style='width: 3000px'>wide</p>",
    "console": "<script>1</script>",
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_planted_fault_is_seen(drawn, browser, tmp_path, fault):
    out = drawn[0]
    page = out / "planted.html"
    page.write_text((out / "compare.html").read_text().replace("</main>", f"{FAULTY[fault]}</main>"))
    try:
        assert any(said.startswith(fault) for said in look(browser, page, "wide"))
    finally:
        page.unlink()


@pytest.mark.parametrize(
    ("fault", "planted"),
    [
        ("words overlap", "for (const text of document.querySelectorAll('.legendtext')) text.setAttribute('y', -9)"),
        ("overlap", "document.querySelectorAll('.chart')[2].style.marginTop = '-300px'"),
        ("not drawn", "document.querySelector('.chart').replaceChildren()"),
    ],
)
def test_a_fault_of_a_figure_is_seen(drawn, browser, fault, planted):
    with browser.new_context(viewport={"width": 1280, "height": 900}, offline=True) as context:
        tab = context.new_page()
        tab.goto((drawn[0] / "walk-forward/sp500/index.html").as_uri())
        tab.evaluate(OPENED)
        assert tab.evaluate(FAULTS) == []
        tab.evaluate(planted)
        assert any(said.startswith(fault) for said in tab.evaluate(FAULTS))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, report_data, walk_evidence):
    """A folder with a page of every kind in whose texts stands what would run."""
    out = tmp_path_factory.mktemp("hostile")
    draw_every_page(out, poisoned(report_data), poisoned(walk_evidence), lambda text: text + EVIL)
    return out


RUNS = """() => ({
  ran: "ran" in document.documentElement.dataset,
  scripts: document.querySelectorAll("script:not([src], [type='application/json'])").length,
  pictures: document.querySelectorAll("img[src='x'], [onerror], [onload]").length,
  links: [...document.querySelectorAll("a")].filter((node) => /^\\s*javascript:/i.test(
    node.getAttribute("href") || node.getAttribute("xlink:href") || "")).length,
})"""


@pytest.mark.parametrize("page", PAGES)
def test_nothing_that_stands_in_a_text_runs(hostile, browser, page):
    text = (hostile / page).read_text()
    assert ("dataset.ran" in text) == (page != "empty/index.html"), "the text is shown"
    with browser.new_context(viewport={"width": 1280, "height": 900}, offline=True) as context:
        tab = context.new_page()
        said = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto((hostile / page).as_uri())
        tab.evaluate(OPENED)
        own = 2 if page == ONE_FILE else 0
        assert tab.evaluate(RUNS) == {"ran": False, "scripts": own, "pictures": 0, "links": 0}
        assert said == []
        charts = tab.locator(".chart")
        assert tab.locator(".chart[data-drawn]").count() == charts.count()


def test_what_runs_is_seen(drawn, browser):
    with browser.new_context(offline=True) as context:
        tab = context.new_page()
        tab.goto((drawn[0] / "compare.html").as_uri())
        tab.evaluate("text => { document.querySelector('main').innerHTML += text; }", EVIL)
        found = tab.evaluate(RUNS)
    assert found["pictures"] == found["links"] == found["scripts"] == 1
