"""Before any update the policy must reproduce its own rollout: same log-probabilities, same values, ratio 1.

A recurrent PPO that recomputes with another state than it walked with learns from ratios that are wrong before it has
learnt anything, and nothing crashes. So every run, and every resumed run, proves first that its states are right.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from clstm_core.config import PPOConfig
from clstm_core.env.protocol import BatchedEnv
from clstm_core.errors import SelfTestError
from clstm_core.model.clstm import CLSTM, RecurrentState
from clstm_core.ppo.advantages import generalised_advantages
from clstm_core.ppo.losses import approximate_kl, log_prob_of, masked_mean
from clstm_core.ppo.rollout import Carry, begin, collect
from clstm_core.ppo.storage import Rollout, Sequences, sequences
from clstm_core.ppo.target_test import Advantages, TargetReport, run_target_test

CONTROL_MINIMUM = 1e-2
LOGIT_STD = 1.0
MAX_CHUNKS = 4


class Tolerance(NamedTuple):
    """How far the update may be from the rollout: max |ratio - 1|, KL, and values relative to 1 + the largest."""

    ratio: float
    kl: float
    value: float


EXACT = Tolerance(1e-4, 1e-6, 1e-4)
ROUNDED = Tolerance(5e-2, 1e-4, 2e-2)
"""With products of bfloat16: a last bit that differs between a step and a chunk may be rounded the other way."""


@dataclass(frozen=True, slots=True)
class SelfTestReport:
    """How exactly the update's forward pass repeats the rollout's."""

    passed: bool
    max_ratio_error: float  # max |pi(a|s) / pi_old(a|s) - 1|
    approx_kl: float
    clip_fraction: float
    max_value_error: float  # relative to 1 + the largest |value|
    resets_inside: int  # episode starts inside sequences
    state_at_start: float  # root mean square of h when the tested rollout begins
    control_ratio_error: float  # the same maximum when the states are forgotten: what a broken run would show
    head_scale: float  # the policy head was multiplied by this for the test
    reason: str
    max_next_value_error: float = 0.0  # of the values that episodes bootstrap from, relative to 1 + the largest
    max_advantage_error: float = 0.0  # of the learner's advantages, against their definition
    max_return_error: float = 0.0  # of the warmup's returns, against theirs
    ends_inside: int = 0  # episodes that ended inside the tested rollout
    unseen_ends: int = 0  # of these, whose last observation was the next episode's first one
    seam_breaks: int = 0  # steps inside an episode that led to another observation than the next

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


@torch.no_grad()
def run_self_test(
    model: CLSTM,
    env: BatchedEnv,
    config: PPOConfig,
    *,
    plant: Callable[[Sequences], Sequences] | None = None,
    advantages: Advantages | None = None,
    tolerance: Tolerance = EXACT,
) -> SelfTestReport:
    """Walk two rollouts, recompute the second as the update would, and compare.

    The first rollout fills the states, so that the second starts from states that are not zero; staggered resets are
    added to the env's own. The policy head is scaled up meanwhile, so that a wrong state cannot hide behind its small
    initial gain. Model, env and every random stream are left as they were found.

    Args:
        plant: alters what the recomputation sees (tests plant wrong states here)
        advantages: what the learner trains on, of a rollout; GAE with the configuration's settings when left out
        tolerance: ROUNDED where the model computes in another precision than float32
    """
    env_state = {name: value.clone() for name, value in env.state_dict().items()}
    weight, bias = model.policy_head.weight.clone(), model.policy_head.bias.clone()
    generator = torch.Generator(device=env.device).manual_seed(20251129)
    steps = min(config.n_steps, MAX_CHUNKS * config.bptt_steps)
    t, n = torch.arange(steps, device=env.device).unsqueeze(1), torch.arange(env.n_envs, device=env.device)
    staggered = (t + 5 * n) % 13 == 7
    rollout = Rollout.allocate(model, env, n_steps=steps, bptt_steps=config.bptt_steps)

    def walk(carry: Carry) -> Carry:
        return collect(model, env, carry, rollout, generator=generator, forced_start=staggered)

    try:
        start = begin(model, env)
        logits, _ = model.act(start.observation, start.mask, start.state.reset(start.start))
        spread = masked_mean((logits - masked_mean(logits, start.mask.float())).square(), start.mask.float()).sqrt()
        scale = max(1.0, LOGIT_STD / max(spread.item(), 1e-6))
        model.policy_head.weight.mul_(scale)
        model.policy_head.bias.mul_(scale)
        walk(walk(start))
        data = sequences(rollout)
        log_ratio, value_error = _recompute(model, data if plant is None else plant(data), data)
        control, _ = _recompute(model, forgetful(data), data)
        targets = run_target_test(model, rollout, config, advantages or _gae(config))
    finally:
        model.policy_head.weight.copy_(weight)
        model.policy_head.bias.copy_(bias)
        env.load_state_dict(env_state)

    free = data.free.to(log_ratio.dtype)
    ratio_error = (torch.expm1(log_ratio).abs() * free).max().item()
    figures: dict[str, Any] = {
        "max_ratio_error": ratio_error,
        "approx_kl": approximate_kl(log_ratio, free).item(),
        "clip_fraction": masked_mean((torch.expm1(log_ratio).abs() > config.clip_epsilon).to(free.dtype), free).item(),
        "max_value_error": value_error.item(),
        "resets_inside": int(data.start[min(1, config.bptt_steps - 1) :].sum().item()),
        "state_at_start": rollout.chunk_state.actor_h[0].square().mean().sqrt().item(),
        "control_ratio_error": (torch.expm1(control).abs() * free).max().item(),
        "head_scale": scale,
        **targets._asdict(),
    }
    reason = _verdict(figures, tolerance)
    return SelfTestReport(passed=not reason, reason=reason or "recomputed policy equals the rollout's", **figures)


def require(report: SelfTestReport, tolerance: Tolerance = EXACT) -> SelfTestReport:
    """The report, when it passed; SelfTestError otherwise."""
    if not report.passed:
        raise SelfTestError(
            f"the recurrent self-test failed: {report.reason} (max |ratio - 1| {report.max_ratio_error:.3g}, KL "
            f"{report.approx_kl:.3g}, value error {report.max_value_error:.3g}; expected at most {tolerance.ratio:g}, "
            f"{tolerance.kl:g}, {tolerance.value:g}). Training would learn from wrong ratios: repair how states are "
            "stored or recomputed."
        )
    return report


def forgetful(data: Sequences) -> Sequences:
    """The same sequences with the state forgotten before every step."""
    return data._replace(start=torch.ones_like(data.start))


def zeroed(state: RecurrentState) -> RecurrentState:
    """A state of the same shapes that remembers nothing."""
    return RecurrentState(*(torch.zeros_like(value) for value in state))


def _recompute(model: CLSTM, seen: Sequences, data: Sequences) -> tuple[torch.Tensor, torch.Tensor]:
    logits, value, _ = model.unroll(seen.observation, seen.mask, seen.start, seen.state)
    log_prob = log_prob_of(data.action, logits.log_softmax(-1))
    error = (value - data.value).abs().max() / (1 + data.value.abs().max())
    return log_prob - data.log_prob, error


def _verdict(figures: dict[str, Any], tolerance: Tolerance) -> str:
    """Why the test fails, or nothing. Written so that a NaN fails."""
    if not figures["max_ratio_error"] <= tolerance.ratio or not figures["approx_kl"] <= tolerance.kl:
        return "the policy recomputed from stored states differs from the rollout's"
    if not figures["max_value_error"] <= tolerance.value:
        return "the values recomputed from stored states differ from the rollout's"
    if figures["resets_inside"] == 0 or not figures["state_at_start"] > 0:
        return "the tested rollout held no reset or began from an empty state, so it proves nothing"
    if not figures["control_ratio_error"] >= CONTROL_MINIMUM:
        return "forgetting every state would not have been noticed, so it proves nothing"
    return _target_verdict(TargetReport(**{name: figures[name] for name in TargetReport._fields}), tolerance.value)


def _target_verdict(found: TargetReport, most: float) -> str:
    """Why the learner's targets are not what they should be, or nothing."""
    if found.seam_breaks:
        return f"{found.seam_breaks} steps inside an episode led to another observation than the next one"
    if found.ends_inside and found.unseen_ends == found.ends_inside:
        return "every ended episode's last observation was taken after the reset"
    if not found.max_next_value_error <= most:
        return "episodes bootstrap from other values than those of their last observation and state"
    if not found.max_advantage_error <= most:
        return "advantages are not what rewards, values and ends of both kinds add up to"
    if not found.max_return_error <= most:
        return "returns are not what rewards and ends of both kinds add up to"
    return ""


def _gae(config: PPOConfig) -> Advantages:
    def advantages(rollout: Rollout) -> torch.Tensor:
        return generalised_advantages(
            rollout.reward,
            rollout.value,
            rollout.next_value,
            rollout.terminated,
            rollout.truncated,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
        )

    return advantages
