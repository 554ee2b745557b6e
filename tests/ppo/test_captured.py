"""A recorded iteration is the one that it was recorded from, to the bit: whatever changes between calls is seen."""

import pytest
import torch

from clstm_core.config import EnvConfig, MarketConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.env import generated_view
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.native import build
from clstm_core.ppo import captured
from clstm_core.ppo import learner as learner_module
from clstm_core.ppo import rollout as rollout_module
from clstm_core.ppo import update as update_module
from clstm_core.ppo.captured import Captured
from clstm_core.ppo.learner import Learner
from tests.ppo.tape import tape

KINDS = {
    "tables": {},
    "generated": {},
    "single trunk": {"dual_trunk": False},
    "no attention": {"use_attention": False},
}
RECORDED = "CUDA graphs: walk recorded, update recorded"
ITERATIONS = 4  # as it stands, recorded, and twice replayed


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Torch operations alone, an iteration's numbers on the device, shapes that no number decides, and the tape."""
    monkeypatch.setattr(build, "load", lambda _: None)
    monkeypatch.setattr(build, "why_not", lambda _: "left out")
    monkeypatch.setattr(captured, "cuda_graph", tape)
    monkeypatch.setattr(rollout_module, "_seams", rollout_module._every_step)
    monkeypatch.setattr(generated_view, "at_once", lambda _: True)
    for module in (learner_module, update_module):
        monkeypatch.setattr(module, "of_iteration", lambda number, _: torch.full((), number))


@pytest.fixture(scope="module")
def market():
    return simulated_market(MarketConfig(source="simulated", n_snapshots=220), embargo=10)


def learner_of(kind, market, device="cpu"):
    ppo = {"n_envs": 4, "n_steps": 4, "bptt_steps": 2, "batch_size": 8, "policy_epochs": 2, "extra_critic_epochs": 1}
    config = RunConfig(
        timesteps=ITERATIONS * 16,
        device="cpu",
        env=EnvConfig(horizon=8),
        model=ModelConfig(hidden_dim=16, n_heads=2, attention_window=4, **KINDS[kind]),
        ppo=PPOConfig(**ppo, target_kl=0.01, evaluate_every=2),
    )
    trained_in, window = (simulated_world(n_steps=60), None) if kind == "generated" else (market, (100, 180))
    env = OptionsEnv(trained_in, config.env, n_envs=4, window=window, device=device)
    return Learner(config, env, OptionsEnv(market, config.env, n_envs=2, window=(180, 220), device=device), threads=1)


def learners(kind, market, monkeypatch, device="cpu"):
    """The same learner twice, one that is recorded and one that is not."""
    made = []
    for recorded in (True, False):
        monkeypatch.setattr(learner_module, "wanted", lambda _, recorded=recorded: recorded)
        made.append(learner_of(kind, market, device))
        assert (made[-1]._graphs is not None) == recorded
    return made


def different(one, other):
    """Names of all that is not equal: weights, moments, where envs and randomness stand."""
    ours, theirs = ({**each.model.state_dict(), **each.state()} for each in (one, other))
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_and_plain_training_are_equal_to_the_bit(kind, market, monkeypatch, as_on_a_gpu):
    recorded, plain = learners(kind, market, monkeypatch)
    for _ in range(ITERATIONS):
        assert recorded.iterate() == plain.iterate()
        assert different(recorded, plain) == []
    assert recorded.launches == RECORDED


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_records_and_replays_training(kind, market, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    recorded, plain = learners(kind, market, monkeypatch, "cuda")
    for _ in range(ITERATIONS):
        row = recorded.iterate()
        assert row == pytest.approx(plain.iterate(), rel=1e-4, abs=1e-6)
    assert recorded.launches == RECORDED


def test_a_recorded_run_goes_on_from_a_checkpoint(market, monkeypatch, as_on_a_gpu):
    recorded, plain = learners("tables", market, monkeypatch)
    for _ in range(3):
        recorded.iterate()
        plain.iterate()
    monkeypatch.setattr(learner_module, "wanted", lambda _: True)
    for each in (recorded, plain):  # the one records anew, the other begins to
        each.restore(
            {name: value.clone() for name, value in plain.model.state_dict().items()}, plain.state(), plain.facts()
        )
        each.iterate()
    assert different(recorded, plain) == []


def test_what_cannot_be_recorded_is_said_and_trained_as_it_stands(market, monkeypatch, as_on_a_gpu):
    recorded, plain = learners("tables", market, monkeypatch)
    stepped = recorded.env.step

    def looks(action):
        assert int(action[0]) >= 0
        return stepped(action)

    monkeypatch.setattr(recorded.env, "step", looks)
    with pytest.warns(UserWarning, match="could not be recorded and runs slower: .*waits for the device"):
        rows = [recorded.iterate() for _ in range(ITERATIONS)]
    assert rows == [plain.iterate() for _ in range(ITERATIONS)]
    assert different(recorded, plain) == []
    assert recorded.launches.startswith("CUDA graphs: walk not recorded: aten")
    assert recorded.launches.endswith("update recorded")


def test_a_learning_rate_that_is_a_plain_number_would_be_noticed(market, monkeypatch, as_on_a_gpu):
    monkeypatch.setattr(update_module, "of_iteration", lambda number, _: number)
    recorded, plain = learners("tables", market, monkeypatch)
    for _ in range(ITERATIONS):
        recorded.iterate()
        plain.iterate()
    assert different(recorded, plain) != []


def test_a_number_of_pythons_is_in_a_recording_for_good(as_on_a_gpu):
    """What the test of equal training would notice."""
    count = iter(range(10))
    given = torch.ones(3)
    plain, recorded = (lambda x: x * next(count)), Captured(lambda x: x * next(count))
    assert [plain(given).sum().item() for _ in range(4)] == [0, 3, 6, 9]
    assert [recorded(given * n).sum().item() for n in range(1, 5)] == [12, 30, 45, 60]


def test_arguments_are_read_anew_and_changes_in_place_stay(as_on_a_gpu):
    total, generator = torch.zeros(2), torch.Generator().manual_seed(0)

    def add(x, more):
        drawn = torch.rand(2, generator=generator)
        total.add_(x).add_(more[0])
        return drawn, (total * 2, None)

    recorded, draws = Captured(add, [generator]), []
    for n in range(4):
        drawn, (twice, _) = recorded(torch.full((2,), float(n)), (torch.ones(2), None))
        draws.append(drawn.clone())
        assert torch.equal(twice, 2 * total)
    assert torch.equal(total, torch.full((2,), 0.0 + 1 + 2 + 3 + 4))
    again = torch.Generator().manual_seed(0)
    assert all(torch.equal(drawn, torch.rand(2, generator=again)) for drawn in draws)


def test_a_profile_has_every_operation_launched_anew(market, monkeypatch, as_on_a_gpu):
    recorded, plain = learners("no attention", market, monkeypatch)
    assert recorded.launches == "CUDA graphs: walk not recorded yet, update not recorded yet"
    for iteration in range(ITERATIONS):
        if iteration == 2:
            recorded.launch_anew()
        assert recorded.iterate() == plain.iterate()
    assert recorded.launches == plain.launches == "every operation launched anew"


def test_graphs_are_for_gpus_and_can_be_left_out(monkeypatch):
    assert not captured.wanted(torch.device("cpu"))
    assert captured.wanted(torch.device("cuda"))
    monkeypatch.setenv(captured.OFF, "1")
    assert not captured.wanted(torch.device("cuda"))
