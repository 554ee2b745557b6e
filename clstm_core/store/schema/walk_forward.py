"""The table of walk-forwards: where each joined record, and each fold of it, stands among luck."""

from clstm_core.store.schema.column import Table, count, date, flag, number, text

WALK_FORWARDS = Table(
    "walk_forwards",
    "One row per walk-forward, recipe and fold, and one per joined record: excess over cash, and its place among luck.",
    ("walk", "recipe", "fold"),
    (
        text("walk", "its name"),
        text("recipe", "named configuration that each fold was trained with"),
        text("fold", "number of the fold; joined: the record of all folds"),
        text("source", "where quotes come from"),
        text("label", "real quotes, modelled quotes or simulated quotes"),
        date("first_date", "first session of the test"),
        date("last_date", "last session of the test"),
        count("sessions", "returns that it holds", "sessions"),
        count("seeds", "trainings, their mean being what is told"),
        number("estimate_bps", "bp per session", "mean log return less cash's"),
        number("ci_low_bps", "bp per session", "lower end of its 95% interval"),
        number("ci_high_bps", "bp per session", "upper end of its 95% interval"),
        number("luck_ratio", "ratio", "mean over seeds of the Sharpe ratio that is placed among luck"),
        number("luck_median", "ratio", "median of the same policies in fair worlds"),
        number("luck_high", "ratio", "what luck exceeds once in forty worlds"),
        count("n_worlds", "fair worlds walked; NULL where none were"),
        number("p_value", "0..1", "share of fair worlds in which luck did at least as well"),
        flag("beyond_luck", "whether p is at most what is asked of the joined record; of a fold never asked"),
    ),
    since=9,
)
