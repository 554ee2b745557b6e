"""Do what a person does in the UI who knows only Dagster, count the steps, and keep a picture of each.

    make dev
    pip install playwright
    python tools/walk_ui.py FOLDER [--recipe smoke] [--chromium /usr/bin/chromium]

Starts a run with the one form, watches its curves, reads its checks, opens its report, terminates another one and
starts that again under its name. Exits with 1 where something is not found.
"""

import argparse
import re
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

UI = "http://127.0.0.1:3000"
CHAIN = "/runs?q%5B0%5D=job%3Atrain_and_evaluate"
FORM = "/locations/clstm_options/jobs/start_run/playground"
SIZE = ViewportSize(width=1280, height=900)


class Walk:
    """One browser page; every step is counted, and photographed."""

    def __init__(self, page: Page, folder: Path):
        self.page, self.folder, self.steps = page, folder, 0

    def step(self, words: str, settle_ms: int = 1500) -> None:
        self.steps += 1
        self.page.wait_for_timeout(settle_ms)
        name = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
        self.page.screenshot(path=self.folder / f"{self.steps:02d}-{name}.png")
        print(f"{self.steps:2d}. {words}", flush=True)

    def start(self, recipe: str, run: str = "") -> str:
        """From the form to the launch of the chain; its address."""
        page, known = self.page, self.launches()
        page.goto(UI + FORM)
        page.get_by_text("start_run").first.wait_for()
        page.wait_for_timeout(5000)
        # the form remembers what was typed before
        if (field := page.get_by_text("default_cpu").first).is_visible():
            field.dblclick()
            page.keyboard.type(recipe)
        if run and (field := page.get_by_text("''").first).is_visible():
            field.dblclick()
            page.keyboard.press("Home")
            page.keyboard.press("Shift+End")
            page.keyboard.type(f"run: {run}")
        self.step(f"type the recipe {recipe}")
        page.get_by_role("button", name="Launch Run").click()
        page.wait_for_url("**/runs/**")
        self.step("press Launch Run", 4000)
        return self.launched(known, 180)

    def launches(self) -> list[str]:
        """Addresses of the launches of the chain, the newest first."""
        self.page.goto(UI + CHAIN)
        self.page.wait_for_timeout(3000)
        found = [link.get_attribute("href") or "" for link in self.page.locator('a[href^="/runs/"]').all()]
        return list(dict.fromkeys(found))

    def launched(self, known: list[str], seconds: float) -> str:
        """The page of the launch that the form asked for, once it is there."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if new := [address for address in self.launches() if address not in known]:
                self.page.goto(UI + new[0])
                self.step("open the launch", 6000)
                return UI + new[0]
        sys.exit("no launch of train_and_evaluate appeared")

    def until(self, url: str, state: str, seconds: float) -> None:
        """Look now and then until a launch says how it ended; a page left open would take half a core for its clock."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.page.goto(url)
            self.page.wait_for_timeout(6000)
            if self.page.get_by_text(state, exact=True).first.is_visible():
                return
            self.page.goto("about:blank")
            self.page.wait_for_timeout(15000)
        sys.exit(f"{url} did not end in {state}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--minutes", type=float, default=15.0, help="how long a run may take")
    parser.add_argument("--launch", help="id of a launch of the chain: go on from there")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chosen.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        walk = Walk(page, chosen.folder)

        url = UI + f"/runs/{chosen.launch}" if chosen.launch else walk.start(chosen.recipe)
        walk.until(url, "Success", chosen.minutes * 60)
        walk.step("see that it succeeded")
        page.goto(UI + "/assets/training_progress?view=overview")
        page.get_by_text("Plots", exact=True).first.click()
        walk.step("watch the curves", 3000)
        page.goto(UI + "/assets/checkpoint_comparison?view=overview")
        page.get_by_text("Plots", exact=True).first.click()
        walk.step("lay the runs side by side", 3000)
        page.goto(UI + "/assets/checkpoint_comparison?view=checks")
        walk.step("read the checks", 4000)
        page.goto(UI + "/assets/backtest_report?view=overview")
        link = page.locator('a[href*="index.html"]').first
        report = link.get_attribute("href") or ""
        page.goto(report)
        expect(page.get_by_text("Verdict").first).to_be_visible()
        walk.step("open the report", 4000)

        url = walk.start(chosen.recipe, run="walked-again")
        page.wait_for_timeout(15000)
        page.get_by_role("button", name="Terminate").first.click()
        page.get_by_role("button", name=re.compile("Terminate")).last.click()
        walk.until(url, "Canceled", 120)
        walk.step("terminate it")
        url = walk.start(chosen.recipe, run="walked-again")
        walk.until(url, "Success", chosen.minutes * 60)
        walk.step("resume it by its name")
        browser.close()
    print(f"{walk.steps} steps; errors of the pages: {errors or 'none'}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
