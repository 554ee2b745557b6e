"""Tables of sweeps: what was tried, what it scored where it was not trained, and what came of it."""

from clstm_core.store.schema.column import Table, count, number, text, time

SWEEPS = Table(
    "sweeps",
    "One row per sweep that came to its end: Optuna's best settings, confirmed by seeds that chose nothing.",
    ("sweep",),
    (
        text("sweep", "its name"),
        text("recipe", "named configuration that is trial 0"),
        text("source", "where quotes come from"),
        text("label", "real quotes, modelled quotes or simulated quotes"),
        count("trials", "trials, failed ones included"),
        count("best_trial", "number of the best; NULL where all failed"),
        number("best_score", "mean / deviation", "its score: chosen, so better than it is"),
        number("recipe_score", "mean / deviation", "the recipe's"),
        text("answer", "what may be said, in words"),
        text("plan", "what was asked for, as JSON"),
        time("created", "when it came to its end"),
    ),
    since=8,
)

SWEEP_TRIALS = Table(
    "sweep_trials",
    "One row per trial of a sweep: its settings, and growth per unit of risk where its policies were not trained.",
    ("sweep", "trial"),
    (
        text("sweep", "its name"),
        count("trial", "number; 0 is the recipe as it is", "integer"),
        text("state", "begun, done or failed"),
        number("score", "mean / deviation", "mean over seeds, fresh worlds and validation dates; no test date"),
        text("settings", "what was changed, as JSON"),
        text("runs", "training runs, one per seed, as JSON"),
        number("seconds", "s", "of training"),
        text("reason", "why it failed"),
    ),
    since=8,
)
