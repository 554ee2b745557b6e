"""The trainer's sizes, rates and schedules."""

from dataclasses import dataclass

from clstm_core.config.require import require

MAX_SAMPLES = 2**24
"""Most samples a rollout may have; a hundred times the published run's, and some tens of GB of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PPOConfig:
    """Recurrent PPO with separate actor and critic optimizers."""

    n_envs: int = 1024
    n_steps: int = 128
    batch_size: int = 4096  # samples a minibatch; whole sequences of bptt_steps
    bptt_steps: int = 16
    policy_epochs: int = 1
    extra_critic_epochs: int = 4
    clip_epsilon: float = 0.10
    gamma: float = 0.99
    gae_lambda: float = 0.95
    actor_lr: float = 1e-4
    critic_lr: float = 4e-4
    actor_lr_floor: float = 0.0  # share of the initial LR that annealing ends at
    critic_lr_floor: float = 0.0
    entropy_start: float = 0.02
    entropy_end: float = 0.005
    max_grad_norm: float = 0.5
    warmup_rollouts: int = 2
    warmup_epochs: int = 3
    warmup_lr: float = 5e-4
    warmup_encoder_lr: float = 1e-5
    target_kl: float | None = None  # None: fixed LR; otherwise the actor LR adapts to it
    evaluate_every: int = 10  # iterations between two looks at held-out EV and full-unroll KL
    checkpoint_every: int = 10  # iterations between two rolling checkpoints, from which a killed run resumes

    def __post_init__(self) -> None:
        for name in ("n_envs", "n_steps", "batch_size", "bptt_steps"):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: expected at least 1.")
        require(
            self.n_envs * self.n_steps <= MAX_SAMPLES,
            f"n_envs={self.n_envs} x n_steps={self.n_steps} is a rollout of {self.n_envs * self.n_steps:,} samples: "
            f"expected at most {MAX_SAMPLES:,}. Use fewer envs or steps.",
        )
        require(
            self.n_steps % self.bptt_steps == 0,
            f"bptt_steps={self.bptt_steps} cuts the rollout: n_steps={self.n_steps} is no multiple of it. "
            f"Use a divisor of {self.n_steps}.",
        )
        sequences = self.batch_size / self.bptt_steps
        nearest = max(1, round(sequences)) * self.bptt_steps
        require(
            self.batch_size % self.bptt_steps == 0,
            f"batch_size={self.batch_size} cuts sequences: bptt_steps={self.bptt_steps} gives {sequences:g} sequences "
            f"per minibatch. Use a multiple of {self.bptt_steps}, e.g. {nearest}.",
        )
        samples = self.n_envs * self.n_steps
        require(
            samples % self.batch_size == 0,
            f"batch_size={self.batch_size} does not divide the rollout: n_envs={self.n_envs} x n_steps={self.n_steps} "
            f"= {samples} samples give {samples / self.batch_size:g} minibatches. Use a divisor of {samples}.",
        )
        require(0 < self.clip_epsilon < 1, f"clip_epsilon={self.clip_epsilon}: expected (0, 1), e.g. 0.10.")
        require(0 < self.gamma <= 1, f"gamma={self.gamma}: expected (0, 1], e.g. 0.99.")
        for name in ("evaluate_every", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: expected at least 1 iteration.")
        require(0 <= self.gae_lambda <= 1, f"gae_lambda={self.gae_lambda}: expected [0, 1], e.g. 0.95.")

    @property
    def samples_per_iteration(self) -> int:
        """Env steps of one rollout."""
        return self.n_envs * self.n_steps

    @property
    def sequences_per_minibatch(self) -> int:
        """Sequences of `bptt_steps` steps in one minibatch."""
        return self.batch_size // self.bptt_steps
