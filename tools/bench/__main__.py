"""`make bench`: our trainer beside its peers on a CPU; `--profile` and `--growth` look at ours alone."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from tools.bench import rows, table
from tools.bench.measure import PEERS_PYTHON, BenchError, Result, Worker, busy, compare, missing, rooflines, worker
from tools.bench.task import SYSTEMS, Task

DOCUMENT = Path("docs/performance.md")


def parser() -> argparse.ArgumentParser:
    """The flags."""
    out = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    out.add_argument("--threads", type=int, nargs="+", choices=(1, 2), default=[1], help="cores of each system")
    out.add_argument("--hidden", type=int, nargs="+", default=[64, 256], help="units of an LSTM")
    out.add_argument("--seconds", type=float, default=10.0, help="of each measurement, after two iterations")
    out.add_argument("--rounds", type=int, default=3, help="times that ours and each peer take turns")
    out.add_argument("--precision", choices=("float32", "bfloat16", "auto"), default="float32", help="of our products")
    out.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    out.add_argument("--peers-python", type=Path, default=PEERS_PYTHON, help="Python that has sb3-contrib and rl_games")
    out.add_argument("--out", type=Path, default=rows.FOLDER, help="folder of the JSON rows")
    out.add_argument("--append", action="store_true", help=f"add a section to {DOCUMENT}")
    out.add_argument("--profile", action="store_true", help="seconds by phase of one of our recipes instead")
    out.add_argument("--recipe", choices=("default_cpu", "seed_100m", "smoke"), default="default_cpu")
    out.add_argument("--iterations", type=int, default=5, help="of --profile")
    out.add_argument("--n-envs", type=int, help="of --profile, in place of the recipe's")
    out.add_argument("--growth", action="store_true", help="steps/s and memory of the options env instead")
    out.add_argument("--sizes", type=int, nargs="+", help="numbers of envs of --growth")
    out.add_argument("--snapshots", type=int, default=1500, help="sessions of the simulated market of either")
    return out


def compared(options: argparse.Namespace, measure: Worker) -> int:
    """Measure, print, write; the exit code: 1 where a system failed."""
    failed, doubt, systems = False, busy(), []
    for name in options.systems:
        if sentence := missing(SYSTEMS[name], options.peers_python):
            print(sentence, file=sys.stderr)
        else:
            systems.append(SYSTEMS[name])
    results: list[Result] = []
    roofs = {threads: rooflines(threads, measure) for threads in options.threads}
    for threads in options.threads:
        for hidden in options.hidden:
            size = {"hidden": hidden, "threads": threads, "seconds": options.seconds, "rounds": options.rounds}
            size["precision"] = options.precision
            try:
                results += compare(systems, measure=measure, **size)
            except BenchError as error:
                failed = True
                print(f"error: {error}", file=sys.stderr)
    command = said(options)
    if results:
        answers = table.answers(results)
        doubts = [] if doubt is None else [f"In doubt: {doubt}"]
        rest = "\n".join((*table.table(results, roofs), "", *table.notes(results, roofs), *doubts))
        print("\n".join(answers), rest, sep="\n\n")
        path = rows.write_rows(options.out, rows.cpu_model(), rows.rows_of(results, roofs, command))
        print(f"rows: {path}")
        if options.append:
            append(DOCUMENT, answers, rest, command)
    return int(failed)


def said(options: argparse.Namespace) -> str:
    """The command that measures the same again."""
    threads, hidden = (" ".join(map(str, values)) for values in (options.threads, options.hidden))
    chosen = "" if options.systems == list(SYSTEMS) else f" --systems {' '.join(options.systems)}"
    precision = "" if options.precision == "float32" else f" --precision {options.precision}"
    return (
        f"python -m tools.bench --threads {threads} --hidden {hidden} --seconds {options.seconds:g} "
        f"--rounds {options.rounds}{precision}{chosen}"
    )


def append(document: Path, answers: Sequence[str], rest: str, command: str) -> None:
    """Add a section with what was printed to a Markdown document."""
    task = Task(hidden=0)
    facts = (
        f"{date.today().isoformat()}, commit `{rows.commit()}`, {rows.cpu_model()}; `{command}`. Each system in a "
        f"process of its own, in turn with ours; {task.n_envs} envs x {task.n_steps} steps, minibatches of "
        f"{task.batch_size:,}, one joint epoch, no encoder, no attention."
    )
    listed = "\n".join(f"- {answer}" for answer in answers)
    with document.open("a") as file:
        file.write(f"\n## Beside its peers on a CPU\n\n{facts}\n\n{listed}\n\n{rest}\n")


def profiled(options: argparse.Namespace) -> int:
    """Print seconds by phase of one of our recipes on the simulated market, one thread."""
    import torch

    from clstm_core.config import RECIPES
    from clstm_core.ppo.learner import Learner
    from clstm_core.train.command import make_envs
    from tools.bench import phases

    torch.set_num_threads(1)
    recipe = RECIPES[options.recipe]()
    config = dataclasses.replace(
        recipe,
        timesteps=10**12,
        market=dataclasses.replace(recipe.market, source="simulated", n_snapshots=options.snapshots),
        ppo=dataclasses.replace(
            recipe.ppo, evaluate_every=10**6, **({} if options.n_envs is None else {"n_envs": options.n_envs})
        ),
    )
    env, _ = make_envs(config, None)
    seconds = phases.profile(Learner(config, env, threads=1), options.iterations)
    steps = config.ppo.samples_per_iteration
    rate = steps / sum(seconds.values())
    print(f"{options.recipe}, {config.ppo.n_envs} envs, one thread: {rate:,.0f} env steps/s, {steps:,} an iteration\n")
    print("\n".join(phases.lines(seconds)))
    return 0


def grown(options: argparse.Namespace) -> int:
    """Print what the options env does and takes at each size."""
    from tools.bench.growth import SIZES, growth

    flags = {"threads": options.threads[0], "snapshots": options.snapshots, "seconds": min(options.seconds, 3.0)}
    print("\n".join(growth(options.sizes or SIZES, **flags)))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    options = parser().parse_args(arguments)
    if options.profile:
        return profiled(options)
    if options.growth:
        return grown(options)
    return compared(options, worker(options.peers_python))


if __name__ == "__main__":
    sys.exit(main())
