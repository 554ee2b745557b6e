"""The trainer's command line: `python -m clstm_core.train`."""

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

import torch

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.config import RECIPES, RunConfig
from clstm_core.errors import (
    ArtifactError,
    ClstmError,
    ConfigError,
    NonFiniteError,
    SelfTestError,
    TrainingError,
    file_system_sentence,
    of_file_system,
)
from clstm_core.ppo.ranks import ALONE, Ranks, joined
from clstm_core.train.champion import Champion, champion_of
from clstm_core.train.envs import Envs, envs_of, make_envs
from clstm_core.train.fine_tune import fine_tune
from clstm_core.train.inputs import config_of
from clstm_core.train.loop import train
from clstm_core.train.run import TrainingResult
from clstm_core.train.stop import StopOnSignal

USER_ERROR, FAILED, INTERRUPTED = 2, 1, 130
ERROR = "error: "
BAR = 24

EPILOG = """
The published command is
  python -m clstm_core.train --timesteps 100000000 --n-envs 1024 --n-steps 128 --batch-size 4096 \\
      --reward-scale 0.02 --hidden-dim 256
which is also the default recipe. A flag that is left out keeps the recipe's value. Calling the same command again
resumes the run. Ctrl-C writes a checkpoint and stops with exit code 130.

  python -m clstm_core.train --resume data/runs/RUN
goes on with a run that the chain began, on its market and with its settings.

  torchrun --nproc-per-node K -m clstm_core.train ...
trains one policy in K processes, each with its share of the envs and, where there are GPUs, one of its own.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{ERROR}{message}. Run `{self.prog} --help` for the flags.\n")


def parser() -> argparse.ArgumentParser:
    """The flags; those of the published command keep its names."""
    out = _Parser(
        prog="python -m clstm_core.train",
        description="Train the CLSTM policy with recurrent PPO and leave a ladder of checkpoints.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    out.add_argument("--recipe", choices=sorted(RECIPES), default="seed_100m", help="named settings (seed_100m)")
    out.add_argument("--timesteps", type=int, metavar="N", help="env steps to learn from, over all envs")
    out.add_argument("--n-envs", type=int, metavar="N", help="accounts that trade side by side")
    out.add_argument("--n-steps", type=int, metavar="T", help="steps of each env in one rollout")
    out.add_argument("--batch-size", type=int, metavar="B", help="samples in one minibatch, a multiple of --bptt-steps")
    out.add_argument("--bptt-steps", type=int, metavar="C", help="steps of one sequence, a divisor of --n-steps")
    out.add_argument("--reward-scale", type=float, metavar="X", help="times excess return in basis points")
    out.add_argument("--hidden-dim", type=int, metavar="H", help="width of encoder and trunks, a multiple of 4")
    out.add_argument("--seed", type=int, metavar="S", help="of the weights, the envs and every draw")
    out.add_argument("--device", choices=("auto", "cpu", "cuda"), help="auto takes the GPU where there is one")
    out.add_argument(
        "--threads", type=int, default=1, metavar="K", help="CPU threads (1: small products gain from no more)"
    )
    out.add_argument("--precision", choices=("auto", "float32", "bfloat16"), help="of the LSTM's products (float32)")
    out.add_argument("--compile-env", choices=("auto", "on", "off"), help="the env's step compiled (auto: long runs)")
    out.add_argument("--market", type=Path, metavar="FOLDER", help="market tensors (default: a simulated world)")
    out.add_argument("--run-dir", type=Path, metavar="FOLDER", help="where the run lives (data/runs/RECIPE-SEED)")
    out.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with a run of the chain, as its folder says")
    out.add_argument("--follow-parent", type=int, metavar="PID", help="stop when the process that started this ends")
    return out


def run_config(options: argparse.Namespace) -> RunConfig:
    """The recipe with the given flags put over it; a bad combination raises ConfigError."""
    recipe = RECIPES[options.recipe]()

    def given(*names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(options, name)) is not None}

    market = dataclasses.replace(recipe.market, source="simulated") if options.market is None else recipe.market
    return dataclasses.replace(
        recipe,
        **given("timesteps", "seed", "device", "precision", "compile_env"),
        market=market,
        env=dataclasses.replace(recipe.env, **given("reward_scale")),
        model=dataclasses.replace(recipe.model, **given("hidden_dim")),
        ppo=dataclasses.replace(recipe.ppo, **given("n_envs", "n_steps", "batch_size", "bptt_steps")),
    )


class Resumed(NamedTuple):
    """A run of the chain that is gone on with; `champion` where it begins with one."""

    config: RunConfig
    envs: Envs
    champion: Champion | None


def resumed(options: argparse.Namespace, ranks: Ranks = ALONE) -> Resumed:
    """The run that `--resume` names: data/runs/RUN, whose market is in data/cache.

    Raises: ConfigError where other flags would say something else, and what reading the run and its market raises
    """
    usual = vars(parser().parse_args([]))
    fixed = set(usual) - {"resume", "threads", "follow_parent"}
    if given := sorted(name for name in fixed if getattr(options, name) != usual[name]):
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigError(f"--resume goes on with a run as its inputs.json says: found {flags} besides. Leave it out.")
    run = RunFolder(options.resume.resolve())
    inputs, places = RunInputs.read(run.inputs), Places(run.path.parents[1])
    config, envs = config_of(inputs), envs_of(inputs, places, ranks)
    if config.fine_tune.champion and ranks.size > 1:
        raise ConfigError(
            f"run {run.name} is fine-tuned by one process: found {ranks.size}. Start it without torchrun."
        )
    champion = champion_of(inputs, places, envs[0].device) if config.fine_tune.champion else None
    return Resumed(config, envs, champion)


def progress_line(metrics: dict[str, Any]) -> str:
    """One line of progress: share done, rate, time left, and the figures one watches."""
    done = metrics["progress"]
    bar = "#" * round(BAR * done) + "." * (BAR - round(BAR * done))
    minutes, seconds = divmod(round(metrics["eta_seconds"]), 60)

    def figure(name: str, form: str) -> str:
        value = metrics[name]
        return "-" if value is None else format(value, form)

    return (
        f"[{bar}] {done:4.0%}  {metrics['env_steps']:,} steps  {metrics['steps_per_second']:,.0f}/s  "
        f"ETA {minutes}:{seconds:02d}  reward {figure('mean_reward', '+.4f')}  KL {figure('approx_kl', '.4f')}  "
        f"EV {figure('explained_variance_5', '.2f')}"
    )


class Progress:
    """Draws the line in place on a terminal, and as one line a tenth of the run anywhere else.

    Where it cannot be drawn (a closed terminal or pipe, a full disk, no stream at all) the run goes on unseen.
    """

    def __init__(self, stream: TextIO | None):
        self.stream, self.live, self.tenth, self.width = stream, stream is not None and stream.isatty(), -1, 0

    def __call__(self, metrics: dict[str, Any]) -> None:
        line = progress_line(metrics)
        if self.live:
            self._write("\r" + line.ljust(self.width))
            self.width = len(line)
        elif int(10 * metrics["progress"]) > self.tenth:
            self.tenth = int(10 * metrics["progress"])
            self._write(line + "\n")

    def close(self) -> None:
        """Leave the line standing."""
        if self.live and self.width:
            self._write("\n")

    def _write(self, text: str) -> None:
        if self.stream is not None:
            with contextlib.suppress(OSError):
                self.stream.write(text)
                self.stream.flush()


def main(
    arguments: Sequence[str] | None = None,
    *,
    envs: Callable[[RunConfig, Path | None, Ranks], Envs] = make_envs,
) -> int:
    """Run the command line; the exit code: 0 done, 1 failed, 2 a user's mistake, 130 interrupted.

    Args:
        envs: builds training and held-out envs (tests pass small ones)
    """
    options = parser().parse_args(arguments)
    launcher = os.getppid()  # before others are waited for, and it ends meanwhile
    try:
        with joined() as ranks:
            return _run(options, envs, ranks, launcher)
    except ClstmError as error:  # of those that did not find each other: `_run` says its own
        _say(f"{ERROR}{error}", sys.stderr)
        return USER_ERROR if isinstance(error, ConfigError) else FAILED


def _run(
    options: argparse.Namespace, envs: Callable[[RunConfig, Path | None, Ranks], Envs], ranks: Ranks, launcher: int
) -> int:
    progress, began = Progress(sys.stderr), time.perf_counter()
    stop, report = StopOnSignal(), progress if ranks.writes and not options.follow_parent else None
    parent = options.follow_parent if ranks.size == 1 else launcher  # torchrun
    if parent is not None:
        stop.follow(parent)
    try:
        if options.threads < 1:
            raise ConfigError(f"threads={options.threads}: expected at least 1. Use --threads 1.")
        torch.set_num_threads(options.threads)
        champion = None
        if options.resume is not None:
            run_dir, (config, (env, heldout_env), champion) = options.resume, resumed(options, ranks)
        else:
            config = run_config(options)
            run_dir = options.run_dir or Path("data/runs") / f"{config.recipe}-{config.seed}"
            env, heldout_env = envs(config, options.market, ranks)
        if champion is None:
            result = train(config, env, run_dir=run_dir, heldout_env=heldout_env, report=report, stop=stop, ranks=ranks)
        else:
            result = fine_tune(config, env, heldout_env, champion.model, run_dir=run_dir, report=report, stop=stop)
    except KeyboardInterrupt:
        progress.close()
        _say("stopped at once; the same command resumes from the last checkpoint that was saved", sys.stderr)
        return INTERRUPTED
    except ClstmError as error:
        progress.close()
        if ranks.writes or not isinstance(error, (ConfigError, ArtifactError)):  # those come to all alike
            _say(f"{ERROR}{error}", sys.stderr)
        return FAILED if isinstance(error, (SelfTestError, NonFiniteError, TrainingError)) else USER_ERROR
    except Exception as error:
        progress.close()
        if not of_file_system(error):
            raise
        _say(f"{ERROR}{file_system_sentence(error)}", sys.stderr)
        return USER_ERROR
    finally:
        stop.release()
    progress.close()
    if ranks.writes:
        _say(_summary(result, time.perf_counter() - began), sys.stdout)
    return 0 if result.completed else INTERRUPTED


def _say(words: str, stream: TextIO) -> None:
    """Print a line; where nobody can take it, what was done stands as it is, and the exit code says it."""
    try:
        print(words, file=stream, flush=True)
    except OSError:  # Python would try what is left again at its end, and end with a code of its own
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _summary(result: TrainingResult, seconds: float) -> str:
    where = result.run_dir
    if not result.completed:
        return f"stopped at {result.env_steps:,} steps; {where}/checkpoints/latest resumes when the command runs again"
    rungs = ", ".join(sorted(result.checkpoints))
    return f"{result.env_steps:,} steps in {seconds:.0f} s; checkpoints {rungs} in {where}/checkpoints\n{result.engine}"
