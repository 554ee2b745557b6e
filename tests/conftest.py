"""Toy environments of the batched protocol, and the device to test on."""

import dataclasses
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # before its import: tables of tests are too small to be shared out

import pytest
import torch

from clstm_core.config import RECIPES, EnvConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.env.protocol import EnvStep

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:  # `tools` and `tests.saved` are imported from the checkout
    sys.path.insert(0, ROOT)


CHAINS = ("finished", "finished_validated", "finished_in_worlds", "walked", "begun")
"""Fixtures of a whole session that take a minute or so, the dearest first: each is made by one worker."""


LONG = tuple(
    f"tests/{name}.py"
    for name in (
        *("audit/test_planted_leaks", "audit/test_planted_market_leaks", "reports/test_every_page"),
        *("audit/test_training_worlds", "reports/test_browser", "evaluation/test_forged_books", "audit/test_audit"),
        *("sweeps/test_sweep", "feedback/test_retrain", "audit/test_kept_tables", "walk_forward/test_no_look_ahead"),
        *("train/test_apart", "train/test_kills", "shadow/test_accounts", "env/test_compiled"),
    )
)
"""Files of a minute or more."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """What `--dist loadgroup` keeps on one worker: the tests of one chain, and else those of one file.

    Chains and long files come first, so that no worker begins a long one while the other has nothing left to do.
    """
    order = (*CHAINS, *LONG)
    for item in items:
        chain = next((name for name in CHAINS if name in item.fixturenames), None)
        item.add_marker(pytest.mark.xdist_group(chain or item.path.relative_to(ROOT).as_posix()))
    items.sort(key=lambda item: order.index(group_of(item)) if group_of(item) in order else len(order))
    yield
    # a group that is not in the tests' names is none, and nothing else says so: both workers would make every chain
    if getattr(config.option, "loadgroup", False) and not all(item.nodeid.endswith(group_of(item)) for item in items):
        raise pytest.UsageError(
            f"pytest {pytest.__version__} keeps no groups of pytest-xdist: expected below 9.2. Run `make test`, which "
            "installs the one that pyproject.toml names."
        )


def group_of(item):
    return item.get_closest_marker("xdist_group").args[0]


class ToyEnv:
    """Auto-reset, staggered first episodes and a saved random stream; children say what is seen and earned."""

    observation_size = 1
    n_actions = 2
    staggered = True

    def __init__(self, n_envs: int, seed: int = 0, length: int = 10):
        self.n_envs, self.length, self.device = n_envs, length, torch.device("cpu")
        self.generator = torch.Generator().manual_seed(seed)
        self.clock = torch.zeros(n_envs, dtype=torch.long)
        self.total = torch.zeros(n_envs, dtype=torch.long)

    def reset(self):
        self.clock = torch.arange(self.n_envs) % (self.length if self.staggered else 1)
        self.total = torch.zeros(self.n_envs, dtype=torch.long)
        self.restart(torch.ones(self.n_envs, dtype=torch.bool))
        return self.observe(), self.mask()

    def step(self, action):
        reward, terminated = self.act(action)
        self.clock, self.total = self.clock + 1, self.total + 1
        truncated = (self.clock >= self.length) & ~terminated
        final = self.observe()
        done = terminated | truncated
        self.clock = torch.where(done, 0, self.clock)
        self.restart(done)
        return EnvStep(self.observe(), reward, terminated, truncated, final, self.mask())

    def mask(self):
        return None

    def restart(self, where):
        pass

    def uniform(self, *shape):
        return torch.rand(*shape, generator=self.generator)

    def fields(self):
        return ["clock", "total"]

    def state_dict(self):
        return {name: getattr(self, name).clone() for name in self.fields()} | {"rng": self.generator.get_state()}

    def load_state_dict(self, state):
        for name in self.fields():
            setattr(self, name, state[name].clone())
        self.generator.set_state(state["rng"])


class CountingEnv(ToyEnv):
    """Identifiable data: observation = (env, clock, total), reward = 10 x total + env; every third env terminates."""

    observation_size = 3

    def observe(self):
        return torch.stack((torch.arange(self.n_envs), self.clock, self.total), dim=1).float()

    def act(self, action):
        ends = (self.clock + 1 >= self.length) & (torch.arange(self.n_envs) % 3 == 0)
        return (10 * self.total + torch.arange(self.n_envs)).float(), ends


class RecallEnv(ToyEnv):
    """A cue shows at the first step alone; `length` - 1 steps later the action must repeat it. Before, one is legal.

    Observation = (cue, it is asked now); reward +1 for the right answer, -1 for the wrong one; then terminated.
    """

    observation_size = 2

    def __init__(self, n_envs, seed=0, length=10):
        super().__init__(n_envs, seed, length)
        self.cue = torch.zeros(n_envs)

    def fields(self):
        return ["clock", "total", "cue"]

    def restart(self, where):
        self.cue = torch.where(where, (self.uniform(self.n_envs) < 0.5).float() * 2 - 1, self.cue)

    def observe(self):
        asked = (self.clock == self.length - 1).float()
        return torch.stack((torch.where(self.clock == 0, self.cue, 0.0), asked), dim=1)

    def mask(self):
        mask = torch.ones(self.n_envs, 2, dtype=torch.bool)
        mask[:, 1] = self.clock == self.length - 1
        return mask

    def act(self, action):
        asked = self.clock == self.length - 1
        right = (action.float() * 2 - 1) == self.cue
        return torch.where(asked, right.float() * 2 - 1, 0.0), asked


class NoiseEnv(ToyEnv):
    """Random observations, a reward that follows the last one: something for a critic to learn, masks now and then."""

    observation_size = 4
    n_actions = 3

    def __init__(self, n_envs, seed=0, length=10):
        super().__init__(n_envs, seed, length)
        self.level, self.noise = torch.zeros(n_envs), torch.zeros(n_envs, 3)

    def fields(self):
        return ["clock", "total", "level", "noise"]

    def restart(self, where):
        self.level = torch.where(where, self.uniform(self.n_envs) * 2 - 1, self.level)
        self.noise = torch.where(where.unsqueeze(1), self.uniform(self.n_envs, 3), self.noise)

    def observe(self):
        return torch.cat((self.level.unsqueeze(1), self.noise), dim=1)

    def mask(self):
        mask = torch.ones(self.n_envs, 3, dtype=torch.bool)
        mask[:, 1:] = (self.noise[:, :1] < 0.8).expand(-1, 2)
        return mask

    def act(self, action):
        self.noise = self.uniform(self.n_envs, 3)
        return self.level + 0.1 * (action == 1).float(), torch.zeros(self.n_envs, dtype=torch.bool)


class BlindCartPole(ToyEnv):
    """CartPole-v1's dynamics; only cart position and pole angle are seen, velocities must be remembered.

    Reward 0.05 per step, so that returns are of the order 1 to 10.

    Source: Barto, Sutton & Anderson 1983, with Gym's constants and Euler steps of 0.02 s
    """

    observation_size = 2

    def __init__(self, n_envs, seed=0, length=500):
        super().__init__(n_envs, seed, length)
        self.body = torch.zeros(n_envs, 4)

    def fields(self):
        return ["clock", "total", "body"]

    def restart(self, where):
        self.body = torch.where(where.unsqueeze(1), self.uniform(self.n_envs, 4) * 0.1 - 0.05, self.body)

    def observe(self):
        return self.body[:, [0, 2]] * torch.tensor([1.0, 10.0])

    def act(self, action):
        x, x_dot, theta, theta_dot = self.body.unbind(1)
        force = action.float() * 20 - 10
        cos, sin = theta.cos(), theta.sin()
        push = (force + 0.05 * theta_dot.square() * sin) / 1.1
        theta_acc = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos.square() / 1.1))
        x_acc = push - 0.05 * theta_acc * cos / 1.1
        self.body = torch.stack(
            (x + 0.02 * x_dot, x_dot + 0.02 * x_acc, theta + 0.02 * theta_dot, theta_dot + 0.02 * theta_acc), dim=1
        )
        fell = (self.body[:, 0].abs() > 2.4) | (self.body[:, 2].abs() > 12 * 2 * math.pi / 360)
        return torch.full((self.n_envs,), 0.05), fell


@pytest.fixture
def toys():
    """The toy environments by name."""
    return SimpleNamespace(CountingEnv=CountingEnv, RecallEnv=RecallEnv, NoiseEnv=NoiseEnv, BlindCartPole=BlindCartPole)


@pytest.fixture
def tiny():
    """Builds a RunConfig of seconds; keywords go to the PPO's settings."""

    def build(*, iterations: int = 6, model: ModelConfig | None = None, seed: int = 0, **ppo) -> RunConfig:
        settings = {"n_envs": 8, "n_steps": 16, "batch_size": 32, "bptt_steps": 8, "extra_critic_epochs": 1}
        settings |= {"evaluate_every": 2, "checkpoint_every": 2, **ppo}
        return RunConfig(
            recipe="test",
            timesteps=iterations * settings["n_envs"] * settings["n_steps"],
            seed=seed,
            device="cpu",
            env=EnvConfig(),
            model=model or ModelConfig(hidden_dim=16, attention_window=4),
            ppo=PPOConfig(**settings),
        )

    return build


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Every device there is; CUDA is skipped where there is none."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device(request.param)


@pytest.fixture(scope="session")
def real_home(tmp_path_factory):
    """A data folder that all tests on real quotes share: a vendor's files are read once, whichever asks first."""
    from tests.shared import of_all_workers

    return of_all_workers(tmp_path_factory) / "real"


@pytest.fixture(scope="session")
def begun(tmp_path_factory):
    """A data folder in which a short run and one without an end in sight are begun, on one simulated market."""
    from clstm_core.artifacts.manifest import write_named_by_content
    from clstm_core.artifacts.manifests import RunInputs
    from clstm_core.artifacts.places import Places
    from clstm_core.market.build.simulated import simulated_market
    from clstm_core.market.tensors import write_market
    from clstm_core.train.envs import envs_of
    from clstm_core.train.loop import warm_start

    places = Places(tmp_path_factory.mktemp("begun") / "data")
    smoke = RECIPES["smoke"]()
    settings = dataclasses.replace(smoke.market, source="simulated", n_snapshots=260)
    market = simulated_market(settings, embargo=smoke.env.horizon + settings.feature_lookback)
    tensors = write_named_by_content(places.cache / "tensors", lambda place: write_market(market, place))
    for name, iterations in (("short", 12), ("long", 100_000)):
        steps = iterations * smoke.ppo.samples_per_iteration
        config = dataclasses.replace(smoke, device="cpu", compile_env="off", market=settings, timesteps=steps)
        inputs = RunInputs(
            run=name,
            config=config.to_dict(),
            config_sha256=config.sha256,
            git_commit="unknown",
            facts={"trained_on": "a simulated market"},
            parents={"training_tensors": tensors.identity},
        ).write(places.run(name).inputs)
        warm_start(config, envs_of(inputs, places)[0], run_dir=places.run(name).path)
    return places.root
