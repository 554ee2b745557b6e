"""What a critic foresees of rewards that come, on training, validation and test dates, beside what no skill scores."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clstm_core.checkpoint import load_policy
from clstm_core.config import RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.tensors import MarketTensors
from clstm_core.model.clstm import CLSTM
from clstm_core.ppo.diagnostics import SPANS, Foreseen, explained_variance, foreseen, foresight
from clstm_core.ppo.rollout import begin, collect
from clstm_core.ppo.storage import Rollout

WINDOWS = ("train", "validation", "test")
ACCOUNTS, EPISODES, LEAST_STEPS = 128, 2, 84
SHUFFLES = 16
RIDGE = 1e-2  # per pair, on features of unit size


@dataclass(frozen=True, kw_only=True, slots=True)
class Foresight:
    """One window and span.

    constant, per_episode: scores of a critic that says the same in every state, and in every state of an episode (drawn
    with the trained one's spread); shuffled: of its values in other states' places, the mean of `SHUFFLES`; ceiling: of
    a linear fit of those very rewards to the encoder's features, made on training dates with the policy frozen
    """

    window: str
    span: int
    pairs: int
    explained_variance: float
    correlation: float
    constant: float
    per_episode: float
    shuffled: float
    shuffled_correlation: float
    ceiling: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@torch.no_grad()
def critic_foresight(
    checkpoint: Path, market: MarketTensors, config: RunConfig, *, windows: Sequence[str] = WINDOWS, seed: int = 0
) -> list[Foresight]:
    """A checkpoint's critic on each window that is long enough for an episode, walked as in training.

    Raises: what `checkpoint.load_policy` raises
    """
    model, _ = load_policy(checkpoint)
    gamma, horizon = config.ppo.gamma, config.env.horizon
    steps = -(-max(EPISODES * horizon, LEAST_STEPS) // config.ppo.bptt_steps) * config.ppo.bptt_steps
    found: list[Foresight] = []
    fits: dict[int, torch.Tensor] = {}
    for name in windows:
        splits = market.info.get("splits", {})
        if name not in splits or splits[name][1] - splits[name][0] <= horizon:
            continue
        env = OptionsEnv(market, config.env, n_envs=ACCOUNTS, seed=seed, window=market.split(name))
        rollout = Rollout.allocate(model, env, n_steps=steps, bptt_steps=config.ppo.bptt_steps)
        generator = torch.Generator().manual_seed(seed)
        collect(model, env, begin(model, env), rollout, generator=generator)
        for span in SPANS:
            pair = foreseen(rollout, gamma, span)
            if pair is None or not bool(pair.weight.any()):
                continue
            if name == windows[0]:
                fits[span] = _fit(model.encoder(rollout.observation), pair)
            found.append(_judge(name, span, rollout, pair, gamma, fits.get(span), model, generator))
    return found


def _judge(
    window: str,
    span: int,
    rollout: Rollout,
    pair: Foreseen,
    gamma: float,
    fit: torch.Tensor | None,
    model: CLSTM,
    generator: torch.Generator,
) -> Foresight:
    share, together = foresight(pair)
    level = rollout.value.mean()
    same = rollout._replace(
        value=torch.full_like(rollout.value, float(level)), next_value=torch.full_like(rollout.value, float(level))
    )
    drawn = _per_episode(rollout, generator)
    mixed = (_shuffled(rollout, generator) for _ in range(SHUFFLES))
    shuffled = torch.stack([torch.stack(foresight(_other(values, gamma, span))) for values in mixed])
    ceiling = float("nan")
    if fit is not None:
        told = _design(model.encoder(rollout.observation[: len(pair.seen)])) @ fit
        ceiling = float(explained_variance(told, pair.seen, pair.weight))
    return Foresight(
        window=window,
        span=span,
        pairs=int(pair.weight.sum()),
        explained_variance=float(share),
        correlation=float(together),
        constant=float(foresight(_other(same, gamma, span))[0]),
        per_episode=float(foresight(_other(drawn, gamma, span))[0]),
        shuffled=float(shuffled[:, 0].mean()),
        shuffled_correlation=float(shuffled[:, 1].mean()),
        ceiling=ceiling,
    )


def _other(rollout: Rollout, gamma: float, span: int) -> Foreseen:
    """The pairs of a rollout that is known to be long enough."""
    pair = foreseen(rollout, gamma, span)
    assert pair is not None
    return pair


def _shuffled(rollout: Rollout, generator: torch.Generator) -> Rollout:
    """Every value in the place of another state's."""
    order = torch.randperm(rollout.value.numel(), generator=generator)
    value, following = (x.reshape(-1)[order].view_as(x) for x in (rollout.value, rollout.next_value))
    return rollout._replace(value=value, next_value=following)


def _per_episode(rollout: Rollout, generator: torch.Generator) -> Rollout:
    """One random value for all states of an episode, with the critic's own mean and spread."""
    episode = torch.cat([torch.zeros_like(rollout.start[:1], dtype=torch.int64), rollout.start[1:].long()]).cumsum(0)
    drawn = torch.randn(int(episode.max()) + 1, episode.shape[1], generator=generator)
    value = rollout.value.mean() + rollout.value.std() * drawn.gather(0, episode)
    return rollout._replace(value=value, next_value=value)


def _design(features: torch.Tensor) -> torch.Tensor:
    """Features with a constant beside them [..., H + 1]."""
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)


def _fit(features: torch.Tensor, pair: Foreseen) -> torch.Tensor:
    """Ridge regression of rewards seen on features [T, N, H]; coefficients [H + 1]."""
    x = _design(features[: len(pair.seen)]).reshape(-1, features.shape[-1] + 1).double()
    weight = pair.weight.reshape(-1).double()
    weighted = x * weight[:, None]
    penalty = RIDGE * weight.sum() * torch.eye(x.shape[1], dtype=torch.float64)
    penalty[-1, -1] = 0.0
    return torch.linalg.solve(weighted.T @ x + penalty, weighted.T @ pair.seen.reshape(-1).double()).float()
