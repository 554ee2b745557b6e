"""Tables of what a policy earns elsewhere than where it is judged: fresh worlds, and worlds whose edge is known."""

from clstm_core.store.schema.column import RUN, Table, count, number, text, time

GENERALISATION = Table(
    "generalisation",
    "One row per rung, kind of market and mode: what the policy earns where it was trained and where it was not, raw.",
    ("run", "milestone", "kind", "mode"),
    (
        RUN,
        text("milestone", "rung of the ladder"),
        text("kind", "training_worlds, training_dates, fresh_worlds, a family, validation_worlds or validation_dates"),
        text("mode", "argmax or stochastic"),
        count("env_steps", "env steps of the checkpoint", "env steps"),
        text("label", "real quotes, modelled quotes or simulated quotes: of this kind of market"),
        count("episodes", "whole episodes walked"),
        number("draws", "count", "independent episodes that these are worth: few where dates or worlds are few"),
        count("sessions", "sessions in all of them", "sessions"),
        number("growth_bps", "bps per session", "mean log growth beyond cash"),
        number("error_bps", "bps per session", "its standard error, by episodes"),
        number("deviation_bps", "bps", "standard deviation of a session's growth"),
        number("per_risk", "mean / deviation", "growth per unit of risk, not annualised"),
        number("explained_variance_5", "-inf..1", "of the raw rewards of 5 sessions, what the critic foresaw"),
        text("actions", "share of each action taken, as JSON"),
        number("gap_bps", "bps per session", "growth where the rung was trained, less this"),
        number("gap_error_bps", "bps per session", "its standard error, of independent episodes"),
        number("gap_low_bps", "bps per session", "lower end of its 95% interval"),
        number("gap_high_bps", "bps per session", "upper end of its 95% interval"),
    ),
    since=5,
)

CONTROLS = Table(
    "controls",
    "One row per recipe and world whose edge is known: what the recipe finds there, and how often a verdict says so.",
    ("recipe_sha256", "world"),
    (
        text("recipe_sha256", "hash of what the recipe teaches and how, whatever market it trains on", "hex"),
        text("world", "edge-free: nothing can be earned; overpaid: sellers of options earn"),
        text("recipe", "named configuration"),
        count("seed", "seed of weights and worlds", "integer"),
        count("steps", "env steps that it learned from", "env steps"),
        count("episodes", "whole episodes walked, in paths that it was not trained on"),
        number("idle", "0..1", "share of decisions in which nothing was held"),
        number("growth_bps", "bps per session", "mean log growth beyond cash"),
        number("error_bps", "bps per session", "its standard error, by episodes"),
        number("per_risk", "mean / deviation", "growth per unit of risk, not annualised"),
        text("rule", "the fixed rule that earns most there; NULL where nothing can be earned"),
        number("rule_growth_bps", "bps per session", "what that rule earns"),
        count("windows", "windows that were judged as a verdict judges"),
        count("window_sessions", "sessions of each", "sessions"),
        count("called_better", "windows in which the policy was called better than cash"),
        text("git_commit", "commit of the code", "hex"),
        time("made_at", "when they were made"),
    ),
    since=6,
)
