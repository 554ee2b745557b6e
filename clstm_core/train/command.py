"""The trainer's command line: `python -m clstm_core.train`."""

import argparse
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

import torch

from clstm_core.config import RECIPES, RunConfig
from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import (
    ClstmError,
    ConfigError,
    NonFiniteError,
    SelfTestError,
    file_system_sentence,
    of_file_system,
)
from clstm_core.market.tensors import MarketTensors, load_market
from clstm_core.train.loop import train
from clstm_core.train.run import TrainingResult

USER_ERROR, FAILED, INTERRUPTED = 2, 1, 130
BAR = 24

EPILOG = """
The published command is
  python -m clstm_core.train --timesteps 100000000 --n-envs 1024 --n-steps 128 --batch-size 4096 \\
      --reward-scale 0.02 --hidden-dim 256
which is also the default recipe. A flag that is left out keeps the recipe's value. Calling the same command again
resumes the run. Ctrl-C writes a checkpoint and stops with exit code 130.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"error: {message}. Run `{self.prog} --help` for the flags.\n")


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
    out.add_argument("--market", type=Path, metavar="FOLDER", help="market tensors (default: a simulated world)")
    out.add_argument("--run-dir", type=Path, metavar="FOLDER", help="where the run lives (data/runs/RECIPE-SEED)")
    return out


def run_config(options: argparse.Namespace) -> RunConfig:
    """The recipe with the given flags put over it; a bad combination raises ConfigError."""
    recipe = RECIPES[options.recipe]()

    def given(*names: str) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(options, name)) is not None}

    market = dataclasses.replace(recipe.market, source="simulated") if options.market is None else recipe.market
    return dataclasses.replace(
        recipe,
        **given("timesteps", "seed", "device"),
        market=market,
        env=dataclasses.replace(recipe.env, **given("reward_scale")),
        model=dataclasses.replace(recipe.model, **given("hidden_dim")),
        ppo=dataclasses.replace(recipe.ppo, **given("n_envs", "n_steps", "batch_size", "bptt_steps")),
    )


def make_envs(config: RunConfig, market_folder: Path | None) -> tuple[BatchedEnv, BatchedEnv | None]:
    """`envs_on` the market of a folder, or a simulated world."""
    if market_folder is None:
        from clstm_core.market.build.simulated import simulated_market

        market = simulated_market(config.market, embargo=config.env.horizon + config.market.feature_lookback)
    else:
        market = load_market(market_folder)
    return envs_on(config, market)


def envs_on(config: RunConfig, market: MarketTensors) -> tuple[BatchedEnv, BatchedEnv | None]:
    """Training envs, and held-out envs on the validation window where the market has one."""
    from clstm_core.env.options_env import OptionsEnv

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device='cuda' but no GPU is usable here. Use --device cpu or --device auto.")
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    market = market.to(device)
    env = OptionsEnv(market, config.env, n_envs=config.ppo.n_envs, seed=config.seed, device=device)
    if "validation" not in market.info.get("splits", {}):
        return env, None
    window = market.split("validation")
    heldout = OptionsEnv(
        market, config.env, n_envs=min(64, config.ppo.n_envs), seed=config.seed + 1, device=device, window=window
    )
    return env, heldout


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
    """Draws the line in place on a terminal, and as one line a tenth of the run anywhere else."""

    def __init__(self, stream: TextIO):
        self.stream, self.live, self.tenth, self.width = stream, stream.isatty(), -1, 0

    def __call__(self, metrics: dict[str, Any]) -> None:
        line = progress_line(metrics)
        if self.live:
            self.stream.write("\r" + line.ljust(self.width))
            self.width = len(line)
        elif int(10 * metrics["progress"]) > self.tenth:
            self.tenth = int(10 * metrics["progress"])
            self.stream.write(line + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Leave the line standing."""
        if self.live and self.width:
            self.stream.write("\n")


class StopOnSignal:
    """Asked by the trainer after each iteration; Ctrl-C, SIGTERM or a closed terminal make it say stop.

    A second signal stops at once: what was saved before stays whole. A closed terminal that is ignored, as `nohup` asks
    for, stays ignored.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.asked = False
        self._before = {
            number: signal.signal(number, self._note)
            for number in self.SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        }

    def __call__(self) -> bool:
        return self.asked

    def release(self) -> None:
        """Leave the signals to whoever had them before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _signal: int, _frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def main(
    arguments: Sequence[str] | None = None,
    *,
    envs: Callable[[RunConfig, Path | None], tuple[BatchedEnv, BatchedEnv | None]] = make_envs,
) -> int:
    """Run the command line; the exit code: 0 done, 1 failed, 2 a user's mistake, 130 interrupted.

    Args:
        envs: builds training and held-out envs (tests pass small ones)
    """
    options = parser().parse_args(arguments)
    progress, began = Progress(sys.stderr), time.perf_counter()
    stop = StopOnSignal()
    try:
        config = run_config(options)
        run_dir = options.run_dir or Path("data/runs") / f"{config.recipe}-{config.seed}"
        if options.threads < 1:
            raise ConfigError(f"threads={options.threads}: expected at least 1. Use --threads 1.")
        torch.set_num_threads(options.threads)
        env, heldout_env = envs(config, options.market)
        result = train(config, env, run_dir=run_dir, heldout_env=heldout_env, report=progress, stop=stop)
    except KeyboardInterrupt:
        progress.close()
        print("stopped at once; the same command resumes from the last checkpoint that was saved", file=sys.stderr)
        return INTERRUPTED
    except ClstmError as error:
        progress.close()
        print(f"error: {error}", file=sys.stderr)
        return FAILED if isinstance(error, (SelfTestError, NonFiniteError)) else USER_ERROR
    except Exception as error:
        progress.close()
        if not of_file_system(error):
            raise
        print(f"error: {file_system_sentence(error)}", file=sys.stderr)
        return USER_ERROR
    finally:
        stop.release()
    progress.close()
    print(_summary(result, time.perf_counter() - began))
    return 0 if result.completed else INTERRUPTED


def _summary(result: TrainingResult, seconds: float) -> str:
    where = result.run_dir
    if not result.completed:
        return f"stopped at {result.env_steps:,} steps; {where}/checkpoints/latest resumes when the command runs again"
    rungs = ", ".join(sorted(result.checkpoints))
    return f"{result.env_steps:,} steps in {seconds:.0f} s; checkpoints {rungs} in {where}/checkpoints"
