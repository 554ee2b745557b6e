"""`python -m tools.bench.count`: kernels of one iteration of the published command, and what a GPU would make of them.

Counted on torch's meta device, on any machine, in a minute or two: each operation that is not a view is taken for one
kernel. The table is counted; below it stands a projection, of which nothing was measured on a GPU.
"""

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence

import torch

from clstm_core.config import RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.model.lstm import LSTM
from clstm_core.train.envs import make_envs
from tools.bench.gpu import published
from tools.bench.operations import META, Operation, Recorder, as_on_a_gpu, meta_learner, parted
from tools.bench.project import ENV_STEP, LSTMStep, Part, projection

PLACES = {
    ENV_STEP: ("walk", "env step"),
    "actor step": ("walk", "actor"),
    "rest of a walk's step": ("walk",),
    "value pass of a chunk": ("walk", "value"),
    "joint minibatch, actor": ("update",),
    "joint minibatch, critic": ("update", "fit_critic"),
    "critic minibatch": ("update", "extra_epochs"),
}
"""Parts of an iteration by the first names of what is inside them; what is of none is the rest."""
REST = "rest of an iteration"


def counted(config: RunConfig, env: OptionsEnv) -> tuple[list[Part], Part]:
    """The parts of an iteration after the first, in order; and of all of them the optimizers' steps.

    Assumes: env reads tables, and is of no more use on its own device afterwards
    """
    recorder = Recorder()
    with as_on_a_gpu():
        learner = meta_learner(config, env)
        with parted(recorder, learner), recorder:
            learner.iterate()
            recorder.operations.clear()
            learner.iterate()
    ppo = config.ppo
    joint = ppo.policy_epochs * ppo.samples_per_iteration // ppo.batch_size
    critic = ppo.extra_critic_epochs * ppo.samples_per_iteration // ppo.batch_size
    steps, chunks = ppo.n_steps, ppo.n_steps // ppo.bptt_steps
    times = dict(zip(PLACES, (steps, steps, steps, chunks, joint, joint, critic), strict=True)) | {REST: 1}
    found: dict[str, list[Operation]] = {name: [] for name in times}
    for operation in recorder.operations:
        found[_place(operation)].append(operation)
    parts = [_part(name, times[name], operations) for name, operations in found.items() if operations]
    descending = [operation for operation in recorder.operations if "descend" in operation.parts]
    return parts, _part("of these: an optimizer's step", 2 * joint + critic, descending)


def lstm_step(config: RunConfig) -> LSTMStep:
    """By the difference that one more step makes to a layer."""
    ppo, sizes = config.ppo, config.model
    counts = []
    for steps in (2, 3):
        layer = LSTM(sizes.hidden_dim, sizes.hidden_dim, 2).to(META)
        x, state = (torch.zeros(*shape, sizes.hidden_dim, device=META) for shape in ((steps, 4), (4,)))
        start = torch.zeros(steps, 4, dtype=torch.bool, device=META)
        with Recorder() as recorder:
            total = layer.unroll(x, start, state, state)[0].sum()
            forward = sum(operation.kernel for operation in recorder.operations)
            total.backward()
        counts.append((forward, sum(operation.kernel for operation in recorder.operations) - forward))
    (forward, backward), (forward_more, backward_more) = counts
    passes = (2 * ppo.policy_epochs + ppo.extra_critic_epochs) * ppo.samples_per_iteration // ppo.batch_size
    learnt = passes * ppo.bptt_steps
    return LSTMStep(forward_more - forward, backward_more - backward, learnt + ppo.n_steps, learnt)


def compiled_kernels(env: OptionsEnv) -> int | None:
    """Kernels of the env's step that torch's compiler makes for this CPU; None where it cannot be compiled here."""
    from torch._inductor import metrics

    before = metrics.generated_kernel_count
    env.compile()
    env.step(torch.zeros(env.n_envs, dtype=torch.int64))
    made = metrics.generated_kernel_count - before
    return made or None


def table(parts: Sequence[Part], descend: Part, lstm: LSTMStep, compiled: int | None) -> list[str]:
    """Markdown rows."""
    rows = ["| part | kernels each | times an iteration | kernels | GFLOP | GB moved |", "|---|---|---|---|---|---|"]
    for part in (*parts, descend):
        rows.append(_row(part.name, part.kernels / part.times, part.times, part.flops, part.bytes))
        if part.name == ENV_STEP and compiled is not None:
            rows.append(_row("(env step, compiled for this CPU)", compiled, part.times))
    return [
        *rows,
        _row("of these: LSTM step forward", lstm.forward, lstm.forward_steps),
        _row("of these: LSTM step backward", lstm.backward, lstm.backward_steps),
    ]


def _row(name: str, each: float, times: int, flops: int = 0, moved: int = 0) -> str:
    sums = f"{flops / 1e9:8,.1f} | {moved / 1e9:7,.2f}" if moved else f"{'':8} | {'':7}"
    return f"| {name:33} | {each:7,.1f} | {times:5,} | {each * times:9,.0f} | {sums} |"


def _place(operation: Operation) -> str:
    if "draw" in operation.parts:
        return REST
    at = {place: name for name, place in PLACES.items()}
    return at.get(operation.parts[:2]) or at.get(operation.parts[:1]) or REST


def _part(name: str, times: int, operations: Sequence[Operation]) -> Part:
    kernels = [operation for operation in operations if operation.kernel]
    return Part(name, times, Counter(o.moved for o in kernels), sum(o.flops for o in kernels))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.count", description=__doc__)
    parser.add_argument("--bptt-steps", type=int, default=16)
    parser.add_argument("--shrink", type=int, default=1, help="divide envs, minibatch and width; a dry run")
    parser.add_argument("--no-compile", action="store_true", help="do not count the compiled env, which takes 20 s")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    full = published(options.bptt_steps, device="cpu", shrink=options.shrink)
    config = dataclasses.replace(
        full,
        compile_env="off",
        market=dataclasses.replace(full.market, n_snapshots=500),
        ppo=dataclasses.replace(full.ppo, evaluate_every=10**6),
    )
    env, _ = make_envs(config, None)
    assert isinstance(env, OptionsEnv)
    compiled = None if options.no_compile else compiled_kernels(OptionsEnv(env.market, config.env, n_envs=64))
    (parts, descend), lstm = counted(config, env), lstm_step(config)
    samples = config.ppo.samples_per_iteration
    size = f"{config.ppo.n_envs:,} envs x {config.ppo.n_steps} steps, BPTT {config.ppo.bptt_steps}"
    print(f"{size}, hidden {config.model.hidden_dim}: counted, one kernel for each operation that is not a view\n")
    print("\n".join((*table(parts, descend, lstm, compiled), "", *projection(parts, lstm, compiled, samples))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
