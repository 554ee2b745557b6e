"""Everything that learns, in one place: policy, optimizers, randomness, and where the env stands."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from clstm_core.config import RunConfig
from clstm_core.env.protocol import BatchedEnv, observation_scaler
from clstm_core.errors import CheckpointError, ConfigError, NonFiniteError
from clstm_core.model.clstm import CLSTM, RecurrentState
from clstm_core.model.engine import FLOAT32, chosen, no_kernel, resumed, use_kernels
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.advantages import generalised_advantages, monte_carlo_returns, normalise
from clstm_core.ppo.beside import helper, usable_cores
from clstm_core.ppo.captured import Captured, copied, wanted
from clstm_core.ppo.diagnostics import explained_variance, fetch, policy_kl, seen_diagnostics, value_diagnostics
from clstm_core.ppo.fine_tune import Anchor
from clstm_core.ppo.metrics import METRICS, measured
from clstm_core.ppo.ranks import ALONE, Ranks
from clstm_core.ppo.rollout import Carry, begin, collect, value_chunk, valued, walk
from clstm_core.ppo.schedule import adapted, annealed, linear
from clstm_core.ppo.storage import Rollout, Sequences, cut, sequences
from clstm_core.ppo.update import MinibatchValues, make_optimizers, of_iteration, update
from clstm_core.ppo.warmup import WarmupResult, warm_critic

HELDOUT = [metric.name for metric in METRICS if metric.name.startswith("heldout_")]
"""Metrics of some iterations only."""

SAID = ("reward", "value", "next_value", "terminated", "truncated", "episode_reward", "episode_length")
"""What of a rollout is diagnosed."""


class _Walked(NamedTuple):
    """A rollout that was walked from the learner's carry on, perhaps while the critic still learned from the last."""

    after: Carry  # where the walk stopped
    values: Callable[[], TrunkState]  # waits for the critic's pass over it; the critic's state at its end
    place: dict[str, torch.Tensor]  # env and randomness as they stood before it


class _Learnt(NamedTuple):
    """An update whose actor's part is done."""

    data: Sequences
    values: Callable[[], MinibatchValues]  # waits for the critic's part
    seen: dict[str, torch.Tensor]  # diagnostics of the rollout


class _Graphs(NamedTuple):
    """The two halves of an iteration, recorded."""

    walk: Captured[tuple[Carry, Any]]
    learn: Captured[_Learnt]


class Learner:
    """A policy in training; `iterate` advances it by one rollout.

    Actor and critic are fitted side by side, and the critic's extra epochs go beside the actor's next walk, of which
    they need nothing: on a CPU with a core for each, by two threads, to the same bits as one after the other. On a GPU
    walk and update are a CUDA graph each (`captured`), replayed one after the other.

    Args:
        threads: 1 or 2; None: two where there are two cores and no other process trains the same policy
        ranks: the processes that do; `env` is this one's share, and its figures are those of all

    Assumes: all randomness flows from `config.seed`, through one generator and (for the weights) torch's own, which is
             seeded here: two runs of one config on one device are equal
    """

    def __init__(
        self,
        config: RunConfig,
        env: BatchedEnv,
        heldout_env: BatchedEnv | None = None,
        *,
        threads: int | None = None,
        ranks: Ranks = ALONE,
    ):
        self.ranks, self.ppo = ranks, ranks.share(config.ppo)
        if env.n_envs != self.ppo.n_envs:
            raise ConfigError(
                f"the env has {env.n_envs} envs, the configuration n_envs={self.ppo.n_envs}: expected the same. "
                "Build the env with config.ppo.n_envs."
            )
        self.config, self.env, self.heldout_env = config, env, heldout_env
        self.device = env.device
        torch.manual_seed(config.seed)
        mean, std = observation_scaler(env)
        model = CLSTM(env.observation_size, env.n_actions, config.model, mean.cpu(), std.cpu())
        self.model = model.to(self.device)
        rows = self.ppo.sequences_per_minibatch
        self.precision = ranks.first(lambda: chosen(config.precision, config.model.hidden_dim, self.device, rows))
        self.engine = use_kernels(self.model, self.precision)
        self.optimizers = make_optimizers(self.model, config.ppo)
        self.generator = torch.Generator(device=self.device).manual_seed(config.seed)
        self.rollout = self._allocate(env)
        self.heldout_rollout = None if heldout_env is None else self._allocate(heldout_env)
        self.carry = begin(self.model, env)
        self._ahead: _Walked | None = None
        beside = self.device.type == "cpu" and ranks.size == 1  # processes agree by what one thread comes to in order
        self.anchor: Anchor | None = None  # a champion that the policy is held near; set before the first iteration
        self._helper = helper(threads or (min(2, usable_cores()) if beside else 1))
        self._graphs = self._to_be_recorded()
        self.iteration = 0
        self.lr_scale = 1.0
        self.entropy_at_start: float | None = None

    @property
    def env_steps(self) -> int:
        """Env steps learnt from so far; the warmup's are not counted."""
        return self.iteration * self.config.ppo.samples_per_iteration

    @property
    def progress(self) -> float:
        """Share of the run's iterations that are done."""
        return self.iteration / self.config.n_iterations

    def warm_up(self, *, encoder: bool = True) -> WarmupResult:
        """Fit the critic before PPO begins, and the encoder lightly with it where it may move."""
        result = warm_critic(
            self.model,
            self.env,
            self.ppo,
            carry=self.carry,
            generator=self.generator,
            ranks=self.ranks,
            encoder=encoder,
        )
        self.carry = result.carry
        return result

    def iterate(self, crash_dir: Path | None = None) -> dict[str, float | None]:
        """One rollout, one update; the iteration's diagnostics, None where something was not measured.

        Raises: NonFiniteError when a loss or gradient is; the offending minibatch lies in `crash_dir` then
        """
        ppo, ranks, progress = self.ppo, self.ranks, self.progress
        actor_lr = annealed(ppo.actor_lr, ppo.actor_lr_floor, progress) * self.lr_scale
        critic_lr = annealed(ppo.critic_lr, ppo.critic_lr_floor, progress)
        entropy_coef = linear(ppo.entropy_start, ppo.entropy_end, progress)
        self.optimizers.set_lr(actor_lr, critic_lr)

        before, rollout = self.carry, self.rollout
        walked = self._ahead or self._walk()
        self._ahead = None
        self.carry = valued(self.model, walked.after, walked.values())
        learn = self._learn if self._recorded is None else self._recorded.learn
        data, learnt, seen = learn(of_iteration(entropy_coef, self.device))
        seen = dict(seen)
        last = self.iteration + 1 == self.config.n_iterations
        look = self.iteration % ppo.evaluate_every == 0 or last
        if look:
            seen["full_unroll_kl"] = policy_kl(self.model, rollout, before.state.actor, ranks)
        if not last:  # from here on the rollout's buffers hold the next one
            self._ahead = self._walk()
        learnt_from = learnt()
        values = ranks.mean(learnt_from.means()) | seen
        if look and self.heldout_env is not None:
            values |= self._heldout_diagnostics()
        row = fetch(values | {"bad": learnt_from.bad()})
        bad = int(ranks.most(row.pop("bad") or 0))
        if bad != -1:
            self._abort(bad, learnt_from, data, crash_dir)

        self.iteration += 1
        self.lr_scale = adapted(self.lr_scale, row["approx_kl"] or 0.0, ppo.target_kl)
        if self.entropy_at_start is None:
            self.entropy_at_start = row["entropy"] or math.inf
        return (
            dict.fromkeys(HELDOUT)
            | row
            | {
                "entropy_pct": 100 * (row["entropy"] or 0.0) / self.entropy_at_start,
                "actor_lr": actor_lr,
                "critic_lr": critic_lr,
                "entropy_coef": entropy_coef,
                "full_unroll_kl": row.get("full_unroll_kl"),
                "champion_kl": None if self.anchor is None else self.anchor.walked.kl(self.model),
            }
        )

    @contextmanager
    def in_precision(self, precision: str) -> Iterator[None]:
        """The policy computes in this precision meanwhile."""
        use_kernels(self.model, precision)
        try:
            yield
        finally:
            use_kernels(self.model, self.precision)

    def state(self) -> dict[str, torch.Tensor]:
        """Every tensor besides the weights that a bit-identical continuation needs; of all processes, for the first."""
        tensors: dict[str, torch.Tensor] = {}
        for name in ("actor", "critic"):
            for index, moments in getattr(self.optimizers, name).state_dict()["state"].items():
                tensors |= {f"{name}_optimizer.{index}.{key}": value for key, value in moments.items()}
        own = {f"carry.{name}": value for name, value in self.carry._asdict().items() if name != "state"}
        own |= {f"recurrent.{name}": value for name, value in self.carry.state._asdict().items()}
        own |= self._place() if self._ahead is None else self._ahead.place
        if self.heldout_env is not None:
            own |= {f"heldout.{name}": value for name, value in self.heldout_env.state_dict().items()}
        if self.anchor is not None:
            own |= {f"anchor.{name}": value for name, value in self.anchor.state._asdict().items()}
        return tensors | own | self.ranks.kept(own)

    def _place(self) -> dict[str, torch.Tensor]:
        """Where env and randomness stand, as copies."""
        tensors = {f"env.{name}": value for name, value in self.env.state_dict().items()}
        tensors |= {"rng.generator": self.generator.get_state(), "rng.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors

    def _learn(self, entropy_coef: float | torch.Tensor) -> _Learnt:
        """Learn from the rollout; on return the actor's part is done, which is what the next walk waits for."""
        rollout, ppo, ranks = self.rollout, self.ppo, self.ranks
        diagnosed = self._helper.submit(self._diagnosed, rollout)
        advantage = self.advantages(rollout)
        data = sequences(rollout)
        values = update(
            self.model,
            self.optimizers,
            data,
            cut(normalise(advantage, rollout.free, ranks.total), ppo.bptt_steps),
            cut(advantage + rollout.value, ppo.bptt_steps),
            ppo,
            entropy_coef=entropy_coef,
            generator=self.generator,
            helper=self._helper,
            ranks=ranks,
            toward=None if self.anchor is None else self.anchor.along(rollout),
        )
        return _Learnt(data, values, diagnosed.result())

    def _to_be_recorded(self) -> _Graphs | None:
        """Both halves of an iteration for a device that replays them; None where every launch is made anew."""
        env: Any = self.env
        if not wanted(self.device) or self.ranks.size > 1 or not hasattr(env, "held"):
            return None

        def walk_on(carry: Carry, held: Any) -> tuple[Carry, Any]:
            env.hold(held)
            after, values = self._walk_from(carry)
            return valued(self.model, after, values()), env.held()

        def learn(entropy_coef: torch.Tensor) -> _Learnt:
            learnt = self._learn(entropy_coef)
            whole = learnt.values()
            return learnt._replace(values=lambda: whole)

        return _Graphs(Captured(walk_on, [self.generator]), Captured(learn, [self.generator]))

    @property
    def launches(self) -> str:
        """How an iteration reaches the device, in words."""
        if self._graphs is None:
            return "every operation launched anew"
        return f"CUDA graphs: walk {self._graphs.walk}, update {self._graphs.learn}"

    def launch_anew(self) -> None:
        """Launch every operation anew from here on, as a profile by phase needs it."""
        self._graphs = None

    @property
    def _recorded(self) -> _Graphs | None:
        return None if self.anchor is not None else self._graphs

    def _walk(self) -> _Walked:
        """Walk a rollout, from the carry and from where env and randomness stand."""
        place = self._place()
        if self._recorded is None:
            return _Walked(*self._walk_from(self.carry), place)
        env: Any = self.env
        after, held = copied(self._recorded.walk(self.carry, env.held()))  # the next walk writes over the recording's
        env.hold(held)
        return _Walked(after, lambda: self.model.critic_state(after.state), place)

    def _walk_from(self, carry: Carry) -> tuple[Carry, Callable[[], TrunkState]]:
        """Walk a rollout; the helper values each chunk of it when it is walked and what came before is learnt."""
        critic = [self.model.critic_state(carry.state)]
        pending: list[Future[None]] = []

        def value(chunk: int) -> None:
            critic.append(value_chunk(self.model, self.rollout, chunk, critic.pop()))

        def walked(chunk: int) -> None:
            pending.append(self._helper.submit(value, chunk))

        def values() -> TrunkState:
            for work in pending:
                work.result()
            return critic[0]

        after = walk(
            self.model, self.env, carry, self.rollout, generator=self.generator, walked=walked, ranks=self.ranks
        )
        return after, values

    def facts(self) -> dict[str, Any]:
        """The plain values that belong to `state`."""
        return {
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "lr_scale": self.lr_scale,
            "precision": self.precision,
            "entropy_at_start": self.entropy_at_start,
            "ranks": self.ranks.size,
        }

    def restore(
        self, weights: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Continue from `model.state_dict()`, `state()` and `facts()` as if nothing had happened in between.

        Raises: CheckpointError where another number of processes saved them
        """
        if (saved := facts.get("ranks", 1)) != self.ranks.size:
            raise CheckpointError(
                f"the checkpoint was saved by a training of {saved} process(es), found {self.ranks.size}: expected as "
                f"many. Start it with {_started_by(saved)}."
            )
        state, self._ahead = self.ranks.own(state), None
        self._graphs = self._to_be_recorded()  # the optimizers' moments will lie elsewhere
        kept, asked, hidden = facts.get("precision", FLOAT32), self.config.precision, self.config.model.hidden_dim
        self.precision = self.ranks.first(lambda: resumed(kept, asked, hidden, self.device))
        self.engine = use_kernels(self.model, self.precision)
        if self.precision != kept:
            self.engine += f", no longer {kept}: {no_kernel(hidden, self.device, half=True)}"
        self.model.load_state_dict(dict(weights))
        for name in ("actor", "critic"):
            optimizer = getattr(self.optimizers, name)
            moments: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in _under(state, f"{name}_optimizer").items():
                index, _, field = key.partition(".")
                moments.setdefault(int(index), {})[field] = value.clone()
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        self.env.load_state_dict(_on(_under(state, "env"), self.device))
        if self.heldout_env is not None and (heldout := _under(state, "heldout")):
            self.heldout_env.load_state_dict(_on(heldout, self.heldout_env.device))
        if self.anchor is not None and (anchored := _under(state, "anchor")):
            self.anchor.state = TrunkState(**_on(anchored, self.device))
        recurrent = RecurrentState(**_on(_under(state, "recurrent"), self.device))
        self.carry = Carry(**_on(_under(state, "carry"), self.device), state=recurrent)
        self.generator.set_state(state["rng.generator"].cpu())
        torch.set_rng_state(state["rng.cpu"].cpu())
        if "rng.cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng.cuda"].cpu(), self.device)
        self.iteration, self.lr_scale = int(facts["iteration"]), float(facts["lr_scale"])
        self.entropy_at_start = facts["entropy_at_start"]

    def _allocate(self, env: BatchedEnv) -> Rollout:
        """Buffers for this run's rollouts of an env; the learner's own are written over by every iteration."""
        ppo = self.ppo
        return Rollout.allocate(self.model, env, n_steps=ppo.n_steps, bptt_steps=ppo.bptt_steps)

    def advantages(self, rollout: Rollout) -> torch.Tensor:
        """What the policy is trained on [T, N]; the self-test asks for it too."""
        return generalised_advantages(
            rollout.reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
            gamma=self.config.ppo.gamma,
            gae_lambda=self.config.ppo.gae_lambda,
        )

    def _diagnosed(self, rollout: Rollout) -> dict[str, torch.Tensor]:
        """What a rollout says of env and critic, with the envs of all processes."""
        whole = zip(SAID, self.ranks.columns(*(getattr(rollout, name) for name in SAID)), strict=True)
        rollout, gamma = Rollout(**(rollout._asdict() | dict(whole))), self.ppo.gamma
        returns, weight = monte_carlo_returns(
            rollout.reward, rollout.next_value, rollout.terminated, rollout.truncated, gamma=gamma
        )
        return {
            **value_diagnostics(rollout.value, returns, weight),
            **measured(rollout),
            **seen_diagnostics(rollout, gamma),
        }

    def _heldout_diagnostics(self) -> dict[str, torch.Tensor]:
        """The critic on envs of held-out dates, walked from a reset with randomness of its own."""
        env, rollout = self.heldout_env, self.heldout_rollout
        assert env is not None
        assert rollout is not None
        generator = torch.Generator(device=env.device).manual_seed(self.config.seed + 1)
        collect(self.model, env, begin(self.model, env), rollout, generator=generator)
        returns, weight = monte_carlo_returns(
            rollout.reward, rollout.next_value, rollout.terminated, rollout.truncated, gamma=self.config.ppo.gamma
        )
        return {
            **seen_diagnostics(rollout, self.config.ppo.gamma, "heldout_"),
            "heldout_bootstrapped_explained_variance": explained_variance(rollout.value, returns, weight),
        }

    def _abort(self, minibatch: int, learnt: MinibatchValues, data: Sequences, crash_dir: Path | None) -> None:
        saved, whose = "it was not saved", f"_rank{self.ranks.rank}" if self.ranks.size > 1 else ""
        if crash_dir is not None:
            batch = data.select(learnt.indices[minibatch])
            tensors = {name: value for name, value in batch._asdict().items() if name != "state"}
            tensors |= {f"state.{name}": value for name, value in batch.state._asdict().items()}
            path = crash_dir / f"non_finite_{self.iteration + 1}{whose}.safetensors"
            facts = {"iteration": json.dumps(self.iteration + 1), "minibatch": json.dumps(minibatch)}
            try:
                save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, path, metadata=facts)
                saved = f"it is saved as {path.name}"
            except (OSError, SafetensorError) as error:  # what happened is to be said, also where the disk is full
                saved = f"{saved}: {error}"
        raise NonFiniteError(
            f"iteration {self.iteration + 1}, minibatch {minibatch}: a loss or gradient is not finite ({saved}). "
            "The last checkpoint is intact, but goes on to the same: begin another run, with lower learning rates or "
            "another reward scale."
        )


def _started_by(processes: int) -> str:
    launcher = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    return f"{launcher} -m clstm_core.train"


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}


def _on(tensors: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {key: value.to(device) for key, value in tensors.items()}
