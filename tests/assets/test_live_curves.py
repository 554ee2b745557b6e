"""How many points the live curves of a training get: enough to look at soon, and some 300 however long it is."""

from itertools import pairwise

import pytest

from assets.training import OBSERVE_EVERY_S, is_due

HOUR = 3600.0


def points(hours: float, every: float, resumed: int = 0) -> list[float]:
    """Seconds at which points are drawn in a run of one env step per second, an iteration `every` seconds."""
    total = int(hours * HOUR)
    drawn, seen_at, seen, iterations = [], -HOUR, 0, int(total / every)
    for iteration in range(1, iterations + 1):
        if resumed and iteration % (iterations // (resumed + 1)) == 0:
            seen_at, seen = -HOUR, 0
        now = iteration * every
        if is_due(now - seen_at, int(now), seen, total):
            seen_at, seen = now, int(now)
            drawn.append(now)
    return drawn


@pytest.mark.parametrize("hours", [0.1, 1.0, 10.0, 100.0, 24.0 * 14])
@pytest.mark.parametrize("every", [2.0, 40.0])
def test_some_300_however_long(hours, every):
    assert len(points(hours, every)) <= 330


def test_a_run_that_is_resumed_gets_one_more_each_time():
    assert len(points(48.0, 5.0, resumed=20)) <= len(points(48.0, 5.0)) + 21


def test_a_short_run_is_drawn_every_few_seconds():
    drawn = points(5 / 60, 1.0)
    assert max(after - before for before, after in pairwise(drawn)) <= 2 * OBSERVE_EVERY_S


def test_a_long_run_is_drawn_soon_and_to_its_end():
    drawn = points(24.0 * 14, 5.0)
    assert sum(at < HOUR for at in drawn) >= 60
    late = [after - before for before, after in pairwise(drawn) if before > 24 * HOUR * 2]
    assert max(late) <= 24.0 * 14 * HOUR / 200 + 5.0, "evenly, as the curve is drawn"
