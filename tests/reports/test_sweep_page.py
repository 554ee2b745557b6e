"""The page of a sweep: every figure drawn from the record, what a person named escaped."""

import json
import re

import pytest

from clstm_core.artifacts.manifests import SweepManifest
from clstm_core.sweeps.evidence import evidence_of
from clstm_core.sweeps.plan import SweepPlan
from reports.sweep_page import render_sweep, sweep_panels

SPACE = ("ppo.actor_lr=1e-4:1e-2:log", "model.use_attention=True,False")


@pytest.fixture
def record():
    """Builds a record of four trials, one of them failed."""

    def build(**changes):
        plan = SweepPlan(name="small", recipe="smoke", source="simulated", trials=4, space=SPACE)
        trials = [
            {
                "trial": at,
                "state": "failed" if score is None else "done",
                "score": score,
                "ppo.actor_lr": 10.0 ** -(4 - at / 2),
                "model.use_attention": at % 2 == 0,
                "growth_bps_fresh_worlds": score,
                "growth_bps_validation_dates": None,
                "seconds": 12.0,
                "reason": "" if score is not None else "<b>a loss</b> is not finite",
            }
            for at, score in enumerate((0.01, None, 0.05, 0.02))
        ]
        confirmed = [{"seed": 1000 + at, "best": 0.04, "recipe": 0.01 + at / 100, "run": "a", "recipe_run": "b"}
                     for at in range(2)]  # fmt: skip
        facts = {
            "name": "small", "plan": plan.to_dict(), "label": "simulated quotes", "trained_on": "its own dates",
            "trials": trials, "best": 2, "confirmed": confirmed, "importances": {}, "answer": "Trial 2 of 4.",
            "created": "2026-11-30T12:00:00+00:00",
        }  # fmt: skip
        return evidence_of(SweepManifest(**(facts | changes)))

    return build


def test_every_figure_is_drawn_of_the_trials_that_have_a_score(record, tmp_path):
    made = record()
    page = render_sweep(made, tmp_path).read_text()
    charts = [chart for panel in sweep_panels(made) for chart in panel.charts]
    assert [chart.id for chart in charts] == ["history", "setting-0", "setting-1"]
    assert all(f'id="chart-{chart.id}"' in page for chart in charts)
    assert charts[0].figure["data"][0]["y"] == [0.01, 0.05, 0.02]
    assert charts[0].figure["data"][1]["y"] == [0.01, 0.05, 0.05]
    assert charts[1].figure["layout"]["xaxis"]["type"] == "log"
    assert charts[2].figure["layout"]["xaxis"]["type"] == "category"
    assert "simulated quotes" in page
    summary = json.loads((tmp_path / "sweeps" / "small" / "summary.json").read_text())
    assert (summary["trials"], summary["figures"]) == (4, 3)
    assert "Sweeps" in (tmp_path / "index.html").read_text()


def test_the_answer_says_choice_and_not_verdict(record, tmp_path):
    page = render_sweep(record(), tmp_path).read_text()
    assert "a choice, not a verdict" in page
    assert "chose nothing" in page


@pytest.mark.parametrize("change", [{"best": None}, {"best": 0, "confirmed": []}, {"confirmed": []}])
def test_a_sweep_with_little_to_say_has_a_page(record, tmp_path, change):
    assert render_sweep(record(**change), tmp_path).is_file()


def test_what_a_person_wrote_is_escaped(record, tmp_path):
    attack = "<script>alert(1)</script>"
    page = render_sweep(record(answer=attack, label=attack, trained_on=attack), tmp_path).read_text()
    index = (tmp_path / "index.html").read_text()
    for found in (page, index):
        assert attack not in found
        assert not re.search(r"<b>a loss", found)
