"""What one retraining is to do, chosen once: a champion, a date, the days held out, and how much is trained.

    [ train ................ ]  gap  [ gate ]  gap  [ judged ]  as of

`gate`: sessions on which the critic's gain is measured; `judged`: sessions on which champion and challenger are laid
side by side. Neither is trained on by anybody, and an embargo as wide as a walk-forward's lies before each.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.places import run_name
from clstm_core.config import RECIPES, FineTuneConfig, MarketConfig, RunConfig
from clstm_core.errors import ConfigError
from clstm_core.feedback.registry_state import is_writable
from clstm_core.recipe import AUDITS
from clstm_core.walk_forward.folds import FEWEST_TEST, Fold, Span, embargo_of, market_of, require_apart

CHAMPION, SCRATCH = "champion", "scratch"
STARTS = (CHAMPION, SCRATCH)

PLAN = "retrain.json"
"""Where a plan is kept, in the folder of its first start's run."""

NEWEST = "retrain_as_of.json"
"""Beside it, of a plan that names no date: the newest session when it was begun."""

DAYS = {"gate": 252, "judged": 252}
"""Sessions of either, where nothing else is said: a year."""


@dataclass(frozen=True, kw_only=True)
class RetrainPlan:
    """One retraining: every start is trained in the same market and judged on the same days.

    Args:
        name: of the first start's run; another start's is NAME.START
        why: what asked for it, in words: kept with what comes of it
        settings: what the champion was trained with, or what a first policy is trained with (`RunConfig.to_dict`)
        champion: identity of the champion's bundle; champion_folder: where that lies, below the data folder. Both empty
                  where there is none: a challenger from scratch is held against cash then
        as_of: the last session that is known, ISO; the newest of the source where left out
        steps: env steps of each start
        training: newest sessions that are trained on; None: all that lie before (an expanding window)
        gate, judged: sessions held out
        worlds: fair worlds that luck is told by; parity_steps: decisions that every exported runtime must make alike

    Raises: ConfigError for what cannot work, before anything is done
    """

    name: str
    why: str
    settings: Mapping[str, Any]
    starts: tuple[str, ...] = (CHAMPION,)
    champion: str = ""
    champion_folder: str = ""
    data_dir: str | None = None
    as_of: str | None = None
    steps: int = 200_000
    seed: int = 0
    training: int | None = None
    gate: int = DAYS["gate"]
    judged: int = DAYS["judged"]
    worlds: int = 200
    parity_steps: int = 500
    device: str = "auto"
    audit: str = "quick"
    fine_tune: FineTuneConfig = field(default_factory=FineTuneConfig)

    def __post_init__(self) -> None:
        run_name(f"{self.name}.{SCRATCH}")
        if not self.starts or set(self.starts) - set(STARTS) or len(set(self.starts)) < len(self.starts):
            raise ConfigError(f"starts {list(self.starts)}: expected some of {', '.join(STARTS)}, each once.")
        if CHAMPION in self.starts and not (self.champion and self.champion_folder):
            raise ConfigError(
                "no champion to begin with: expected one in the registry. Pass --start scratch for a first challenger, "
                "or appoint a champion (`clstm champion appoint`)."
            )
        if not self.why.strip():
            raise ConfigError("a retraining without a reason: expected some words. Pass --why.")
        if not is_writable(self.why):
            raise ConfigError(f"why {self.why!r}: expected text that UTF-8 can hold. Pass another --why.")
        if self.fine_tune.champion:
            raise ConfigError("fine_tune names a champion: expected it as `champion`, which every start is held by.")
        if self.audit not in AUDITS:
            raise ConfigError(f"unknown audit {self.audit!r}: expected one of {', '.join(AUDITS)}.")
        least = max(FEWEST_TEST, self.base.env.horizon + 1)
        limits = (("steps", 1), ("judged", FEWEST_TEST), ("gate", least), ("worlds", 1), ("parity_steps", 1))
        for what, fewest in limits:
            if (found := getattr(self, what)) < fewest:
                raise ConfigError(f"{what}={found}: expected at least {fewest}. Raise it.")
        if self.as_of is not None:
            try:
                date.fromisoformat(self.as_of)
            except ValueError:
                raise ConfigError(f"as_of={self.as_of!r}: expected a date like 2026-06-30. Pass one.") from None

    @property
    def base(self) -> RunConfig:
        """The settings that every start is trained with, its windows and its own steps aside.

        A champion that was itself fine-tuned carries smaller steps than its recipe's: those are not made smaller again.
        """
        base = RunConfig.from_dict(dict(self.settings))
        if base.fine_tune.champion and base.recipe in RECIPES:
            base = dataclasses.replace(base, ppo=RECIPES[base.recipe]().ppo)
        return dataclasses.replace(base, fine_tune=FineTuneConfig())

    @property
    def market(self) -> MarketConfig:
        """The market's settings, its windows aside, with the place of its files."""
        usual: dict[str, Any] = dict.fromkeys(("first_date", "train_until", "validation_until", "last_date"))
        return dataclasses.replace(self.base.market, data_dir=self.data_dir, **usual)

    @property
    def embargo(self) -> int:
        """Sessions between windows, as a walk-forward keeps them."""
        return embargo_of(self.base.env, self.base.market)

    def known(self, sessions: Sequence[date]) -> list[date]:
        """The sessions until `as_of`, ascending."""
        return [day for day in sessions if self.as_of is None or day.isoformat() <= self.as_of]

    def cut(self, sessions: Sequence[date]) -> Fold:
        """Which of the known sessions are trained on, gated on and judged on.

        Raises: ConfigError for a history that is too short
        """
        n, gap = len(sessions), self.embargo
        judged = Span(n - self.judged, n)
        gate = Span(judged.start - gap - self.gate, judged.start - gap)
        end = gate.start - gap
        least = max(self.base.market.min_training_snapshots, self.base.env.horizon + 1)
        if end < least:
            raise ConfigError(
                f"{n:,} sessions are known{f' until {self.as_of}' if self.as_of else ''}: expected at least "
                f"{n - end + least:,} ({least} to train on, {self.gate} for the gate, {self.judged} to judge on, and "
                f"two embargoes of {gap}). Pass a later --as-of, or a longer history."
            )
        begin = 0 if self.training is None else max(0, end - max(least, self.training))
        fold = Fold(number=1, train=Span(begin, end), validation=gate, test=judged)
        require_apart([fold], gap)
        return fold

    def fold_market(self, fold: Fold, sessions: Sequence[date]) -> MarketConfig:
        """The market that every start is trained and judged in."""
        return dataclasses.replace(self.market, **market_of(fold, sessions))

    def run_config(self, start: str, fold: Fold, sessions: Sequence[date]) -> RunConfig:
        """The whole configuration of one start; where the market's files lie is no part of it."""
        base = self.base
        warm = start == CHAMPION
        return dataclasses.replace(
            base,
            timesteps=self.steps,
            seed=self.seed,
            device=self.device,
            market=dataclasses.replace(self.fold_market(fold, sessions), data_dir=None),
            ppo=self.fine_tune.ppo(base.ppo) if warm else base.ppo,
            fine_tune=dataclasses.replace(self.fine_tune, champion=self.champion) if warm else FineTuneConfig(),
        )

    def run_of(self, start: str) -> str:
        """The name of a start's run."""
        return run_name(self.name if start == self.starts[0] else f"{self.name}.{start}")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        facts = dataclasses.asdict(self)
        return {**facts, "starts": list(self.starts), "settings": dict(self.settings)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RetrainPlan":
        """Rebuild from `to_dict`; ConfigError for what is none of this release."""
        try:
            fine = FineTuneConfig(**data["fine_tune"])
            return cls(**{**data, "starts": tuple(data["starts"]), "fine_tune": fine})
        except (TypeError, LookupError, AttributeError) as error:
            raise ConfigError(f"no plan of a retraining: {error}. Expected the settings of one.") from error

    @property
    def sha256(self) -> str:
        """Hash of all but where files lie and where it computes."""
        elsewhere = ("data_dir", "device", "champion_folder")
        return json_sha256({key: value for key, value in self.to_dict().items() if key not in elsewhere})
