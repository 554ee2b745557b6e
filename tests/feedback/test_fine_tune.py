"""Fine-tuning from a champion: the critic moves no logit, the gate decides, the cap takes back what went too far."""

import dataclasses
import json

import pytest
import torch

from clstm_core.checkpoint import load_checkpoint
from clstm_core.config import FineTuneConfig
from clstm_core.errors import ConfigError, SelfTestError
from clstm_core.model.clstm import CLSTM
from clstm_core.ppo.learner import Learner
from clstm_core.ppo.losses import kl_between
from clstm_core.ppo.rollout import begin
from clstm_core.ppo.storage import Rollout
from clstm_core.train.fine_tune import CRITIC, DONE, KL, RESTORED, fine_tune, read_outcome
from clstm_core.train.run import TrainingRun

ANY = -1e9
"""A least gain that every critic reaches."""
FAR = 1e9
"""A cap that nothing reaches."""
CLOCKS = {"run", "steps_per_second", "seconds", "eta_seconds"}


@pytest.fixture
def tune(toys, tiny, tmp_path):
    """Fine-tunes in a folder; the champion, and what the call gave."""

    def run(name="run", *, stop=None, actor_lr=1e-2, ppo=None, **settings):
        usual = {"champion": "c" * 64, "least_gain": ANY, "kl_cap": FAR}
        fine = FineTuneConfig(**(usual | settings))
        config = tiny(actor_lr=actor_lr, warmup_lr=5e-3, **(ppo or {}))
        config = dataclasses.replace(
            config, ppo=fine.ppo(config.ppo), fine_tune=fine, env=dataclasses.replace(config.env, horizon=20)
        )
        torch.manual_seed(3)
        env, heldout = toys.NoiseEnv(8, seed=1), toys.NoiseEnv(8, seed=2)
        champion = CLSTM(env.observation_size, env.n_actions, config.model)
        with torch.no_grad():
            champion.policy_head.weight.mul_(50)  # a policy that prefers something
        given = {key: value.clone() for key, value in champion.state_dict().items()}
        result = fine_tune(config, env, heldout, champion, run_dir=tmp_path / name, stop=stop)
        assert all(torch.equal(value, given[key]) for key, value in champion.state_dict().items())
        return champion, result

    return run


def rows(result):
    lines = (result.run_dir / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in CLOCKS} for line in lines]


def moved(result, checkpoint, champion):
    found, before = load_checkpoint(result.run_dir / "checkpoints" / checkpoint).model, champion.state_dict()
    return {name for name, value in found.items() if not torch.equal(value, before[name])}


def test_after_the_critics_stage_every_logit_is_equal_to_the_bit(tune):
    champion, result = tune(least_gain=FAR)
    found = moved(result, "000", champion)
    assert found
    assert all(name.startswith(("critic_trunk", "value_head")) for name in found)
    told = read_outcome(result.run_dir)
    assert told.outcome == CRITIC
    critic, gate = told.stages
    assert critic["passed"]
    assert critic["logits_compared"] == 16 * 8 * 3
    assert not gate["passed"]
    assert gate["gain"] == pytest.approx(gate["after"] - gate["before"])
    assert f"{gate['gain']:+.4f}" in gate["words"]
    assert set(result.checkpoints) == {"000"}
    assert result.completed


def test_a_critics_stage_that_moves_the_policy_is_stopped(tune, monkeypatch):
    usual = Learner.warm_up

    def leaks(self, *, encoder=True):
        with torch.no_grad():
            self.model.policy_head.bias[0] += 1e-6
        return usual(self, encoder=encoder)

    monkeypatch.setattr(Learner, "warm_up", leaks)
    with pytest.raises(SelfTestError, match="moved the policy"):
        tune()


def test_the_critic_learns_where_there_is_something_to_foresee(tune):
    _, result = tune(least_gain=0.0, ppo={"warmup_epochs": 8})
    gate = read_outcome(result.run_dir).stages[1]
    assert gate["passed"]
    assert gate["after"] > gate["before"]


def test_the_actor_goes_on_and_leaves_its_ladder(tune):
    champion, result = tune()
    told = read_outcome(result.run_dir)
    assert told.outcome == DONE
    assert [stage["name"] for stage in told.stages] == ["critic", "gate", "kl"]
    assert all(stage["passed"] for stage in told.stages)
    assert {"000", "100"} <= set(result.checkpoints)
    assert any(name.startswith("actor_trunk") for name in moved(result, "100", champion))
    kls = [row["champion_kl"] for row in rows(result)]
    assert len(kls) == 6
    assert all(kl > 0 for kl in kls)
    assert told.stages[-1]["kl"] == kls[-1]


def test_beyond_the_cap_the_newest_weights_below_it_are_put_back(tune):
    _, far = tune("far")
    kls = [row["champion_kl"] for row in rows(far)]
    first = next(n for n in range(1, len(kls)) if kls[n] > max(kls[:n]))
    cap = (max(kls[:first]) + kls[first]) / 2
    _, result = tune("capped", kl_cap=cap)
    told = read_outcome(result.run_dir)
    assert told.outcome == KL
    stage = told.stages[-1]
    assert not stage["passed"]
    assert stage["iteration"] == first  # iterations count from 1: the one before the jump
    assert stage["kl"] == kls[first - 1] <= cap < stage["beyond"] == kls[first]
    assert "100" not in result.checkpoints
    assert result.completed
    back = load_checkpoint(result.checkpoints[RESTORED]).model
    torch.manual_seed(3)
    champion, below = tune("below", stop=_after(first), kl_cap=cap)
    reached = load_checkpoint(below.run_dir / "checkpoints" / "latest").model
    assert all(torch.equal(back[name], reached[name]) for name in back)
    assert any(not torch.equal(back[name], value) for name, value in champion.state_dict().items())


def test_a_cap_that_the_first_iteration_breaks_leaves_the_champions_policy(tune):
    champion, result = tune(kl_cap=1e-12)
    assert read_outcome(result.run_dir).outcome == KL
    assert all(name.startswith(("critic", "value")) for name in moved(result, RESTORED, champion))


def test_the_pull_to_the_champion_keeps_it_near(tune):
    _, free = tune("free", kl_coef=0.0)
    _, held = tune("held", kl_coef=50.0)
    assert rows(held)[-1]["champion_kl"] < 0.5 * rows(free)[-1]["champion_kl"]


def test_stopped_and_gone_on_with_it_is_the_same_run_to_the_bit(tune):
    _, whole = tune("whole")
    tune("parts", stop=_after(2))
    _, parts = tune("parts")
    assert rows(whole) == rows(parts)
    a, b = (load_checkpoint(each.run_dir / "checkpoints" / "100") for each in (whole, parts))
    assert all(torch.equal(a.model[name], b.model[name]) for name in a.model)
    assert read_outcome(whole.run_dir) == read_outcome(parts.run_dir)


def test_what_ended_is_not_begun_again(tune):
    tune(kl_cap=1e-12)
    _, again = tune(kl_cap=1e-12)
    assert again.completed
    assert len(rows(again)) == 1


def test_killed_between_saying_and_saving_what_was_put_back_is_saved_by_the_next_call(tune, monkeypatch):
    _, whole = tune("whole", kl_cap=1e-12)
    usual = TrainingRun.save

    def dies(self, name):
        if name == RESTORED:
            raise KeyboardInterrupt
        return usual(self, name)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            tune("killed", kl_cap=1e-12)
    assert read_outcome(whole.run_dir.with_name("killed")) is None
    _, killed = tune("killed", kl_cap=1e-12)
    assert read_outcome(killed.run_dir) == read_outcome(whole.run_dir)
    a, b = (load_checkpoint(each.checkpoints[RESTORED]).model for each in (whole, killed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert rows(killed) == rows(whole)


def test_it_needs_held_out_dates(toys, tiny, tmp_path):
    config = tiny()
    env = toys.NoiseEnv(8, seed=1)
    champion = CLSTM(env.observation_size, env.n_actions, config.model)
    with pytest.raises(ConfigError, match="no held-out dates"):
        fine_tune(config, env, None, champion, run_dir=tmp_path / "run")


def test_the_distance_is_the_exact_one():
    p, q = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.9, 0.1, 0.0]])
    expected = 0.5 * torch.log(torch.tensor(0.5 / 0.9)) + 0.5 * torch.log(torch.tensor(0.5 / 0.1))
    logs = [torch.where(x > 0, x.clamp_min(1e-30).log(), torch.tensor(-1e9)) for x in (p, q)]
    assert kl_between(*logs, torch.ones(1)) == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("actor_lr_share", 0.2), ("clip_epsilon", 0.2), ("recent_share", 0.0), ("kl_cap", 0.0), ("kl_coef", -1.0)],
)
def test_steps_that_are_not_small_are_refused(setting, value):
    with pytest.raises(ConfigError, match=setting):
        FineTuneConfig(**{setting: value})


def test_the_actors_settings_are_the_champions_in_smaller_steps(tiny):
    usual = tiny(actor_lr=1e-3, policy_epochs=3, clip_epsilon=0.2, target_kl=0.01, entropy_end=0.001).ppo
    fine = FineTuneConfig(champion="x").ppo(usual)
    assert (fine.actor_lr, fine.policy_epochs, fine.clip_epsilon) == (pytest.approx(1e-4), 1, 0.1)
    assert (fine.target_kl, fine.entropy_start, fine.critic_lr) == (None, 0.001, usual.critic_lr)


def test_the_champion_remembers_along_the_rollouts(toys, tiny):
    """Walked in two parts, what it would have done is that of one walk: its memory goes on."""
    from clstm_core.ppo.fine_tune import Anchor, FrozenWalk
    from clstm_core.ppo.rollout import collect

    config, env = tiny(), toys.NoiseEnv(8, seed=1, length=40)
    torch.manual_seed(0)
    champion = CLSTM(env.observation_size, env.n_actions, config.model)
    generator = torch.Generator().manual_seed(0)
    walked = FrozenWalk.of(champion, env, n_steps=16, bptt_steps=8, generator=generator)
    carry = begin(champion, env)
    anchor, parts = Anchor(champion, 1.0, walked, carry.state.actor), []
    for _ in range(2):
        rollout = Rollout.allocate(champion, env, n_steps=16, bptt_steps=8)
        carry = collect(champion, env, carry, rollout, generator=generator)
        theirs = anchor.along(rollout).log_probs
        taken = theirs.gather(-1, _cut(rollout.action, 8).unsqueeze(-1)).squeeze(-1)
        parts.append((taken, _cut(rollout.log_prob, 8)))
    for taken, drawn in parts:  # the champion itself walked: what it would have done is what it did
        torch.testing.assert_close(taken, drawn, atol=1e-5, rtol=0)


def _cut(value, steps):
    from clstm_core.ppo.storage import cut

    return cut(value, steps)


def _after(iterations):
    asked = []

    def stop():
        asked.append(True)
        return len(asked) >= iterations

    return stop
