"""The critic's extra epochs beside the actor's next walk: to the same bits as one after the other."""

import pytest
import torch

from clstm_core.config import ModelConfig
from clstm_core.errors import NonFiniteError
from clstm_core.ppo.learner import Learner

KINDS = {
    "dual": {},
    "no attention": {"model": {"use_attention": False}},
    "single trunk": {"model": {"dual_trunk": False}},
    "one chunk": {"bptt_steps": 16, "batch_size": 64},
    "many critic epochs": {"extra_critic_epochs": 3},
}


@pytest.fixture
def learner(toys, tiny):
    """Builds a learner of a kind; all of a kind begin alike."""

    def build(kind, *, threads, iterations=6):
        settings = KINDS[kind]
        model = ModelConfig(hidden_dim=16, attention_window=4, **settings.get("model", {}))
        others = {name: value for name, value in settings.items() if name != "model"}
        config = tiny(iterations=iterations, model=model, **others)
        built = Learner(config, toys.NoiseEnv(8, seed=1, length=6), toys.NoiseEnv(4, seed=2), threads=threads)
        built.warm_up()
        return built

    return build


def everything(learner):
    """All that a continuation depends on."""
    return {f"model.{name}": value for name, value in learner.model.state_dict().items()} | learner.state()


def same(one, other):
    a, b = everything(one), everything(other)
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize("kind", KINDS)
def test_every_iteration_ends_at_the_same_bits(learner, kind):
    beside, alone = learner(kind, threads=2), learner(kind, threads=1)
    for _ in range(6):
        assert beside.iterate() == alone.iterate()
        assert same(beside, alone) == []


def test_fifty_iterations_end_at_the_same_bits(learner):
    beside, alone = (learner("dual", threads=threads, iterations=50) for threads in (2, 1))
    for _ in range(50):
        beside.iterate()
        alone.iterate()
    assert same(beside, alone) == []


def test_a_run_goes_on_from_a_checkpoint_that_was_written_with_a_walk_ahead(learner):
    whole, cut = learner("dual", threads=2), learner("dual", threads=2)
    for _ in range(3):
        whole.iterate()
        cut.iterate()
    weights, state = (
        {name: value.clone() for name, value in kept.items()} for kept in (cut.model.state_dict(), cut.state())
    )
    facts = cut.facts()
    cut.iterate()  # what it does afterwards is lost
    resumed = learner("dual", threads=2)
    resumed.iterate()
    resumed.restore(weights, state, facts)
    for _ in range(3):
        assert resumed.iterate() == whole.iterate()
    assert same(resumed, whole) == []


def test_nothing_is_walked_beyond_the_last_iteration(learner):
    built = learner("dual", threads=2, iterations=2)
    walked = []
    step = built.env.step
    built.env.step = lambda action: walked.append(1) or step(action)
    built.iterate()
    built.iterate()
    assert len(walked) == 2 * built.config.ppo.n_steps


def test_what_fails_beside_the_walk_is_not_lost(learner, monkeypatch):
    built = learner("dual", threads=2)
    built.iterate()
    with torch.no_grad():
        built.model.value_head.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="iteration 2"):
        built.iterate()
    broken = learner("dual", threads=2)
    monkeypatch.setattr("clstm_core.ppo.update.select_rows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken.iterate()
