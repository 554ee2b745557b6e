"""A regime shift in a simulated market that the trainer itself has to find: nothing is imitated, every policy learns.

Until the shift options are priced fairly, and the champion learns to hold cash. Then they are quoted at half of what
the index moves by. Who learns that in worlds made of the new days is promoted; who repeats the days as they came, with
the same account and the same steps, knows them by heart and is refused: by the regression suite, or by the rules.
"""

import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from retrain_makings import train_here
from shift_makings import SESSIONS, SHIFT, World, day, plant_shift, watch

from clstm_core.artifacts.places import Places
from clstm_core.config import WorldsConfig
from clstm_core.feedback.plan import RetrainPlan
from clstm_core.feedback.promote import decide
from clstm_core.feedback.promotion_plan import PromotionPlan
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.retrain import PAIRS, REGRESSION, WORTHY, retrain
from clstm_core.feedback.standing import plan_for, propose_first
from clstm_core.recipe import Recipe
from tests.in_process import without_audit

pytestmark = pytest.mark.slow

AFTER = World(0.0, 0.50, 0.24)
NEW_SESSIONS = 220
"""Training dates that lie behind the shift whole."""

RECIPE = Recipe(name="default_cpu", source="simulated", n_snapshots=SESSIONS, device="cpu")
SIZES = {"gate": 61, "judged": 381, "worlds": 60, "parity_steps": 40}


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A champion that learned before the shift, and that a person appointed; its settings."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    plant_shift(monkeypatch, AFTER)
    without_audit(monkeypatch)
    train_here(monkeypatch)
    places, usual = Places(tmp_path / "data"), RECIPE.run_config()
    settings = replace(
        usual,
        env=replace(usual.env, horizon=21, risk_fraction=0.06, risk_aversion=10.0),
        model=replace(usual.model, hidden_dim=32, attention_window=8),
    )
    (first,) = retrain(
        RetrainPlan(
            name="champion",
            why="before the shift",
            settings=settings.to_dict(),
            starts=("scratch",),
            as_of=day(places, settings, SHIFT - 1),
            device="cpu",
            steps=100_000,
            **{**SIZES, "judged": 61},
        ),
        places,
    )
    Registry(places).appoint(places.bundle("champion"), "the only one there is")
    Registry(places).register(
        PromotionPlan(shortfall_floor=0.02), "6% of equity at risk per trade: three times the recipe's"
    )
    return places, settings, first


def beyond_cash(places, made):
    """Growth beyond cash of challenger and champion, basis points per judged session."""
    pairs = pl.read_parquet(places.challenger(made.run) / PAIRS)
    return [1e4 * float((pairs[name] - pairs["cash"]).mean()) for name in ("challenger", "champion")]


def test_what_was_learned_is_promoted_and_what_was_learned_by_heart_refused(scene):
    places, settings, first = scene
    registry, before = Registry(places), Registry(places).current().champion
    learned, _ = beyond_cash(places, first)
    assert abs(learned) < 0.01, "options that are priced fairly cost their spread: the champion learned to hold cash"

    assert "near_atm_vol" in watch(places, settings, first).drift_flagged
    from orchestration.sensors import drift_retraining

    with dg.DagsterInstance.ephemeral() as instance:
        (request,) = drift_retraining(dg.build_sensor_context(instance=instance)).run_requests
    why = request.run_config["ops"]["challenger_policy"]["config"]["why"]

    def challenge(name, changed=None, **more):
        plan = plan_for(places, RECIPE, name=name, why=why, start="scratch", steps=300_000, **more, **SIZES)
        if changed is not None:
            plan = replace(plan, settings=changed.to_dict())
        (made,) = retrain(plan, places)
        propose_first(places, [made], why)
        return made, decide(places) if made.outcome == WORTHY else None

    by_heart = replace(
        settings,
        worlds=WorldsConfig(),
        env=replace(settings.env, reward="log_growth", expected_reward=False),
    )
    made, refused = challenge("by_heart", by_heart)
    assert (refused.decision.decision if refused else made.outcome) in ("refuse", REGRESSION)
    print(refused.decision.answer if refused else made.answer)
    assert registry.current().champion == before

    made, promoted = challenge(request.partition_key, training=NEW_SESSIONS)
    assert promoted is not None, made.answer
    print(beyond_cash(places, made), promoted.decision.answer)
    assert promoted.decision.decision == "promote", promoted.decision.answer
    assert promoted.decision.look["lower_bps"] > 0
    assert promoted.champion.run == made.run

    back = registry.roll_back("a person said so")
    assert back.champion.verified().identity == before.identity
