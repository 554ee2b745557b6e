"""The joined record among luck: right where nothing is to be earned, alert where something is."""

import numpy as np
import pytest

from clstm_core.evaluation import luck as one_window
from clstm_core.evaluation.words import UNSTRESSED, UNTESTED, WITHIN_LUCK, relation_of
from clstm_core.walk_forward.fair import together
from clstm_core.walk_forward.figures import figures_of
from clstm_core.walk_forward.luck import Sums, placed, ratios, record_luck, sums_of
from clstm_core.walk_forward.stitch import Piece

SESSIONS, FOLDS, WORLDS = 100, 3, 200


def seller(draw, sessions, worlds):
    """A seller of insurance without an edge: a little nearly always, a loss of as much now and then."""
    lost = draw.random((sessions, worlds)) < 0.01
    return np.where(lost, -0.0099, 0.0001)


def noise(draw, sessions, worlds):
    return draw.normal(0.0, 1e-3, (sessions, worlds))


def walked(draw, worlds, fold_scale=(1.0, 0.0, 4.0), kinds=(seller, noise), edge=0.0):
    """Three folds of two seeds, by default an insurer and a trader of noise, idle in one fold and larger in another."""
    return [sums_of([scale * (kind(draw, SESSIONS, worlds) + edge) for kind in kinds]) for scale in fold_scale]


def one(folds, world):
    """One world of each fold."""
    return [Sums(n=f.n, total=f.total[:, [world]], squares=f.squares[:, [world]]) for f in folds]


def test_where_nothing_is_earned_p_is_uniform():
    """Two thousand records of fair policies: at most as many below each level as it says, and nearly so many."""
    draw = np.random.default_rng(0)
    worlds, mine = walked(draw, 4 * WORLDS), walked(draw, 2000)
    p = one_window.tail_share(ratios(mine), ratios(worlds))
    assert p[7] == placed(one(mine, 7), worlds)["p"]
    for level in (0.025, 0.05, 0.25, 0.5):
        share = (p <= level).mean()
        error = np.sqrt(level * (1 - level) * (1 / 2000 + 1 / (4 * WORLDS)))
        assert abs(share - level) < 4 * error, level


def test_a_planted_edge_is_found():
    draw = np.random.default_rng(1)
    both = (noise, noise)
    worlds, mine = walked(draw, WORLDS, kinds=both), walked(draw, 50, kinds=both, edge=5e-4)
    found = [placed(one(mine, at), worlds)["p"] for at in range(50)]
    assert np.median(found) <= 0.01


def test_a_lead_in_one_fold_is_no_lead_of_the_record():
    """The edge of one fold is diluted by those that have none, and a loss in one counts against it."""
    draw = np.random.default_rng(2)
    worlds = walked(draw, WORLDS, (1.0, 1.0, 1.0))
    lucky = sums_of([noise(draw, SESSIONS, 1) + 4e-4 for _ in range(2)])
    unlucky = sums_of([noise(draw, SESSIONS, 1) - 8e-4 for _ in range(2)])
    found = record_luck([lucky, unlucky, unlucky], worlds)
    assert found["by_fold"][0]["p"] < 0.05
    assert found["p"] > 0.9


def test_one_fold_and_one_seed_is_the_test_of_a_run():
    draw = np.random.default_rng(3)
    worlds, mine = (np.sign(x) * (1e-6 + np.abs(x)) for x in (noise(draw, 300, WORLDS), noise(draw, 300, 1)))
    found = placed([sums_of([mine])], [sums_of([worlds])])
    assert found["p"] == one_window.p_value(mine[:, 0], worlds)
    np.testing.assert_allclose(ratios([sums_of([worlds])]), one_window.ratios(worlds) * np.sqrt(252), rtol=1e-9)


def test_the_joined_ratio_is_that_of_the_joined_returns():
    draw = np.random.default_rng(4)
    parts = [[scale * noise(draw, 150, 5) for _ in range(2)] for scale in (1.0, 3.0)]
    whole = [np.concatenate([fold[seed] for fold in parts]) for seed in range(2)]
    expected = np.mean([values.mean(axis=0) / values.std(axis=0, ddof=1) for values in whole], axis=0) * np.sqrt(252)
    np.testing.assert_allclose(ratios([sums_of(fold) for fold in parts]), expected, rtol=1e-2, atol=1e-3)


def test_who_never_traded_has_no_luck_and_no_skill():
    """What rounding in 32 bits makes of nothing is nothing: p is 1, not a draw."""
    draw = np.random.default_rng(5)
    idle = sums_of([draw.normal(1e-7, 1e-8, (SESSIONS, WORLDS))])
    found = placed(one([idle], 0), [idle])
    assert (found["observed"], found["p"]) == (0.0, 1.0)


def test_a_fold_without_fair_worlds_leaves_the_record_without_a_place():
    draw = np.random.default_rng(6)
    worlds = walked(draw, WORLDS)
    assert record_luck(one(worlds, 0), [worlds[0], None, worlds[2]]) is None
    assert record_luck([], []) is None
    assert together([worlds[0], None]) is None
    both = together([worlds[0], worlds[1]])
    assert both.total.shape == (4, WORLDS)


def piece(fold, first, drift):
    """A fold of two seeds that earn a drift over cash."""
    draw = np.random.default_rng(fold)
    days = np.arange(np.datetime64(first), np.datetime64(first) + 301).astype(str).tolist()
    cash = np.full(300, 1e-4)
    seeds = {seed: np.log1p(cash + drift + draw.normal(0.0, 1e-3, 300)) for seed in (0, 1)}
    return Piece(
        fold=fold, dates=days, cash=cash, spot=cash, seeds=seeds, baselines={"cash": np.log1p(cash), "other": cash}
    )


@pytest.mark.parametrize(
    ("fair_drift", "modelled", "said"),
    [(0.0, True, UNSTRESSED), (0.0, False, "beats"), (1e-3, True, WITHIN_LUCK), (None, True, UNTESTED)],
)
def test_what_may_be_said_of_a_lead_follows_from_luck(fair_drift, modelled, said):
    """The same lead: further than luck reaches, within it, or not asked; a model's prices alone prove nothing."""
    draw = np.random.default_rng(7)
    pieces = [piece(1, "2000-01-03", 5e-4), piece(2, "2001-01-03", 5e-4)]
    fair = []
    if fair_drift is not None:
        fair = [sums_of([noise(draw, 300, WORLDS) + fair_drift for _ in range(2)]) for _ in pieces]
    found = figures_of("recipe", pieces, {}, simulated=False, modelled=modelled, fair=fair)
    pairs = {pair["against"]: pair for pair in found["pairs"]}
    assert relation_of(pairs["cash"]) == said
    assert pairs["other"]["p_value"] is None, "luck was asked about cash alone"
    if fair:
        assert pairs["cash"]["p_value"] == found["luck"]["p"]
        assert len(found["luck"]["by_fold"]) == 2
