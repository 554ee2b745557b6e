"""One process, or several that train one policy: each trades its share of the envs, and gradients are averaged.

Where a process trains alone, as `ALONE`, every method gives back what it was given.

What several say to each other goes through one group, from one thread of each, in the order in which the learner's code
comes to it. Which calls it comes to depends on the configuration, on the iteration and on numbers that all of them
share, so that no call can meet another one.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch

from clstm_core.config import PPOConfig
from clstm_core.errors import ConfigError, TrainingError

Value = TypeVar("Value")

SIZE = "WORLD_SIZE"
"""Of the environment that `torchrun` starts its processes in: how many there are."""

LONGEST_WAIT = timedelta(minutes=20)
"""For another process that answers no more although it is there; one that ended is noticed at once."""

LAUNCHER_WAIT = timedelta(seconds=20)
"""For the store of `torchrun`, which is there before its processes are: without it, it was killed meanwhile. Processes
that went on looking for it would meet those of the next one at its address."""


class Ranks:
    """A process that trains alone."""

    rank, size = 0, 1
    here = 1  # processes on this machine

    @property
    def writes(self) -> bool:
        """Whether this process writes the run's folder: one of all does."""
        return self.rank == 0

    def share(self, ppo: PPOConfig) -> PPOConfig:
        """The settings of one process: its part of the envs and of each minibatch.

        Raises: ConfigError where they cannot be shared out evenly
        """
        k = self.size
        if ppo.n_envs % k:
            raise ConfigError(
                f"{k} processes cannot share n_envs={ppo.n_envs} evenly: expected a multiple of {k}. Use e.g. "
                f"--n-envs {-(-ppo.n_envs // k) * k}, or another number of processes."
            )
        if ppo.sequences_per_minibatch % k:
            raise ConfigError(
                f"{k} processes cannot share batch_size={ppo.batch_size} evenly: it has {ppo.sequences_per_minibatch} "
                f"sequences of bptt_steps={ppo.bptt_steps}, expected a multiple of {k}. Use a batch_size that is a "
                f"multiple of {k * ppo.bptt_steps}, or another number of processes."
            )
        return ppo if k == 1 else dataclasses.replace(ppo, n_envs=ppo.n_envs // k, batch_size=ppo.batch_size // k)

    def exponential(self, shape: torch.Size, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        """Noise [T, N, A] of this process's envs, cut from what one process would draw for the envs of all."""
        steps, n_envs, n_actions = shape
        noise = torch.empty(steps, n_envs * self.size, n_actions, device=device).exponential_(generator=generator)
        return noise[:, n_envs * self.rank : n_envs * (self.rank + 1)]

    def permutation(self, total: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        """This process's shuffle of 0 .. total - 1; every process draws all of them, so that generators stay alike."""
        drawn = [torch.randperm(total, generator=generator, device=device) for _ in range(self.size)]
        return drawn[self.rank]

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Sum over the processes."""
        return value

    def weighted(self, means: Sequence[torch.Tensor], weight: torch.Tensor) -> Sequence[torch.Tensor]:
        """Means that were taken with `weight`, made such that their average over the processes is the mean over all.

        m_r = m_r K w_r / (w_1 + .. + w_K),  w_r = sum of the weight in process r
        """
        return means

    def mean(self, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Scalars averaged over the processes."""
        return values

    def mean_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Average the gradients over the processes, in place."""

    def columns(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Tensors [..., N] of the same shape with the envs of all processes [..., N K], in the order of the envs."""
        return values

    def most(self, number: float) -> float:
        """The largest of the processes' numbers."""
        return number

    def first(self, work: Callable[[], Value]) -> Value:
        """What the first process, which alone does it, finds."""
        return work()

    def kept(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """For the first process: the tensors of the others, under the names that `own` looks for."""
        return {}

    def own(self, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """What a checkpoint holds, with this process's tensors under the plain names."""
        prefix = f"rank{self.rank}."
        return {**tensors, **{k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}}


ALONE = Ranks()


class Several(Ranks):
    """One of several processes, whose group has been joined; TrainingError where another one is gone."""

    def __init__(self) -> None:
        import torch.distributed as group

        self._group = group
        self.rank, self.size = group.get_rank(), group.get_world_size()
        self.here = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def total(self, value: torch.Tensor) -> torch.Tensor:
        summed = value.clone()
        with self._together():
            self._group.all_reduce(summed)
        return summed

    def weighted(self, means: Sequence[torch.Tensor], weight: torch.Tensor) -> Sequence[torch.Tensor]:
        mine = weight.sum().to(means[0].dtype)
        share = self.size * mine / self.total(mine).clamp_min(torch.finfo(mine.dtype).tiny)
        return [mean * share for mean in means]

    def mean(self, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        whole = self.total(torch.stack([value.detach() for value in values.values()])) / self.size
        return dict(zip(values, whole.unbind(), strict=True))

    def mean_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        whole = self.total(torch.cat([gradient.flatten() for gradient in gradients])) / self.size
        for gradient, part in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def columns(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mine = torch.stack([value.to(torch.float32) for value in values])
        parts = [torch.empty_like(mine) for _ in range(self.size)]
        with self._together():
            self._group.all_gather(parts, mine)
        whole = torch.cat(parts, dim=-1)
        return tuple(part.to(value.dtype) for part, value in zip(whole, values, strict=True))

    def most(self, number: float) -> float:
        largest = torch.tensor(float(number), dtype=torch.float64)
        with self._together():
            self._group.all_reduce(largest, op=self._group.ReduceOp.MAX)
        return largest.item()

    def first(self, work: Callable[[], Value]) -> Value:
        found: list[Any] = [work() if self.writes else None]
        with self._together():
            self._group.broadcast_object_list(found, device=torch.device("cpu"))
        return found[0]

    def kept(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        mine = {name: value.detach().cpu() for name, value in tensors.items()}
        everyone: list[Any] | None = [None] * self.size if self.writes else None
        with self._together():
            self._group.gather_object(mine, everyone)
        others = enumerate((everyone or [])[1:], start=1)
        return {f"rank{rank}.{name}": value for rank, theirs in others for name, value in theirs.items()}

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise TrainingError(
                f"process {self.rank + 1} of {self.size} has lost another one, which ended before the run did (its own "
                "words are above, where it had any). Nothing that was saved is lost: run the same command again."
            ) from error


REMEDY = f"Start it with torchrun, which sets all of them; to train in one process, unset {SIZE}."


def _number(name: str, usual: str = "") -> int:
    """A whole number of the environment, where an empty one is none; ConfigError for what is no number."""
    said = os.environ.get(name) or usual
    try:
        return int(said)
    except ValueError:
        raise ConfigError(f"{name}={said!r} in the environment: expected a whole number. {REMEDY}") from None


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """This process among those that `torchrun` started, for as long as the body runs; alone where it started none.

    A process computes on the GPU with its number on this machine, where it uses one.

    Raises: ConfigError where the environment says half of it, TrainingError where the others are not found
    """
    size = _number(SIZE, "1")
    if size == 1:
        yield ALONE
        return
    rank, local = _number("RANK"), _number("LOCAL_RANK", "0")
    if not 0 <= rank < size or local < 0:
        raise ConfigError(
            f"RANK={rank}, LOCAL_RANK={local}: expected 0 or more, and RANK below {SIZE}={size}. {REMEDY}"
        )
    import torch.distributed as group

    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(local % gpus)
    wait = LAUNCHER_WAIT if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True) else LONGEST_WAIT
    try:
        store, _, _ = next(group.rendezvous("env://", timeout=wait))
    except ValueError as error:
        raise ConfigError(f"{SIZE}={size}, and the others cannot be looked for: {error}. {REMEDY}") from error
    except RuntimeError as error:
        found = str(error).splitlines()[0]
        raise TrainingError(f"process {rank + 1} of {size} found no other one: {found}. {REMEDY}") from error
    store.set_timeout(LONGEST_WAIT)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # addresses of an earlier one lead nowhere
    store = group.PrefixStore(f"attempt {attempt}", store)
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    group.init_process_group(backend, timeout=LONGEST_WAIT, store=store, rank=rank, world_size=size)
    yield Several()
    group.destroy_process_group()
