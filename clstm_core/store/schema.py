"""The tables of the metrics store, once: the DuckDB schema, its migrations and `docs/metrics.md` are derived from here.

A new column or table carries `since` = the next SCHEMA_VERSION; stores made before are migrated when next written.
Nothing is ever renamed or dropped, so an old store plus its migrations equals a fresh one.
"""

from dataclasses import dataclass

from clstm_core.evaluation.figures import STORED
from clstm_core.ppo.metrics import METRICS

TYPES = ("VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "DATE")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: DuckDB type, unit and meaning; a key column with a `default` may be left out of a row."""

    name: str
    type: str
    unit: str
    note: str
    default: str | None = None
    since: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """One table: columns in order and the natural key that makes writing twice the same as writing once."""

    name: str
    note: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    since: int = 1

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when there is none."""
        return {column.name: column for column in self.columns}[name]


def _text(name: str, note: str, unit: str = "", default: str | None = None) -> Column:
    return Column(name, "VARCHAR", unit, note, default)


def _count(name: str, note: str, unit: str = "count") -> Column:
    return Column(name, "BIGINT", unit, note)


def _number(name: str, unit: str, note: str) -> Column:
    return Column(name, "DOUBLE", unit, note)


def _flag(name: str, note: str) -> Column:
    return Column(name, "BOOLEAN", "", note)


def _time(name: str, note: str) -> Column:
    return Column(name, "TIMESTAMP", "UTC", note)


def _date(name: str, note: str) -> Column:
    return Column(name, "DATE", "", note)


RUN = _text("run", "name of the training run, the Dagster partition key")

RUNS = Table(
    "runs",
    "One row per training run: what it was made from and how it ended.",
    ("run",),
    (
        RUN,
        _text("recipe", "named configuration: seed_100m, steady_100m, default_cpu, smoke"),
        _text("status", "running, finished, failed or stopped"),
        _text("source", "market source that is traded in the backtests"),
        _text("label", "real quotes, modelled quotes or simulated quotes"),
        _text("spread", "quoted or modelled"),
        _text("trained_on", "market, or worlds made of one, that the policy was trained on, in words"),
        _text("trained_label", "what the quotes were that it was trained on"),
        _count("training_snapshots", "snapshots in the training window", "snapshots"),
        _count("heldout_snapshots", "snapshots in the test window", "snapshots"),
        _count("seed", "seed of the run", "integer"),
        _text("device", "cpu or cuda"),
        _count("timesteps", "env steps asked for", "env steps"),
        _count("env_steps", "env steps done", "env steps"),
        _count("iterations", "rollouts done"),
        _number("seconds", "s", "wall-clock time of training"),
        _time("started_at", "when training began"),
        _time("finished_at", "when training ended"),
        _text("config", "the whole RunConfig as JSON"),
        _text("config_sha256", "hash of the settings in `config` that are not the defaults", "hex"),
        _text("data_sha256", "identity of the market tensors traded in the backtests", "hex"),
        _text("training_data_sha256", "identity of the market tensors trained on", "hex"),
        _text("quotes_sha256", "hash of the canonical quotes file", "hex"),
        _text("quotes_dir", "folder of the canonical quotes, findings and quarantine, below the data folder"),
        _text("git_commit", "commit of the code, with -dirty when it was changed", "hex"),
        _text("champion_milestone", "rung of the ladder that was picked, e.g. 080; NULL where none qualifies"),
        _text("verdict", "the comparison in plain words"),
        _text("folder", "runs/<run>, below the data folder"),
    ),
)

RETIRED = (
    _number("explained_variance", "-inf..1", "until version 3: what bootstrapped_explained_variance is now"),
    _number("heldout_explained_variance", "-inf..1", "until version 3: heldout_bootstrapped_explained_variance"),
)
"""Columns that nothing is written to any more: nothing is renamed or dropped."""

TRAINING_METRICS = Table(
    "training_metrics",
    "One row per iteration (one rollout and its update), as in data/runs/<run>/metrics.jsonl.",
    ("run", "iteration"),
    (RUN, *(Column(item.name, item.type, item.unit, item.note, since=item.since) for item in METRICS), *RETIRED),
)

CHECKPOINTS = Table(
    "checkpoints",
    "One row per rung of the checkpoint ladder.",
    ("run", "milestone"),
    (
        RUN,
        _text("milestone", "020, 040, 060, 080 or 100: percent of the run"),
        _count("env_steps", "actual env steps at the checkpoint", "env steps"),
        _count("iteration", "rollouts done", "iterations"),
        _text("folder", "where its files lie, below the data folder"),
        _text("model_sha256", "hash of model.safetensors", "hex"),
        _text("manifest_sha256", "identity of the checkpoint: hash of its manifest.json", "hex"),
        _text("data_sha256", "identity of the market tensors trained on", "hex"),
        _text("git_commit", "commit of the code", "hex"),
        Column("memory_sessions", "BIGINT", "decisions", "after which the policy forgets: training's horizon", since=4),
    ),
)

GENERALISATION = Table(
    "generalisation",
    "One row per rung, kind of market and mode: what the policy earns where it was trained and where it was not, raw.",
    ("run", "milestone", "kind", "mode"),
    (
        RUN,
        _text("milestone", "rung of the ladder"),
        _text("kind", "training_worlds, training_dates, fresh_worlds, a family, validation_worlds or validation_dates"),
        _text("mode", "argmax or stochastic"),
        _count("env_steps", "env steps of the checkpoint", "env steps"),
        _text("label", "real quotes, modelled quotes or simulated quotes: of this kind of market"),
        _count("episodes", "whole episodes walked"),
        _number("draws", "count", "independent episodes that these are worth: few where dates or worlds are few"),
        _count("sessions", "sessions in all of them", "sessions"),
        _number("growth_bps", "bps per session", "mean log growth beyond cash"),
        _number("error_bps", "bps per session", "its standard error, by episodes"),
        _number("deviation_bps", "bps", "standard deviation of a session's growth"),
        _number("per_risk", "mean / deviation", "growth per unit of risk, not annualised"),
        _number("explained_variance_5", "-inf..1", "of the raw rewards of 5 sessions, what the critic foresaw"),
        _text("actions", "share of each action taken, as JSON"),
        _number("gap_bps", "bps per session", "growth where the rung was trained, less this"),
        _number("gap_error_bps", "bps per session", "its standard error, of independent episodes"),
        _number("gap_low_bps", "bps per session", "lower end of its 95% interval"),
        _number("gap_high_bps", "bps per session", "upper end of its 95% interval"),
    ),
    since=5,
)

CONTROLS = Table(
    "controls",
    "One row per recipe and world whose edge is known: what the recipe finds there, and how often a verdict says so.",
    ("recipe_sha256", "world"),
    (
        _text("recipe_sha256", "hash of what the recipe teaches and how, whatever market it trains on", "hex"),
        _text("world", "edge-free: nothing can be earned; overpaid: sellers of options earn"),
        _text("recipe", "named configuration"),
        _count("seed", "seed of weights and worlds", "integer"),
        _count("steps", "env steps that it learned from", "env steps"),
        _count("episodes", "whole episodes walked, in paths that it was not trained on"),
        _number("idle", "0..1", "share of decisions in which nothing was held"),
        _number("growth_bps", "bps per session", "mean log growth beyond cash"),
        _number("error_bps", "bps per session", "its standard error, by episodes"),
        _number("per_risk", "mean / deviation", "growth per unit of risk, not annualised"),
        _text("rule", "the fixed rule that earns most there; NULL where nothing can be earned"),
        _number("rule_growth_bps", "bps per session", "what that rule earns"),
        _count("windows", "windows that were judged as a verdict judges"),
        _count("window_sessions", "sessions of each", "sessions"),
        _count("called_better", "windows in which the policy was called better than cash"),
        _text("git_commit", "commit of the code", "hex"),
        _time("made_at", "when they were made"),
    ),
    since=6,
)

GATE_RESULTS = Table(
    "gate_results",
    "One row per check: the proofs of the environment audit, the recurrent self-test, parity, quality, ledger checks.",
    ("run", "data_sha256", "gate", "name"),
    (
        _text("run", "training run; empty for a gate on market data alone", default=""),
        _text("data_sha256", "identity of the market tensors the gate looked at; empty when none", "hex", default=""),
        _text("gate", "group of checks, e.g. environment_audit, self_test, parity"),
        _text("name", "the check, e.g. conservation"),
        _flag("passed", "whether it held"),
        _flag("blocking", "whether a failure stops the chain"),
        _number("statistic", "see detail", "what was measured"),
        _number("threshold", "see detail", "what it may be at most"),
        _text("detail", "the finding in a sentence"),
        _number("seconds", "s", "how long it took"),
        _time("recorded_at", "when it ran"),
    ),
)

BACKTESTS = Table(
    "backtests",
    "One row per backtest: policy x checkpoint x window x fill rule x seed, one chronological account.",
    ("backtest_id",),
    (
        _text("backtest_id", "folder name under data/backtests"),
        _text("run", "training run it belongs to"),
        _text("policy", "checkpoint, or the baseline's name: docs/baselines.md"),
        _text("name", "the policy's name, unique on a window, e.g. clstm_080_argmax or cash"),
        _text("milestone", "rung of the ladder; empty for a baseline"),
        _text("mode", "argmax or stochastic; empty for a baseline"),
        _text("window", "test, validation, in_sample, or a fold's name"),
        _date("first_date", "first session of the window"),
        _date("last_date", "last session of the window"),
        _count("n_snapshots", "sessions in the window", "sessions"),
        _text("source", "market source"),
        _text("label", "real quotes, modelled quotes or simulated quotes"),
        _text("spread", "quoted or modelled"),
        Column("premium", "BOOLEAN", "", "FALSE in a world without a variance premium (the twin)", since=2),
        Column("world", "VARCHAR", "", "zero_premium or stressed: a world beside the market; NULL: itself", since=3),
        _text("fill_rule", "touch or fraction"),
        _number("fill_fraction", "of the half-spread", "1 = touch, 0 = mid"),
        _count("fill_lag", "snapshots between decision and fill", "snapshots"),
        _count("seed", "seed of a stochastic policy", "integer"),
        *(Column(item.name, item.type, item.unit, item.note, since=item.since) for item in STORED),
        _text("folder", "where its Parquet files lie, below the data folder"),
        _text("quotes_path", "canonical quotes file it was traded on, below the data folder"),
        _text("quotes_sha256", "hash of that file", "hex"),
        _text("data_sha256", "identity of the market tensors", "hex"),
        _text("config_sha256", "hash of the run's configuration", "hex"),
        _text("git_commit", "commit of the code", "hex"),
        _time("created_at", "when it ran"),
    ),
)

COMPARISONS = Table(
    "comparisons",
    "One row per paired difference: a policy against another over the same dates, with a bootstrap interval.",
    ("run", "policy", "milestone", "mode", "against", "window", "fill_lag", "fill_rule", "metric"),
    (
        RUN,
        _text("policy", "checkpoint, or the baseline that is judged"),
        _text("policy_name", "its name, as in `backtests`"),
        _text("milestone", "its rung; empty for a baseline", default=""),
        _text("mode", "argmax or stochastic; empty for a baseline", default=""),
        _text("against", "policy it is compared with; empty when the estimate stands alone", default=""),
        _text("window", "test, validation, in_sample, or a fold's name"),
        Column("fill_lag", "BIGINT", "snapshots", "between decision and fill", "1"),
        _text("fill_rule", "touch, or e.g. fraction 0.56 (of the half-spread)", default="touch"),
        _text("metric", "e.g. mean_daily_excess_bps, sharpe", default="mean_daily_excess_bps"),
        _count("env_steps", "env steps of the checkpoint", "env steps"),
        _number("estimate", "of metric", "the difference, policy less `against`"),
        _number("ci_low", "of metric", "lower end of the interval"),
        _number("ci_high", "of metric", "upper end of the interval"),
        _number("confidence", "0..1", "of the interval, e.g. 0.95"),
        _number("p_value", "0..1", "share of fair worlds in which luck did at least as well, where walked"),
        Column("p_adjusted", "DOUBLE", "0..1", "the same by Holm's rule, of all baselines but cash together", since=4),
        Column("n_worlds", "BIGINT", "count", "fair worlds walked", since=4),
        _count("n_dates", "paired dates", "sessions"),
        _count("n_bootstrap", "bootstrap samples"),
        _text("method", "e.g. stationary bootstrap by dates, and its block length"),
        _flag("distinguishable", "whether the interval leaves out zero"),
        _flag("champion", "whether this rung was picked"),
        _text("verdict", "in plain words"),
        _time("recorded_at", "when it was computed"),
    ),
)

CONVENTION_SWEEPS = Table(
    "convention_sweeps",
    "One row per convention: what the judged policy would have returned under it. None of it is a result; none is a "
    "trial.",
    ("run", "sweep", "variant", "policy"),
    (
        RUN,
        _text("sweep", "sin, delay, spread or break_even"),
        _text("variant", "the sin's name, sessions from decision to fill, or the spread that is paid"),
        _text("policy", "whose decisions or orders, as in `backtests`"),
        _text("label", "real quotes, modelled quotes or simulated quotes"),
        _flag("possible", "FALSE: nobody could have traded so"),
        _count("fill_lag", "of a delay: sessions from decision to fill; below 0 before it", "sessions"),
        _number("spread_multiple", "of the half-spread", "that is paid, or at which what cash earns is earned"),
        _number("total_return", "fraction", "over the judged window"),
        _number("less_cash", "fraction", "total return less that of cash"),
        _number("less_clean", "fraction", "total return less the clean walk's"),
        _number("sharpe", "per year", "of returns in excess of cash; of a sin per session below a year: see `metric`"),
        _text("metric", "what the estimate is a difference of, against the clean walk"),
        _number("estimate", "of metric", "paired difference: of a sin the inflation of the Sharpe ratio"),
        _number("ci_low", "of metric", "lower end of the interval"),
        _number("ci_high", "of metric", "upper end of the interval"),
        _number("confidence", "0..1", "of the interval"),
        _count("n_dates", "paired dates", "sessions"),
        _count("n_fills", "trades of contracts and shares"),
        _count("n_missed", "orders of a delay of which a leg was not listed when they were handed over"),
        _text("verdict", "in plain words"),
    ),
    since=6,
)

TILT_AND_TIMING = Table(
    "tilt_and_timing",
    "One row per Greek, of the window and by month: what its average would have earned, and what varying it added.",
    ("run", "term", "month"),
    (
        RUN,
        _text("term", "delta, gamma, vega, theta, all four, or smile: volatilities of the legs beside the money's"),
        _text("month", "as 2024-01; empty for the whole window", default=""),
        _text("policy", "the judged policy, as in `backtests`"),
        _text("label", "real quotes, modelled quotes or simulated quotes"),
        _number("pnl_usd", "USD", "what the Greek earned"),
        _number("tilt_usd", "USD", "what its average over the window, held constant, would have earned"),
        _number("tilt_low", "USD", "lower end of the interval"),
        _number("tilt_high", "USD", "upper end of the interval"),
        _number("timing_usd", "USD", "the rest: exposure times what came, less their averages'"),
        _number("timing_low", "USD", "lower end of the interval"),
        _number("timing_high", "USD", "upper end of the interval"),
        _number("confidence", "0..1", "of the intervals"),
        _count("n_dates", "sessions", "sessions"),
    ),
    since=6,
)

EXPORTS = Table(
    "exports",
    "One row per exported file of a bundle, with its parity against the eager policy.",
    ("run", "file"),
    (
        RUN,
        _text("file", "e.g. policy.onnx"),
        _text("format", "safetensors, torchscript, onnx, json or markdown"),
        _text("milestone", "rung that was exported"),
        _text("folder", "folder of the bundle, below the data folder"),
        _text("sha256", "hash of the file", "hex"),
        _count("bytes", "size", "bytes"),
        _flag("parity_passed", "whether it decides as the eager policy does"),
        _count("parity_steps", "recurrent steps compared", "steps"),
        _count("parity_action_differences", "steps with another action", "steps"),
        _number("parity_max_logit_difference", "logits", "largest absolute difference"),
        _number("latency_p50_us", "us", "median of one decision, one thread"),
        _number("latency_p99_us", "us", "99% quantile"),
        _time("created_at", "when it was exported"),
        Column("memory_sessions", "BIGINT", "decisions", "after which the exported policy forgets", since=4),
        Column("manifest_sha256", "VARCHAR", "hex", "identity of the bundle: hash of its manifest.json", since=4),
    ),
)

TRIALS = Table(
    "trials",
    "The trial registry: every checkpoint x seed x configuration ever evaluated on a window.",
    ("run", "policy", "milestone", "mode", "seed", "config_sha256", "data_sha256", "window", "variant"),
    (
        RUN,
        _text("policy", "checkpoint, or a baseline"),
        _text("milestone", "rung of the ladder", default=""),
        _text("mode", "argmax or stochastic", default=""),
        Column("seed", "BIGINT", "integer", "seed of the evaluation", "0"),
        _text("config_sha256", "hash of the run's configuration", "hex", default=""),
        _text("data_sha256", "identity of the market tensors", "hex", default=""),
        _text("window", "window that was looked at"),
        _text("variant", "fill rule and lag, e.g. touch/1", default=""),
        _number("sharpe", "a year", "what the trial showed"),
        _number("total_return", "fraction", "what the trial showed"),
        _text("backtest_id", "the backtest"),
        _time("recorded_at", "when it was first evaluated"),
    ),
)

REPORTS = Table(
    "reports",
    "One row per report rendered for a run; the newest replaces the one before, as its files do.",
    ("run",),
    (
        RUN,
        _text("path", "index.html, relative to the data folder"),
        _text("url", "where the static server shows it"),
        _text("label", "real quotes, modelled quotes or simulated quotes"),
        _text("verdict", "as printed in the report"),
        _count("figures", "charts in it"),
        _count("bytes", "size of index.html", "bytes"),
        _time("created_at", "when it was rendered"),
    ),
)

ACCOUNT = _text("account", "name of the shadow account")

SHADOW_ACCOUNTS = Table(
    "shadow_accounts",
    "One row per shadow account: a bundle that decides on sessions as they arrive; every fill in it is simulated.",
    ("account",),
    (
        ACCOUNT,
        RUN,
        _text("bundle", "identity of the bundle", "hex"),
        _text("standing", "how its policy was chosen; UNQUALIFIED where it is no champion"),
        _text("source", "where its sessions come from"),
        _text("label", "what their quotes are"),
        _text("switch", "ACTIVE, REDUCING or HALTED"),
        _count("entries", "entries of its log"),
        _count("decided", "sessions that were decided on"),
        _count("refused", "sessions that were refused"),
        _time("first", "first session decided on"),
        _time("last", "last session decided on"),
        _number("equity_usd", "currency", "after the last session"),
        _number("total_return", "fraction", "since it began"),
        _number("cash_total_return", "fraction", "of cash over the same sessions"),
        _number("max_drawdown", "fraction", "largest fall from a peak"),
        _number("fees_usd", "currency", "commissions of its simulated fills"),
        _count("drift_flagged", "features whose drift is flagged: what retraining reads"),
        _text("drift_features", "their names"),
        _number("harm_wealth", "ratio", "evidence that it does worse than cash; 20 is enough"),
        _text("log_sha256", "of the last entry of its log", "hex"),
    ),
    since=7,
)

SHADOW_SESSIONS = Table(
    "shadow_sessions",
    "One row per session of a shadow account; its log has observations, logits, legs, orders and fills besides.",
    ("account", "sequence"),
    (
        ACCOUNT,
        _count("sequence", "entry of the log"),
        _text("kind", "decided or refused"),
        _time("snapshot", "the session"),
        _text("reasons", "why it was refused or limited"),
        _text("switch", "after it"),
        _text("regime", "calm, middle or wild by training's volatility"),
        _text("action_name", "what was decided"),
        _number("probability", "fraction", "of that action"),
        _number("value", "rewards", "the critic's expectation"),
        _number("reward", "rewards", "of the step that led here"),
        _count("fills", "simulated fills of the decision before"),
        _number("equity_usd", "currency", "after them"),
        _number("cash_return", "fraction", "of cash in the step that led here"),
        _number("margin_usd", "currency", "of the book"),
        _number("net_exposure", "fraction", "of equity"),
        _number("hedge_ratio", "ratio", "of the options' delta that shares offset"),
        _number("dollar_gamma_per_percent", "currency", "change of dollar delta for 1% of spot"),
        _number("book_vega_per_point", "currency", "per volatility point"),
        _number("quote_age_s", "s", "age of the quotes when they arrived"),
        _count("missing_sessions", "sessions of the exchange without a snapshot before this one"),
        _text("observation_sha256", "hash of what was observed", "hex"),
    ),
    since=7,
)

SHADOW_DRIFT = Table(
    "shadow_drift",
    "One row per feature and regime: how far the sessions that were met lie from training's dates.",
    ("account", "feature", "regime"),
    (
        ACCOUNT,
        _text("feature", "market feature"),
        _text("regime", "all, or a tercile of training's volatility"),
        _count("sessions", "that were met"),
        _number("psi", "index", "population stability index; 0.1 and 0.25 bound its bands"),
        _text("band", "steady, watch, moved or unmeasured"),
        _number("ks", "distance", "Kolmogorov and Smirnov's"),
        _number("p_value", "probability", "of that distance if days were independent draws, which they are not"),
        _number("wasserstein", "deviations of training", "distance"),
        _number("chance", "probability", "that one more stretch of training lies as far"),
        _number("by_chance", "index", "psi that one in twenty of training's own stretches reaches"),
        _flag("flagged", "whether retraining is asked for"),
    ),
    since=7,
)

SHADOW_RECONCILIATIONS = Table(
    "shadow_reconciliations",
    "One row per comparison of a shadow account with the backtest of its days and quotes.",
    ("account", "log_sha256"),
    (
        ACCOUNT,
        _text("log_sha256", "of the last entry that was compared", "hex"),
        _text("backtest_id", "the backtest"),
        _flag("decisions_equal", "whether every decision is the backtest's"),
        _flag("to_the_cent", "whether every fill and sum of money is"),
        _text("answer", "in a sentence"),
        _count("sessions", "compared"),
        _count("decisions_differing", "sessions"),
        _count("masks_differing", "sessions with other legal actions"),
        _count("fills_differing", "sessions"),
        _number("largest_usd", "currency", "largest difference of a sum of money"),
        _count("limited", "sessions under a switch that was not ACTIVE"),
        _count("refused", "sessions that are in neither"),
    ),
    since=7,
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        RUNS,
        TRAINING_METRICS,
        CHECKPOINTS,
        GENERALISATION,
        GATE_RESULTS,
        BACKTESTS,
        COMPARISONS,
        CONVENTION_SWEEPS,
        TILT_AND_TIMING,
        EXPORTS,
        TRIALS,
        REPORTS,
        CONTROLS,
        SHADOW_ACCOUNTS,
        SHADOW_SESSIONS,
        SHADOW_DRIFT,
        SHADOW_RECONCILIATIONS,
    )
}


SCHEMA_VERSION = max(max(table.since, *(column.since for column in table.columns)) for table in TABLES.values())


def _definition(table: Table, column: Column, *, adding: bool = False) -> str:
    parts = [f'"{column.name}"', column.type]
    if column.default is not None:
        parts.append(f"DEFAULT '{column.default}'")
    if column.name in table.key and not adding:
        parts.append("NOT NULL")
    return " ".join(parts)


def migrations(tables: dict[str, Table], *, after: int, upto: int) -> list[str]:
    """DDL that brings a store of version `after` (0: an empty file) to version `upto`, in order."""
    statements = []
    for version in range(after + 1, upto + 1):
        for table in tables.values():
            if table.since == version:
                first = [column for column in table.columns if column.since <= version]
                body = ", ".join(_definition(table, column) for column in first)
                key = ", ".join(f'"{name}"' for name in table.key)
                statements.append(f'CREATE TABLE "{table.name}" ({body}, PRIMARY KEY ({key}))')
            elif table.since < version:
                statements += [
                    f'ALTER TABLE "{table.name}" ADD COLUMN {_definition(table, column, adding=True)}'
                    for column in table.columns
                    if column.since == version
                ]
    return statements
