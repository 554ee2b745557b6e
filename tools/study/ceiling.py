"""How much of the rewards ahead could be foreseen at all, and how much of that the critic foresees.

    python -m tools.study.ceiling data/runs/RUN/checkpoints/100 --market data/cache/tensors/<id>

The rung acts as in training, in fresh worlds, paid as in training. On half of the episodes a ridge regression and
boosted trees learn from what the critic reads (the observation, its means over the last 5 and 21 sessions, and the
value that it gives); on the other half both are held against what came, and so is the critic. Two things are learned:

- *values*: the discounted rewards of the next `AHEAD` sessions, which is what the critic learns too. They are held
  against the rewards of these sessions, and, as values, in the measure that training shows (`foreseen`): that one asks
  V_t - gamma^k V_{t+k}, so the surprise in V_{t+k} counts against every value function, the true one too;
- *forecasts* of the rewards of the next k sessions alone, which no value function is.

The better of the two is the ceiling that was found: the true one may be higher.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from clstm_core.checkpoint import load_policy
from clstm_core.config import RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.generalisation.kinds import FRESH_WORLDS, kinds_of
from clstm_core.market.tensors import load_market
from clstm_core.model.clstm import CLSTM
from clstm_core.ppo.diagnostics import Foreseen, foreseen
from clstm_core.ppo.rollout import begin, collect
from clstm_core.ppo.storage import Rollout

SPANS, MEANS = (1, 5, 21), (5, 21)
AHEAD = 63
"""Sessions of rewards that values are fitted to: what comes later weighs gamma^63, 4% at a gamma of 0.95."""


class Row(NamedTuple):
    """Explained variance of rewards, out of sample; `error` is the standard error of the best, by episodes."""

    of: str
    critic: float
    ridge: float
    trees: float
    error: float


def rows(folder: Path, market: Path, *, episodes: int) -> list[Row]:
    """Values against the rewards they are of; values in training's measure, and forecasts, per span."""
    policy, meta = load_policy(folder)
    config = RunConfig.from_dict(meta["config"])
    kind = next(kind for kind in kinds_of(load_market(market), config, episodes=episodes, compared=episodes)
                if kind.name == FRESH_WORLDS)  # fmt: skip
    env = OptionsEnv(kind.market, config.env, n_envs=episodes, seed=config.seed, window=kind.window, stagger=False)
    rollout, known = _walked(policy, env, config.env.horizon)
    return judged(rollout, known, config.ppo.gamma)


def judged(rollout: Rollout, known: np.ndarray, gamma: float) -> list[Row]:
    """The rows of one walk; `known` [T, N, K] is what there is to learn from."""
    values = {"critic": rollout.value.double().numpy()}
    to_come = _pair(rollout, gamma, AHEAD)
    for name, regression in REGRESSIONS.items():
        values[name] = _learned(regression(), known, to_come)
    found = [_row(f"rewards of {AHEAD} sessions, by values", values, to_come)]
    for span in SPANS:
        pairs = {name: _pair(_valued(rollout, value), gamma, span) for name, value in values.items()}
        ahead = {name: pair.foreseen.double().numpy() for name, pair in pairs.items()}
        found.append(_row(f"rewards of {span}, by differences of values", ahead, pairs["critic"]))
    for span in SPANS:
        pair = _pair(rollout, gamma, span)
        ahead = {name: _learned(regression(), known, pair) for name, regression in REGRESSIONS.items()}
        found.append(_row(f"rewards of {span}, by forecasts", ahead, pair))
    return found


def _pair(rollout: Rollout, gamma: float, span: int) -> Foreseen:
    """`foreseen` without its last step, of whose value after it nothing is known but the critic's."""
    pair = foreseen(rollout, gamma, span)
    assert pair is not None
    return Foreseen(*(part[:-1] for part in pair))


def _valued(rollout: Rollout, value: np.ndarray) -> Rollout:
    """The same walk with values of another."""
    given = torch.from_numpy(value).to(rollout.reward.dtype)
    return rollout._replace(value=given, next_value=torch.cat([given[1:], given[-1:]]))


@torch.no_grad()
def _walked(policy: CLSTM, env: OptionsEnv, steps: int) -> tuple[Rollout, np.ndarray]:
    """A whole episode of every account, and what its critic read at each step [T, N, K]."""
    rollout = Rollout.allocate(policy, env, n_steps=steps, bptt_steps=steps)
    collect(policy, env, begin(policy, env), rollout, generator=torch.Generator().manual_seed(0))
    observation = rollout.observation.double()
    sums = torch.cat([torch.zeros_like(observation[:1]), observation.cumsum(dim=0)])
    ends, parts = torch.arange(1, steps + 1), [observation, rollout.value[..., None].double()]
    for window in MEANS:
        begins = (ends - window).clamp(min=0)
        parts.append((sums[ends] - sums[begins]) / (ends - begins)[:, None, None])
    return rollout, torch.cat(parts, dim=-1).numpy()


def _ridge() -> Any:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 6, 13)))


def _trees() -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(max_iter=100, learning_rate=0.05, min_samples_leaf=200, random_state=0)


REGRESSIONS: dict[str, Callable[[], Any]] = {"ridge": _ridge, "trees": _trees}


def _learned(regression: Any, known: np.ndarray, pair: Foreseen) -> np.ndarray:
    """What it guesses at every step [T, N], after half of the episodes."""
    x, weight = known[: len(pair.seen)], pair.weight.numpy() > 0
    learn = weight & (np.arange(weight.shape[1]) % 2 == 0)
    regression.fit(x[learn], pair.seen.double().numpy()[learn])
    return regression.predict(known.reshape(-1, known.shape[-1])).reshape(known.shape[:2])


def _row(of: str, guesses: dict[str, np.ndarray], pair: Foreseen) -> Row:
    """The guesses [T, N] held against the rewards of the other half; what has no guess of the critic's is NaN there."""
    seen, weight = pair.seen.double().numpy(), pair.weight.numpy() > 0
    episode = np.broadcast_to(np.arange(weight.shape[1]), weight.shape)
    judge = weight & (episode % 2 == 1)
    held = {name: guess[: len(seen)][judge] for name, guess in guesses.items()}
    shares = {name: _explained(guess, seen[judge]) for name, guess in held.items()}
    best = max(REGRESSIONS, key=lambda name: shares[name])
    error = _error(held[best], seen[judge], episode[judge])
    return Row(of, shares.get("critic", float("nan")), shares["ridge"], shares["trees"], error)


def _explained(guess: np.ndarray, came: np.ndarray) -> float:
    return float(1.0 - (came - guess).var() / came.var())


def _error(guess: np.ndarray, came: np.ndarray, episode: np.ndarray, draws: int = 200) -> float:
    """Standard deviation of the share over bootstrap samples of whole episodes."""
    names, where = np.unique(episode, return_inverse=True)
    chosen = np.random.default_rng(0)
    moments = np.stack([came, came**2, came - guess, (came - guess) ** 2, np.ones_like(came)])
    sums = np.stack([np.bincount(where, weights=row, minlength=len(names)) for row in moments])
    found = []
    for _ in range(draws):
        y, yy, e, ee, n = sums[:, chosen.integers(0, len(names), len(names))].sum(axis=1)
        found.append(1.0 - (ee / n - (e / n) ** 2) / (yy / n - (y / n) ** 2))
    return float(np.std(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    out = argparse.ArgumentParser(prog="python -m tools.study.ceiling", description=__doc__.splitlines()[0])
    out.add_argument("checkpoint", type=Path)
    out.add_argument("--market", type=Path, required=True)
    out.add_argument("--episodes", type=int, default=512)
    options = out.parse_args(arguments)
    torch.set_num_threads(1)
    print(
        "| explained variance of | critic | ridge regression | boosted trees | standard error |\n|---|---|---|---|---|"
    )
    for row in rows(options.checkpoint, options.market, episodes=options.episodes):
        critic = "" if row.critic != row.critic else f"{row.critic:.3f}"
        print(f"| {row.of} | {critic} | {row.ridge:.3f} | {row.trees:.3f} | {row.error:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
