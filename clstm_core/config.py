"""Every knob, once: frozen dataclasses validated at construction, and the named recipes.

Units stand in the names or behind the fields. Bad values raise `ConfigError` with a sentence that names the remedy.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from clstm_core.errors import ConfigError

MAX_SAMPLES = 2**24
"""Most samples a rollout may have; a hundred times the published run's, and some tens of GB of memory."""

MAX_SNAPSHOTS = 10_000
"""Longest simulated market, about forty years: its tables take some ten GB of memory."""

MOST_BIAS = 10.0
"""Beyond it an untrained policy would hardly ever try anything else."""

FEWEST_SESSIONS = 250
"""Training days that worlds to train in are made of, at the least."""

FILL_RULES = ("touch", "fraction")
REWARDS = ("profit", "log_growth", "mean_variance")

NO_CAP = 100.0
"""Times equity: a cap of the risk budget that no account reaches, since margin allows some 16."""

CAPS = ("max_net_exposure", "max_gross_exposure", "max_crash_loss", "max_vega", "max_premium_sold")
"""The caps of the risk budget, in shares of equity: settings of EnvConfig."""

WITHOUT_BUDGET: dict[str, float] = dict.fromkeys(CAPS, NO_CAP)
"""Settings of EnvConfig under which margin alone bounds an account: for who looks at margin."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _is_date(text: str | None) -> bool:
    try:
        return text is not None and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketConfig:
    """Where quotes come from and how they become tensors."""

    source: str = "sp500_modelled"  # a file of market/sources; `open_source` refuses other names
    data_dir: str | None = None  # folder of the vendor's files; None for sources that need none
    near_days: float = 30.0  # calendar days to expiry that the near tenor aims at
    far_days: float = 60.0
    tenor_tolerance: float = 0.5  # a cell is masked outside (1 +- this) x its target
    feature_lookback: int = 21  # snapshots a feature may look back; part of the embargo
    train_until: str | None = None  # last date of training, ISO; None, or outside the data: by the fractions below
    validation_until: str | None = None  # last date of validation; the rest is the test window
    first_date: str | None = None  # sessions before it, and after the other, are no part of the market; beside the two
    last_date: str | None = None  # dates above, ISO
    train_fraction: float = 0.80
    validation_fraction: float = 0.10
    min_training_snapshots: int = 60  # below this a set trains nothing
    premium: bool = True  # modelled and simulated worlds: False prices without a variance premium (simulated: P = Q)
    stress: bool = False  # modelled world: spreads twice as wide, volatility at the money a point lower
    n_snapshots: int = 1500  # simulated world only
    seed: int = 0  # modelled and simulated worlds only

    def __post_init__(self) -> None:
        _require(
            bool(self.source.strip()),
            f"source={self.source!r}: expected the name of a market source, e.g. sp500_modelled. Pass one as SOURCE.",
        )
        _require(
            1 <= self.n_snapshots <= MAX_SNAPSHOTS,
            f"n_snapshots={self.n_snapshots:,}: expected 1 to {MAX_SNAPSHOTS:,}, e.g. 1500.",
        )
        _require(
            0 < self.near_days <= self.far_days,
            f"near_days={self.near_days} and far_days={self.far_days}: expected 0 < near_days <= far_days. "
            "Swap or raise them.",
        )
        _require(
            0 < self.tenor_tolerance < 1,
            f"tenor_tolerance={self.tenor_tolerance}: expected a fraction between 0 and 1, e.g. 0.5.",
        )
        dates = (self.train_until, self.validation_until)
        _require(
            dates == (None, None) or (all(map(_is_date, dates)) and dates[0] < dates[1]),  # type: ignore[operator]
            f"train_until={dates[0]!r} and validation_until={dates[1]!r}: expected two dates in order, e.g. 2012-12-31 "
            "and 2016-12-31, or neither.",
        )
        within = (self.first_date, *dates, self.last_date)
        ordered = [day for day in within if day is not None]
        _require(
            within[0] is within[-1] is None
            or (None not in dates and all(map(_is_date, ordered)) and ordered == sorted(set(ordered))),
            f"first_date={self.first_date!r} and last_date={self.last_date!r}: expected dates around train_until and "
            f"validation_until ({dates[0]!r}, {dates[1]!r}), or neither.",
        )
        _require(
            self.train_fraction > 0
            and self.validation_fraction >= 0
            and self.train_fraction + self.validation_fraction < 1,
            f"train_fraction={self.train_fraction} and validation_fraction={self.validation_fraction} leave no test "
            "window. Use fractions that sum to less than 1, e.g. 0.80 and 0.10.",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvConfig:
    """The account, its costs and its limits."""

    capital_usd: float = 5_000_000.0
    horizon: int = 126  # snapshots an episode lasts
    fill_lag: int = 1  # snapshots between decision and fill, 0 or 1
    fill_rule: str = "touch"
    fill_fraction: float = 1.0  # of the half-spread; touch = 1, mid = 0; beyond 1 for stress
    commission_per_contract_usd: float = 0.65
    commission_per_share_usd: float = 0.005
    share_spread_bps: float = 1.0  # full bid-ask spread of the underlying proxy
    borrow_rate: float = 0.003  # a year, on the value of shares sold short
    risk_fraction: float = 0.02  # of equity at risk a trade (maximum loss, else margin)
    assignable_fraction: float = 0.25  # short strikes x multiplier may reach this share of equity
    ruin_fraction: float = 0.10  # an episode terminates below this share of its entry equity
    scan_down: float = 0.08  # portfolio margin: price scan of a broad index, -8% .. +6%
    scan_up: float = 0.06
    scan_points: int = 10
    scan_vol_shock: float = 0.20  # relative shock of implied vol, both ways
    min_margin_per_short_usd: float = 37.5  # OCC's floor for a short contract
    max_net_exposure: float = 1.0  # times equity: |shares + deltas of the options| x spot
    max_gross_exposure: float = 2.0  # times equity: (|shares| + |delta| of each leg) x spot
    crash_move: float = -0.20  # of spot, relative, in the crash that the budget states
    crash_vol_shock: float = 1.0  # of implied vol, relative, in that crash: twice as high
    max_crash_loss: float = 0.25  # of equity: what the whole book may lose in it
    max_vega: float = 0.005  # of equity per point of vol, either sign; caps openings alone
    max_premium_sold: float = 0.25  # of equity per stretch of 21 sessions of the account: options sold to open
    budget_headroom: float = 0.9  # share of each cap above that an action may use at the marks it is decided on
    reward: str = "profit"  # profit in excess of cash; log_growth and mean_variance mind risk (`env.rewards`)
    risk_aversion: float = 1.0  # of the rewards that mind risk: 1 is growth in the long run, more is caution
    reward_scale: float = 0.02  # times excess return in basis points
    risk_penalty: float = 0.0  # of the profit: times margin used, in basis points
    expected_reward: bool = False  # in worlds that know what was expected: the reward less what nobody could expect

    def __post_init__(self) -> None:
        _require(self.capital_usd > 0, f"capital_usd={self.capital_usd}: expected a positive amount, e.g. 5000000.")
        _require(self.horizon >= 1, f"horizon={self.horizon}: expected at least 1 snapshot, e.g. 21.")
        _require(self.fill_lag in (0, 1), f"fill_lag={self.fill_lag}: expected 0 (same snapshot) or 1 (the next).")
        _require(
            self.fill_rule in FILL_RULES,
            f"unknown fill_rule {self.fill_rule!r}: expected one of {', '.join(FILL_RULES)}.",
        )
        _require(
            self.fill_rule != "touch" or self.fill_fraction == 1.0,
            f"fill_rule='touch' with fill_fraction={self.fill_fraction}: touch is fraction 1. "
            "Use fill_rule='fraction' for another share of the half-spread.",
        )
        _require(self.fill_fraction >= 0, f"fill_fraction={self.fill_fraction}: expected 0 (mid) or more.")
        for name in (
            "commission_per_contract_usd",
            "commission_per_share_usd",
            "share_spread_bps",
            "borrow_rate",
            "min_margin_per_short_usd",
            "risk_penalty",
        ):
            _require(
                getattr(self, name) >= 0,
                f"{name}={getattr(self, name)}: a cost cannot be negative. Use 0 or more.",
            )
        _require(0 < self.risk_fraction <= 1, f"risk_fraction={self.risk_fraction}: expected (0, 1], e.g. 0.02.")
        _require(
            0 < self.reward_scale < float("inf"),
            f"reward_scale={self.reward_scale}: expected a positive number, e.g. 0.02.",
        )
        _require(self.reward in REWARDS, f"unknown reward {self.reward!r}: expected one of {', '.join(REWARDS)}.")
        _require(
            0 < self.risk_aversion < float("inf"),
            f"risk_aversion={self.risk_aversion}: expected a positive number, 1 for growth in the long run.",
        )
        _require(
            self.reward == "profit" or self.risk_penalty == 0.0,
            f"risk_penalty={self.risk_penalty} with reward={self.reward!r}: the penalty is of the profit alone, and "
            "would be left out. Use risk_penalty=0 and a larger risk_aversion, or reward='profit'.",
        )
        _require(self.scan_points >= 2, f"scan_points={self.scan_points}: expected at least 2, e.g. 10.")
        for name in CAPS:
            _require(
                0 < getattr(self, name) <= NO_CAP,
                f"{name}={getattr(self, name)}: expected more than 0 and at most {NO_CAP:g} (as good as none), e.g. 1.",
            )
        _require(-1 < self.crash_move < 0, f"crash_move={self.crash_move}: expected a fall above -1, e.g. -0.2.")
        _require(
            0 <= self.crash_vol_shock < float("inf"),
            f"crash_vol_shock={self.crash_vol_shock}: expected 0 (vols stay) or more, e.g. 1 (they double).",
        )
        _require(0 < self.budget_headroom <= 1, f"budget_headroom={self.budget_headroom}: expected (0, 1], e.g. 0.9.")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldsConfig:
    """Worlds that are generated to train in (`market.worlds.families`), fitted to the market's training dates.

    Shares are relative; where all are zero the training dates themselves are traded.
    """

    historical: float = 0.0  # training days drawn one by one
    blocks: float = 0.0  # in runs of a month
    heston: float = 0.0  # a square-root variance
    bates: float = 0.0  # with jumps
    history: float = 0.0  # training days as they came
    years: float | None = None  # of market in all worlds together; None: every episode in another world
    varied: float = 1.0  # how much worlds differ in premium, drift, spread and smile; 0: not at all
    seed: int = 0

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            _require(0 <= share < float("inf"), f"worlds: {name}={share}: expected a share of 0 or more.")
        _require(
            self.years is None or self.years > 0, f"worlds: years={self.years}: expected more than 0, or none at all."
        )
        _require(self.varied >= 0, f"worlds: varied={self.varied}: expected 0 (all alike) or more, e.g. 1.")

    @property
    def shares(self) -> dict[str, float]:
        """The share of each family, by its name."""
        return {name: getattr(self, name) for name in ("historical", "blocks", "heston", "bates", "history")}

    @property
    def generated(self) -> bool:
        """Whether there is any."""
        return any(self.shares.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The dual-trunk CLSTM."""

    hidden_dim: int = 256
    encoder_layers: int = 2  # 0: the trunks read the standardised observation itself
    n_lstm_layers: int = 1
    n_heads: int = 4
    attention_window: int = 16  # W: past LSTM outputs that the attention sees, the current one included
    memory_steps: int = 128  # at the start, LSTM units forget over 2 .. this many steps: memory beyond BPTT's reach
    use_attention: bool = True
    dual_trunk: bool = True
    hold_bias: float = 0.0  # logit of `hold` at the start beyond every other action's; the entropy bonus pulls there

    def __post_init__(self) -> None:
        _require(
            self.hidden_dim >= 1 and self.hidden_dim % self.n_heads == 0,
            f"hidden_dim={self.hidden_dim} is no multiple of n_heads={self.n_heads}. "
            f"Use e.g. hidden_dim={max(1, self.hidden_dim // self.n_heads) * self.n_heads}.",
        )
        _require(self.encoder_layers >= 0, f"encoder_layers={self.encoder_layers}: expected at least 0, e.g. 2.")
        _require(self.attention_window >= 1, f"attention_window={self.attention_window}: expected at least 1.")
        _require(self.memory_steps >= 2, f"memory_steps={self.memory_steps}: expected at least 2, e.g. 128.")
        _require(
            self.n_lstm_layers == 1,
            f"n_lstm_layers={self.n_lstm_layers}: one layer a trunk is supported. Use n_lstm_layers=1.",
        )
        _require(
            abs(self.hold_bias) <= MOST_BIAS,
            f"hold_bias={self.hold_bias}: expected a number between -{MOST_BIAS:g} and {MOST_BIAS:g}, e.g. 2.",
        )


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
            _require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: expected at least 1.")
        _require(
            self.n_envs * self.n_steps <= MAX_SAMPLES,
            f"n_envs={self.n_envs} x n_steps={self.n_steps} is a rollout of {self.n_envs * self.n_steps:,} samples: "
            f"expected at most {MAX_SAMPLES:,}. Use fewer envs or steps.",
        )
        _require(
            self.n_steps % self.bptt_steps == 0,
            f"bptt_steps={self.bptt_steps} cuts the rollout: n_steps={self.n_steps} is no multiple of it. "
            f"Use a divisor of {self.n_steps}.",
        )
        sequences = self.batch_size / self.bptt_steps
        nearest = max(1, round(sequences)) * self.bptt_steps
        _require(
            self.batch_size % self.bptt_steps == 0,
            f"batch_size={self.batch_size} cuts sequences: bptt_steps={self.bptt_steps} gives {sequences:g} sequences "
            f"per minibatch. Use a multiple of {self.bptt_steps}, e.g. {nearest}.",
        )
        samples = self.n_envs * self.n_steps
        _require(
            samples % self.batch_size == 0,
            f"batch_size={self.batch_size} does not divide the rollout: n_envs={self.n_envs} x n_steps={self.n_steps} "
            f"= {samples} samples give {samples / self.batch_size:g} minibatches. Use a divisor of {samples}.",
        )
        _require(0 < self.clip_epsilon < 1, f"clip_epsilon={self.clip_epsilon}: expected (0, 1), e.g. 0.10.")
        _require(0 < self.gamma <= 1, f"gamma={self.gamma}: expected (0, 1], e.g. 0.99.")
        for name in ("evaluate_every", "checkpoint_every"):
            _require(getattr(self, name) >= 1, f"{name}={getattr(self, name)}: expected at least 1 iteration.")
        _require(0 <= self.gae_lambda <= 1, f"gae_lambda={self.gae_lambda}: expected [0, 1], e.g. 0.95.")

    @property
    def samples_per_iteration(self) -> int:
        """Env steps of one rollout."""
        return self.n_envs * self.n_steps

    @property
    def sequences_per_minibatch(self) -> int:
        """Sequences of `bptt_steps` steps in one minibatch."""
        return self.batch_size // self.bptt_steps


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuneConfig:
    """How training goes on from a champion's weights; where none is named, it begins from scratch.

    First the critic alone, then, where held-out dates show that it foresees more, the actor, held near the champion.
    """

    champion: str = ""  # identity of the bundle that it begins with; empty: from scratch
    recent_sessions: int = 504  # training sessions, the newest, that most of the experience comes from
    recent_share: float = 0.75  # of the envs live in them; the others replay every session before them
    least_gain: float = 0.0  # of held-out explained variance, that the critic must gain beyond
    actor_lr_share: float = 0.1  # of the champion's own actor_lr
    clip_epsilon: float = 0.1
    kl_coef: float = 1.0  # weight of KL(champion || new) in the actor's loss
    kl_cap: float = 0.02  # nats, mean per decision with a choice: beyond it training ends and is taken back

    def __post_init__(self) -> None:
        _require(self.recent_sessions >= 1, f"recent_sessions={self.recent_sessions}: expected at least 1, e.g. 504.")
        for name, most in (("recent_share", 1.0), ("actor_lr_share", 0.1), ("clip_epsilon", 0.1)):
            _require(
                0 < getattr(self, name) <= most,
                f"{name}={getattr(self, name)}: expected more than 0 and at most {most:g}. A fine-tuned policy goes in "
                "small steps.",
            )
        _require(self.kl_coef >= 0, f"kl_coef={self.kl_coef}: expected 0 (no pull to the champion) or more, e.g. 1.")
        _require(0 < self.kl_cap < float("inf"), f"kl_cap={self.kl_cap}: expected a positive number, e.g. 0.02.")

    def ppo(self, champion: PPOConfig) -> PPOConfig:
        """The settings that the actor is fine-tuned with: the champion's own, in smaller steps and one epoch."""
        return dataclasses.replace(
            champion,
            policy_epochs=1,
            clip_epsilon=min(self.clip_epsilon, champion.clip_epsilon),
            actor_lr=self.actor_lr_share * champion.actor_lr,
            target_kl=None,  # it would raise the LR again
            entropy_start=champion.entropy_end,  # where the champion's own training ended
            entropy_end=champion.entropy_end,
        )


COMPILE_FROM_STEPS = 20_000
"""Steps of the env from which compiling it pays: it takes 20 s or so, and saves 1.4 ms of each step and more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One training run, complete: its hash names the run's configuration in every manifest."""

    recipe: str = "seed_100m"
    timesteps: int = 100_000_000
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda
    precision: str = "float32"  # of the LSTM's products: float32, bfloat16, auto (the faster, measured at the start)
    compile_env: str = "auto"  # the env's step as one compiled function: on, off, auto (where the run is long enough)
    market: MarketConfig = field(default_factory=MarketConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    worlds: WorldsConfig = field(default_factory=WorldsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)

    def __post_init__(self) -> None:
        _require(
            self.timesteps >= 1,
            f"timesteps={self.timesteps}: expected at least one rollout of {self.ppo.samples_per_iteration} steps.",
        )
        _require(0 <= self.seed < 2**63, f"seed={self.seed}: expected a whole number from 0 to 2^63 - 1.")
        _require(
            self.device in ("auto", "cpu", "cuda"),
            f"unknown device {self.device!r}: expected auto, cpu or cuda.",
        )
        _require(
            self.precision in ("auto", "float32", "bfloat16"),
            f"unknown precision {self.precision!r}: expected auto, float32 or bfloat16.",
        )
        _require(
            self.compile_env in ("auto", "on", "off"),
            f"unknown compile_env {self.compile_env!r}: expected auto, on or off.",
        )

    @property
    def memory_sessions(self) -> int:
        """Decisions after which the policy forgets, in training and wherever it is used: an episode's horizon."""
        return self.env.horizon

    @property
    def n_iterations(self) -> int:
        """Rollouts needed to reach `timesteps`, the last one whole."""
        return -(-self.timesteps // self.ppo.samples_per_iteration)

    @property
    def compiles_env(self) -> bool:
        """Whether the env's step is to be compiled: where that takes less time than it saves."""
        walked = self.n_iterations * self.ppo.n_steps
        return self.compile_env == "on" or (self.compile_env == "auto" and walked >= COMPILE_FROM_STEPS)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)

    @property
    def sha256(self) -> str:
        """Hash of the settings that are not the defaults: a new setting with a default leaves every run's hash alone.

        Where the market's files lie is left out: it names no setting of the run.
        """
        return hashlib.sha256(json.dumps(non_defaults(self), sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RunConfig":
        """Rebuild from `to_dict`; unknown keys raise ConfigError naming them."""
        rooms = {
            "market": MarketConfig,
            "env": EnvConfig,
            "worlds": WorldsConfig,
            "model": ModelConfig,
            "ppo": PPOConfig,
            "fine_tune": FineTuneConfig,
        }
        values = dict(data)
        for name, room in rooms.items():
            if name in values:
                values[name] = _from_dict(room, values[name], name)
        return _from_dict(cls, values, "run")


def non_defaults(config: Any) -> dict[str, Any]:
    """Settings of a configuration that differ from its class's defaults, as plain JSON types, rooms within."""
    usual, found = type(config)(), {}
    for item in dataclasses.fields(config):
        mine, theirs = getattr(config, item.name), getattr(usual, item.name)
        if mine == theirs or item.name == "data_dir":
            continue
        found[item.name] = non_defaults(mine) if dataclasses.is_dataclass(mine) else mine
    return found


def _from_dict(kind: type, data: dict[str, Any], name: str) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(set(data) - known)
    _require(not unknown, f"unknown {name} setting {', '.join(unknown)}: expected only {', '.join(sorted(known))}.")
    return kind(**data)


def seed_100m() -> RunConfig:
    """The published command to the letter; its flags mean BPTT over 16 steps with stored states here."""
    return RunConfig(recipe="seed_100m", precision="auto")


WORLDS = WorldsConfig(historical=1.0)
"""Training days drawn one by one. What is rewarded raw (blocks, the days as they came) would drown the rest in its
noise even at a twentieth of all episodes, and a square-root variance rises from calm markets as no history did: these
families are left to judge in, since training never meets them."""

CAUTIOUS = EnvConfig(horizon=126, reward="log_growth", risk_aversion=60.0, expected_reward=True)
"""Half a year per episode, so that crashes happen inside; the reward is growth, less what nobody could expect of it. At
this aversion risk costs a third of what the policy earns: at a lower one it takes the premium and hedges less, for less
per unit of risk."""


def steady_100m() -> RunConfig:
    """A hundred million steps in worlds that never repeat; sizes are the published run's."""
    return RunConfig(
        recipe="steady_100m",
        precision="auto",
        env=CAUTIOUS,
        worlds=WORLDS,
        model=ModelConfig(hold_bias=2.0),
        ppo=PPOConfig(
            gamma=0.95,
            actor_lr_floor=1.0,  # target_kl alone sets it: what anneals besides stops moving the policy half way
            critic_lr_floor=0.2,
            entropy_start=0.03,
            entropy_end=0.001,
            target_kl=0.012,
        ),
    )


def default_cpu() -> RunConfig:
    """What `make demo` trains: minutes on two cores."""
    return RunConfig(
        recipe="default_cpu",
        timesteps=1_000_000,
        env=CAUTIOUS,
        worlds=WORLDS,
        model=ModelConfig(hidden_dim=64, hold_bias=2.0),
        ppo=PPOConfig(
            n_envs=128,
            n_steps=64,
            batch_size=1024,
            policy_epochs=3,  # the reward has little noise left: a rollout tells more than one pass takes from it
            extra_critic_epochs=2,
            actor_lr=1e-3,  # few updates: the published 1e-4 moves the policy by a KL of 1e-6 an iteration here
            critic_lr=1e-3,
            actor_lr_floor=1.0,  # target_kl alone sets it
            critic_lr_floor=0.2,
            entropy_start=0.03,  # who waits at first must try enough to find what pays in one regime alone
            entropy_end=0.001,
            gamma=0.95,  # what is held is a month's; further ahead there is noise alone
            target_kl=0.012,
            evaluate_every=5,
        ),
    )


def smoke() -> RunConfig:
    """Seconds: five iterations of a tiny model, so that tests walk the whole chain."""
    return RunConfig(
        recipe="smoke",
        timesteps=5 * 16 * 16,
        env=EnvConfig(horizon=21),
        model=ModelConfig(hidden_dim=16, attention_window=4),
        ppo=PPOConfig(n_envs=16, n_steps=16, batch_size=64, bptt_steps=8, extra_critic_epochs=1),
    )


RECIPES = {"seed_100m": seed_100m, "steady_100m": steady_100m, "default_cpu": default_cpu, "smoke": smoke}
