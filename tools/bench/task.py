"""The work that every system is given, the systems, and how many multiply-adds that work takes."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

FEATURES, ACTIONS = 64, 8
"""Sizes of the toy env: an observation's length, and how many actions there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One iteration of recurrent PPO: a rollout of `n_envs` x `n_steps`, then one joint epoch over it."""

    hidden: int
    threads: int = 1
    n_envs: int = 64
    n_steps: int = 128
    batch_size: int = 4096  # samples of a minibatch
    bptt_steps: int = 16  # steps of a sequence, where a system cuts the rollout at all
    precision: str = "float32"  # of our LSTMs' products, as `RunConfig.precision`; the peers' are float32

    @property
    def env_steps(self) -> int:
        """Env steps of one iteration, over all envs."""
        return self.n_envs * self.n_steps


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """One trainer: `module.build(task)` makes a function that does one whole iteration."""

    name: str
    module: str
    trunks: int  # LSTMs of size `hidden`: one for the actor and one for the critic, or one for both
    package: str | None = None  # what has to be installed in the peers' environment

    @property
    def rival(self) -> str:
        """Our system with as many trunks, which this one is compared with."""
        return "ours" if self.trunks == 2 else "ours_single"

    @property
    def is_ours(self) -> bool:
        """Whether this is clstm_core's learner."""
        return self.name == self.rival

    def build(self, task: Task) -> Callable[[], object]:
        """A function that does one whole iteration of the task; ImportError where the peer is not installed."""
        return import_module(self.module).build(task, self)


SYSTEMS = {
    system.name: system
    for system in (
        System(name="ours", module="tools.bench.ours", trunks=2),
        System(name="sb3", module="tools.bench.peers.sb3", trunks=2, package="sb3_contrib"),
        System(name="rl_games", module="tools.bench.peers.rl_games", trunks=2, package="rl_games"),
        System(name="rl_games_no_resets", module="tools.bench.peers.rl_games", trunks=2, package="rl_games"),
        System(name="ours_single", module="tools.bench.ours", trunks=1),
        System(name="cleanrl_style", module="tools.bench.peers.cleanrl_style", trunks=1),
        System(name="puffer_style", module="tools.bench.peers.puffer_style", trunks=1),
    )
}


def multiply_adds(hidden: int, trunks: int) -> int:
    """Multiply-adds of LSTMs and heads that one env step asks for, whoever does it.

        trunk = 4 H (F + H);   heads = H (A + 1)
        per env step = (1 forward in the rollout + 3 for forward and backward in the update) (trunks x trunk + heads)

    The critic's forward counts as part of the rollout, wherever a system does it. Work that a system adds of its own
    accord (padding, a second value pass, a look one step ahead) is not credited. One multiply-add is two FLOPs.
    """
    return 4 * (trunks * 4 * hidden * (FEATURES + hidden) + hidden * (ACTIONS + 1))


def gflops(steps_per_second: float, hidden: int, trunks: int) -> float:
    """GFLOP/s that a rate of env steps amounts to."""
    return 2e-9 * multiply_adds(hidden, trunks) * steps_per_second
