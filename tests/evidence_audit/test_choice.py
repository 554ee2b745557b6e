"""The choice by fresh worlds made anew from recorded rows, and every way in which a comparison may stray from it."""

import math
from types import SimpleNamespace

import pytest

from clstm_core.artifacts.folder import file_sha256
from clstm_core.evidence_audit.choice import champion_on_validation

RUNGS = ("020", "040", "060")


def figures(kind, means, errors=0.5, draws=100.0, deviation=50.0):
    return [
        {
            **{"milestone": rung, "kind": kind, "mode": "argmax", "growth_bps": mean, "error_bps": errors},
            **{"draws": draws, "deviation_bps": deviation},
        }
        for rung, mean in zip(RUNGS, means, strict=True)
    ]


@pytest.fixture
def case(tmp_path):
    """Builds the case of a ladder with these figures, of which a comparison says that `champion` is chosen."""

    def build(fresh, dates, champion, *, qualified=True, generated=True, measured=RUNGS):
        folders, ladder = {}, []
        for rung in RUNGS:
            folders[rung] = tmp_path / rung
            folders[rung].mkdir(exist_ok=True)
            (folders[rung] / "manifest.json").write_text(rung)
            trader = {"checkpoint": {"env_steps": int(rung)}}
            manifest = {
                "mode": "argmax",
                "milestone": rung,
                "window": {"name": "test"},
                "fill_lag": 1,
                "trader": trader,
            }
            ladder.append(SimpleNamespace(name=f"clstm_{rung}_argmax", id=rung, manifest=manifest))
        name = f"clstm_{champion}_argmax"
        rows = figures("fresh_worlds", fresh) + figures("validation_dates", dates, draws=40.0)
        parents = {rung: file_sha256(folders[rung] / "manifest.json") for rung in measured}
        return SimpleNamespace(
            ladder=ladder,
            comparison={
                "champion": {"name": name, "milestone": champion, "backtest_id": champion, "qualified": qualified}
            },
            config=SimpleNamespace(worlds=SimpleNamespace(generated=generated)),
            earned=SimpleNamespace(figures=rows, parents=parents),
            rungs=folders,
            beside={},
        )

    return build


@pytest.mark.parametrize(
    ("fresh", "dates", "champion"),
    [
        ((2.0, 3.0, 2.5), (1.0, 1.0, 1.0), "040"),
        ((2.0, 3.0, 2.0), (1.0, -3.0, 1.0), "060"),
        ((2.0, 0.9, 0.5), (1.0, 9.0, 9.0), "020"),
        ((2.0, 3.0, 2.5), (1.0, 1.0, math.nan), "040"),
    ],
)
def test_an_honest_choice_passes_and_any_other_is_named(case, fresh, dates, champion):
    found = champion_on_validation(case(fresh, dates, champion))
    assert found.passed, found.wrong
    assert "fresh worlds and validation dates" in found.words
    for other in set(RUNGS) - {champion}:
        wrong = champion_on_validation(case(fresh, dates, other)).wrong
        assert f"expected clstm_{champion}_argmax by the best ratio of growth" in wrong[0]


def test_no_rung_qualifies_and_whoever_is_called_champion_is_named(case):
    nobody = (0.5, 0.9, -1.0), (1.0, 1.0, 1.0)
    assert champion_on_validation(case(*nobody, "060", qualified=False)).passed
    assert "is called a champion, expected none" in champion_on_validation(case(*nobody, "060")).wrong[0]
    assert "expected clstm_060_argmax" in champion_on_validation(case(*nobody, "040", qualified=False)).wrong[0]


def test_a_champion_that_is_kept_from_its_title_is_named(case):
    found = champion_on_validation(case((2.0, 3.0, 1.0), (1.0, 1.0, 1.0), "040", qualified=False))
    assert found.wrong == ["no rung is said to qualify, though one does"]


def test_figures_of_other_checkpoints_are_named(case):
    found = champion_on_validation(case((2.0, 3.0, 1.0), (1.0, 1.0, 1.0), "040", measured=RUNGS[:2]))
    assert found.wrong == ["what checkpoint 60% earns was measured of another checkpoint"]


def test_a_run_in_worlds_of_which_nothing_says_what_it_earns_is_named(case):
    """Deleting its figures makes no champion of a rung, whatever the comparison says."""
    gone = case((-3.0, -3.0, -3.0), (1.0, 1.0, 1.0), "060")
    gone.earned = None
    found = champion_on_validation(gone)
    assert "is called a champion, expected none" in found.wrong[0]
    assert "nothing says what the rungs earn in fresh worlds" in found.wrong[1]
    gone = case((-3.0, -3.0, -3.0), (1.0, 1.0, 1.0), "060", qualified=False)
    gone.earned.figures = [row for row in gone.earned.figures if row["kind"] != "fresh_worlds"]
    assert champion_on_validation(gone).wrong == [
        "checkpoint 20%, checkpoint 40%, checkpoint 60% was not walked through fresh worlds"
    ]


def test_a_champion_that_nothing_calls_qualified_is_none(case):
    unsaid = case((2.0, 3.0, 1.0), (1.0, 1.0, 1.0), "040")
    del unsaid.comparison["champion"]["qualified"]
    assert champion_on_validation(unsaid).wrong == ["no rung is said to qualify, though one does"]


def test_both_ways_of_choosing_agree_on_figures_at_random(case):
    import numpy as np

    from clstm_core.evaluation.qualification import champion_milestone

    random, chosen = np.random.default_rng(0), set()
    for _ in range(200):
        fresh, dates = random.normal(0.8, 1.0, size=(2, 3))
        rows = case(fresh, dates, "020").earned.figures
        rows = [{**row, "per_risk": row["growth_bps"] / row["deviation_bps"]} for row in rows]
        champion = champion_milestone(rows, RUNGS)
        chosen.add(champion)
        assert champion_on_validation(case(fresh, dates, champion or "060", qualified=champion is not None)).passed
    assert chosen == {*RUNGS, None}
