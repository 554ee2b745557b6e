"""How much of the rewards ahead could be foreseen at all, and how much of that the critic foresees.

    python -m tools.study.ceiling data/runs/RUN/checkpoints/100 --market data/cache/tensors/<id>

The rung acts as in training, in fresh worlds, paid as in training. On half of the episodes a ridge regression and
boosted trees learn the coming rewards from what the critic reads (the observation, its means over the last 5 and 21
sessions, and the value that it gives); on the other half both are held against what came, and so is the critic. The
better of the two is the ceiling that was found: the true one may be higher.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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


class Row(NamedTuple):
    """Explained variance of the rewards of `span` sessions, out of sample."""

    span: int
    critic: float
    ridge: float
    trees: float
    error: float  # standard error of the better one, by episodes


def rows(folder: Path, market: Path, *, episodes: int) -> list[Row]:
    """One row per span."""
    policy, meta = load_policy(folder)
    config = RunConfig.from_dict(meta["config"])
    kind = next(kind for kind in kinds_of(load_market(market), config, episodes=episodes, compared=episodes)
                if kind.name == FRESH_WORLDS)  # fmt: skip
    env = OptionsEnv(kind.market, config.env, n_envs=episodes, seed=config.seed, window=kind.window, stagger=False)
    rollout, known = _walked(policy, env, config.env.horizon)
    found = []
    for span in SPANS:
        pair = foreseen(rollout, config.ppo.gamma, span)
        assert pair is not None
        found.append(_row(span, pair, known, episodes))
    return found


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


def _row(span: int, pair: Foreseen, known: np.ndarray, episodes: int) -> Row:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seen, weight = pair.seen.numpy(), pair.weight.numpy() > 0
    episode = np.broadcast_to(np.arange(episodes), seen.shape)
    learn, judge = weight & (episode % 2 == 0), weight & (episode % 2 == 1)
    x, y, groups = known[: len(seen)], seen, episode[judge]
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(0, 6, 13))).fit(x[learn], y[learn])
    trees = HistGradientBoostingRegressor(max_iter=100, learning_rate=0.05, min_samples_leaf=200).fit(
        x[learn], y[learn]
    )
    guesses = {"ridge": ridge.predict(x[judge]), "trees": trees.predict(x[judge])}
    shares = {name: _explained(guess, y[judge]) for name, guess in guesses.items()}
    best = max(shares, key=lambda name: shares[name])
    critic = _explained(pair.foreseen.numpy()[judge], y[judge])
    return Row(span, critic, shares["ridge"], shares["trees"], _error(guesses[best], y[judge], groups))


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
    print("| sessions ahead | critic | ridge regression | boosted trees | standard error |\n|---|---|---|---|---|")
    for row in rows(options.checkpoint, options.market, episodes=options.episodes):
        print(f"| {row.span} | {row.critic:.3f} | {row.ridge:.3f} | {row.trees:.3f} | {row.error:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
