"""A regime shift planted in a simulated market, from drift in shadow to a promotion, a refusal and a roll-back.

Until the shift options are priced fairly; then they are quoted higher, and the index moves by a third of that.
The champion, made before, only waits. What the trainer would find is planted too: a network that imitates a stated
rule in the new regime, and waits elsewhere. So what is tested is the way from drift to a decision, and not learning.
"""

import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from retrain_makings import SETTINGS
from shift_makings import SESSIONS, SHIFT, World, day, plant_shift, watch

from assets.partitions import training_run
from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.env.options_env import OptionsEnv
from clstm_core.feedback.plan import RetrainPlan
from clstm_core.feedback.promote import decide
from clstm_core.feedback.registry import Registry
from clstm_core.feedback.regression import CRASH
from clstm_core.feedback.retrain import retrain
from clstm_core.feedback.standing import plan_for, propose_first
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.recipe import Recipe
from clstm_core.specs import ACTIONS, HOLD, OBSERVATION, RUNGS
from clstm_core.train.envs import envs_of
from clstm_core.train.inputs import config_of
from clstm_core.train.run import TrainingRun
from tests.in_process import without_audit

pytestmark = pytest.mark.slow

AFTER = World(0.0, 0.08, 0.24)
NEW = (0.21, 0.27)
"""Between them options are quoted in the new regime alone: neither before, nor in the made-up crashes."""

SELLS, BUYS = ACTIONS.index("near_iron_condor"), ACTIONS.index("near_long_straddle")
VOL, HELD = OBSERVATION.index("near_atm_vol"), OBSERVATION.index("legs_held")
SIZES = {"steps": 1280, "gate": 61, "judged": 381, "worlds": 60, "parity_steps": 40}


def rule(action):
    """Act in the new regime while no leg is held, wait else; None waits always."""

    def wanted(observation, mask):
        waits = torch.full(observation.shape[:-1], HOLD)
        if action is None:
            return waits
        vol = observation[..., VOL]
        new = (vol > NEW[0]) & (vol < NEW[1]) & (observation[..., HELD] == 0) & mask[..., action]
        return torch.where(new, action, waits)

    return wanted


def imitate(model, envs, wanted, *, steps=900):
    """Fit a policy to a rule, on states of these envs that others walk as well."""
    generator = torch.Generator().manual_seed(0)
    seen = [_walked(env, wanted, generator) for env in envs]
    observations, masks = (torch.cat(part, dim=1) for part in zip(*seen, strict=True))
    target, start = wanted(observations, masks), torch.zeros(observations.shape[:2], dtype=torch.bool)
    start[::21] = True
    optimizer = torch.optim.Adam(model.actor_parameters(), lr=1e-2)
    state = model.initial_state(observations.shape[1]).actor
    for _ in range(steps):
        logits, _ = model.unroll_actor(model.encoder(observations), masks, start, state)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 1e-4:
            break
    model.zero_grad(set_to_none=True)


def _walked(env, wanted, generator, steps=160):
    """Observations and masks [T, N] of a walk that follows the rule half the time."""
    observation, mask = env.reset()
    seen = []
    for _ in range(steps):
        seen.append((observation, mask))
        follows = torch.rand(env.n_envs, generator=generator) < 0.5
        drawn = torch.multinomial(mask.float(), 1, generator=generator).squeeze(1)
        step = env.step(torch.where(follows, wanted(observation, mask), drawn))
        observation, mask = step.observation, step.action_mask
    return [torch.stack(part) for part in zip(*seen, strict=True)]


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """The market, a trainer that plants a rule, and a champion that a person appointed."""
    monkeypatch.setenv("CLSTM_HOME", str(tmp_path))
    plant_shift(monkeypatch, AFTER)
    without_audit(monkeypatch)
    places, planted = Places(tmp_path / "data"), {"rule": rule(None)}

    def plant(run, *, threads, report, warn):
        inputs = RunInputs.read(run.inputs)
        config, (env, heldout) = config_of(inputs), envs_of(inputs, Places(run.path.parents[1]))
        training = TrainingRun(config, env, heldout, run.path)
        # made-up crashes are shown too: a rule that nobody stated there would be anybody's guess
        crashes = simulated_world(n_steps=config.env.horizon + 2, planted=CRASH, seed=1)
        imitate(training.learner.model, [env, OptionsEnv(crashes, config.env, n_envs=16)], planted["rule"])
        for name in RUNGS:
            training.save(name)

    monkeypatch.setattr("clstm_core.train.apart.train_apart", plant)
    settings = replace(
        SETTINGS,
        market=replace(SETTINGS.market, n_snapshots=SESSIONS),
        # large positions: evidence day by day asks for much, and the worst sessions bound it from above
        env=replace(SETTINGS.env, risk_fraction=0.9, assignable_fraction=3.5),
    )
    (first,) = retrain(
        RetrainPlan(
            name="champion",
            why="before the shift",
            settings=settings.to_dict(),
            starts=("scratch",),
            as_of=day(places, settings, SHIFT - 1),
            device="cpu",
            **{**SIZES, "judged": 61},
        ),
        places,
    )
    Registry(places).appoint(places.bundle("champion"), "the only one there is")
    return places, planted, settings, first


def test_from_drift_to_promotion_refusal_and_back(scene):
    places, planted, settings, first = scene
    registry, before = Registry(places), Registry(places).current().champion

    account = watch(places, settings, first)
    assert "near_atm_vol" in account.drift_flagged

    from orchestration.sensors import drift_retraining

    with dg.DagsterInstance.ephemeral() as instance:
        found = drift_retraining(dg.build_sensor_context(instance=instance))
        assert instance.get_dynamic_partitions(training_run.name) == [found.run_requests[0].partition_key]
    (request,) = found.run_requests
    why = request.run_config["ops"]["challenger_policy"]["config"]["why"]
    assert "near_atm_vol" in why

    def challenge(name, planted_rule):
        planted["rule"] = planted_rule
        recipe = Recipe(name="smoke", source="simulated", n_snapshots=SESSIONS, device="cpu")
        plan = plan_for(places, recipe, name=name, why=why, start="scratch", **SIZES)
        assert plan.champion == before.identity
        (made,) = retrain(plan, places)
        assert made.outcome == "challenger", made.answer
        propose_first(places, [made], why)
        return made

    challenge("worse", rule(BUYS))
    refused = decide(places)
    assert refused.decision.decision == "refuse"
    assert {"superior", "not_luck", "drawdown"} <= {
        ruling["name"] for ruling in refused.decision.rulings if not ruling["passed"]
    }
    assert registry.current().champion == before

    better = challenge(request.partition_key, rule(SELLS))
    assert better.why == why
    promoted = decide(places)
    assert promoted.decision.decision == "promote", promoted.decision.answer
    assert promoted.decision.look["lower_bps"] > 0
    assert promoted.champion.run == better.run
    assert promoted.previous == before

    back = registry.roll_back("a person said so")
    assert back.champion == before
    assert back.champion.verified().identity == before.identity
