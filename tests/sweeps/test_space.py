"""What may be searched, and what is proposed."""

import pytest

from clstm_core.config import default_cpu
from clstm_core.errors import ConfigError
from clstm_core.sweeps.plan import SweepPlan
from clstm_core.sweeps.propose import STARTUP, Told, importances, propose
from clstm_core.sweeps.space import USUAL, dimension, dimensions, settings_of, with_settings


@pytest.mark.parametrize(
    "text",
    [*USUAL, "model.use_attention=True,False", "model.attention_window=8,16,32", "ppo.target_kl=0.001:0.02:log"],
)
def test_a_dimension_is_written_as_it_is_read(text):
    assert dimension(str(dimension(text))) == dimension(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ppo.actor_lr", "NAME=LOW:HIGH"),
        ("ppo.actor_lr=", "NAME=LOW:HIGH"),
        ("ppo.actor_lr=1:2:3", "NAME=LOW:HIGH"),
        ("ppo.actor_lr=2:1", "low < high"),
        ("ppo.actor_lr=nan:1", "a number"),
        ("ppo.actor_lr=0:1:log", "0 < low"),
        ("ppo.policy_epochs=1.5:3", "a whole number"),
        ("ppo.policy_epochs=2,2", "each once"),
        ("model.use_attention=0:1", "NAME=LOW:HIGH"),
        ("model.use_attention=yes,no", "true or false"),
        ("env.horizon=1:2", "unknown setting"),
        ("market.seed=1:2", "unknown setting"),
        ("ppo.lr=1:2", "unknown setting"),
    ],
)
def test_what_cannot_be_searched_is_said(text, said):
    with pytest.raises(ConfigError, match=said):
        dimension(text)


def test_a_setting_is_searched_once():
    with pytest.raises(ConfigError, match=r"ppo\.actor_lr twice"):
        dimensions(("ppo.actor_lr=1e-4:1e-3", "ppo.actor_lr=1e-4:1e-2"))


def test_settings_come_back_from_the_configuration_that_has_them():
    space = dimensions(USUAL)
    changed = {"ppo.actor_lr": 5e-4, "ppo.critic_lr": 2e-4, "ppo.policy_epochs": 2, "ppo.entropy_start": 0.01,
               "ppo.gae_lambda": 0.9}  # fmt: skip
    assert settings_of(with_settings(default_cpu(), changed), space) == changed


@pytest.mark.parametrize(
    "change",
    [{"trials": 0}, {"steps": 0}, {"confirm": -1}, {"seeds": ()}, {"seeds": (0, 0)}, {"seeds": (1000,)},
     {"name": "../x"}, {"name": "x" * 80}, {"space": ()}, {"recipe": "none"}],
)  # fmt: skip
def test_a_plan_that_cannot_work_is_refused(change):
    with pytest.raises(ConfigError):
        SweepPlan(**({"name": "x"} | change))


def found(space, n, score):
    told = []
    for _ in range(n):
        settings = propose(space, told, seed=3)
        told.append(Told(settings, score(settings)))
    return told


def test_a_proposal_is_made_of_the_trials_before_it_and_nothing_else():
    space = dimensions(USUAL)
    told = found(space, STARTUP + 3, lambda s: s["ppo.gae_lambda"])
    assert propose(space, told, seed=3) == propose(space, told, seed=3)
    assert propose(space, told, seed=3) != propose(space, told, seed=4)
    assert propose(space, told[:-1], seed=3) != propose(space, told, seed=3)


def test_what_lies_outside_the_space_or_failed_is_no_result():
    """A recipe outside the searched range is trial 0 all the same; a failed trial teaches no score."""
    space = dimensions(("ppo.actor_lr=1e-3:1e-2:log",))
    told = [Told({"ppo.actor_lr": 1e-4}, 1.0), Told({"ppo.actor_lr": 2e-3}, None)]
    assert space[0].holds(propose(space, told, seed=0)["ppo.actor_lr"])


def test_the_search_finds_what_is_better_than_chance_does():
    """Forty trials of a known hill: the later half lies nearer to its top than the first draws."""
    space = dimensions(("ppo.actor_lr=1e-5:1e-1:log", "ppo.gae_lambda=0:1"))

    def score(s):
        import math

        return -((math.log10(s["ppo.actor_lr"]) + 3) ** 2) - 4 * (s["ppo.gae_lambda"] - 0.7) ** 2

    told = found(space, 40, score)
    first, last = (sum(t.score for t in part) / len(part) for part in (told[:STARTUP], told[-STARTUP:]))
    assert last > first / 3


def test_the_setting_that_moves_the_score_is_named_first():
    space = dimensions(("ppo.actor_lr=1e-4:1e-2:log", "ppo.gae_lambda=0.5:0.99"))
    told = found(space, 30, lambda s: -abs(s["ppo.gae_lambda"] - 0.8))
    assert next(iter(importances(space, told))) == "ppo.gae_lambda"
    assert importances(space, told[:3]) == {}
