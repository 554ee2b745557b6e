"""Tables of shadow accounts."""

from clstm_core.store.schema.column import RUN, Table, count, flag, number, text, time

ACCOUNT = text("account", "name of the shadow account")

SHADOW_ACCOUNTS = Table(
    "shadow_accounts",
    "One row per shadow account: a bundle that decides on sessions as they arrive; every fill in it is simulated.",
    ("account",),
    (
        ACCOUNT,
        RUN,
        text("bundle", "identity of the bundle", "hex"),
        text("standing", "how its policy was chosen; UNQUALIFIED where it is no champion"),
        text("source", "where its sessions come from"),
        text("label", "what their quotes are"),
        text("switch", "ACTIVE, REDUCING or HALTED"),
        count("entries", "entries of its log"),
        count("decided", "sessions that were decided on"),
        count("refused", "sessions that were refused"),
        time("first", "first session decided on"),
        time("last", "last session decided on"),
        number("equity_usd", "currency", "after the last session"),
        number("total_return", "fraction", "since it began"),
        number("cash_total_return", "fraction", "of cash over the same sessions"),
        number("max_drawdown", "fraction", "largest fall from a peak"),
        number("fees_usd", "currency", "commissions of its simulated fills"),
        count("drift_flagged", "features whose drift is flagged: what retraining reads"),
        text("drift_features", "their names"),
        number("harm_wealth", "ratio", "evidence that it does worse than cash; 20 is enough"),
        text("log_sha256", "of the last entry of its log", "hex"),
    ),
    since=7,
)

SHADOW_SESSIONS = Table(
    "shadow_sessions",
    "One row per session of a shadow account; its log has observations, logits, legs, orders and fills besides.",
    ("account", "sequence"),
    (
        ACCOUNT,
        count("sequence", "entry of the log"),
        text("kind", "decided or refused"),
        time("snapshot", "the session"),
        text("reasons", "why it was refused or limited"),
        text("switch", "after it"),
        text("regime", "calm, middle or wild by training's volatility"),
        text("action_name", "what was decided"),
        number("probability", "fraction", "of that action"),
        number("value", "rewards", "the critic's expectation"),
        number("reward", "rewards", "of the step that led here"),
        count("fills", "simulated fills of the decision before"),
        number("equity_usd", "currency", "after them"),
        number("cash_return", "fraction", "of cash in the step that led here"),
        number("margin_usd", "currency", "of the book"),
        number("net_exposure", "fraction", "of equity"),
        number("hedge_ratio", "ratio", "of the options' delta that shares offset"),
        number("dollar_gamma_per_percent", "currency", "change of dollar delta for 1% of spot"),
        number("book_vega_per_point", "currency", "per volatility point"),
        number("quote_age_s", "s", "age of the quotes when they arrived"),
        count("missing_sessions", "sessions of the exchange without a snapshot before this one"),
        text("observation_sha256", "hash of what was observed", "hex"),
    ),
    since=7,
)

SHADOW_DRIFT = Table(
    "shadow_drift",
    "One row per feature and regime: how far the sessions that were met lie from training's dates.",
    ("account", "feature", "regime"),
    (
        ACCOUNT,
        text("feature", "market feature"),
        text("regime", "all, or a tercile of training's volatility"),
        count("sessions", "that were met"),
        number("psi", "index", "population stability index; 0.1 and 0.25 bound its bands"),
        text("band", "steady, watch, moved or unmeasured"),
        number("ks", "distance", "Kolmogorov and Smirnov's"),
        number("p_value", "probability", "of that distance if days were independent draws, which they are not"),
        number("wasserstein", "deviations of training", "distance"),
        number("chance", "probability", "that one more stretch of training lies as far"),
        number("by_chance", "index", "psi that one in twenty of training's own stretches reaches"),
        flag("flagged", "whether retraining is asked for"),
    ),
    since=7,
)

SHADOW_RECONCILIATIONS = Table(
    "shadow_reconciliations",
    "One row per comparison of a shadow account with the backtest of its days and quotes.",
    ("account", "log_sha256"),
    (
        ACCOUNT,
        text("log_sha256", "of the last entry that was compared", "hex"),
        text("backtest_id", "the backtest"),
        flag("decisions_equal", "whether every decision is the backtest's"),
        flag("to_the_cent", "whether every fill and sum of money is"),
        text("answer", "in a sentence"),
        count("sessions", "compared"),
        count("decisions_differing", "sessions"),
        count("masks_differing", "sessions with other legal actions"),
        count("fills_differing", "sessions"),
        number("largest_usd", "currency", "largest difference of a sum of money"),
        count("limited", "sessions under a switch that was not ACTIVE"),
        count("refused", "sessions that are in neither"),
    ),
    since=7,
)
