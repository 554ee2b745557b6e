"""Tables of challengers and of the decisions on who is champion."""

from clstm_core.store.schema.column import RUN, Table, count, date, flag, number, text, time

SINCE = 8

CHALLENGERS = Table(
    "challengers",
    "One row per challenger: what asked for it, what ended it or not, and what it showed beside the champion.",
    ("run",),
    (
        RUN,
        text("start", "champion or scratch: what its training began with"),
        text("why", "what asked for it"),
        text("outcome", "challenger where it may be proposed, else the stage that ended it"),
        text("answer", "in a sentence"),
        text("bundle", "identity of its bundle", "hex"),
        text("champion", "identity of the bundle that it was held against; empty for cash", "hex"),
        date("first", "first day that it is judged on"),
        date("last", "last day that it is judged on"),
        text("label", "what the quotes of those days are"),
        count("sessions", "that it is judged on"),
        number("luck_p", "probability", "that luck does as well against cash in fair worlds"),
        number("max_drawdown", "fraction", "largest fall from a peak"),
        number("expected_shortfall", "fraction", "mean of the worst sessions"),
        number("champion_luck_p", "probability", "the champion's"),
        number("champion_max_drawdown", "fraction", "the champion's"),
        number("champion_expected_shortfall", "fraction", "the champion's"),
        flag("parity", "whether every runtime decides as the trained network does"),
        number("latency_p50_us", "us", "median of one decision"),
        time("created", "when it was made"),
    ),
    since=SINCE,
)

PROMOTIONS = Table(
    "promotions",
    "One row per decision on who is champion, in order; each is a state of the registry that was never changed since.",
    ("number",),
    (
        count("number", "of the decision"),
        text("decision", "appoint, propose, promote, refuse, roll back, withdraw, or register (a plan)"),
        text("decided_by", "rules, or person"),
        flag("forced", "whether a person decided against the rules, or without them"),
        text("reason", "why"),
        text("answer", "what came of it, in words"),
        text("run", "run of the bundle that was decided on"),
        text("bundle", "its identity", "hex"),
        text("champion", "run of the champion from then on; NULL where there is none"),
        text("previous", "run that a roll-back would restore"),
        text("challenger", "run of the challenger that stands from then on"),
        text("champion_bundle", "identity of the champion's bundle", "hex"),
        text("rules_failed", "names of the rules that it failed, with commas between"),
        text("plan_sha256", "hash of the limits that stood", "hex"),
        date("first", "first of the days that were looked at"),
        date("last", "last of them"),
        count("sessions", "looked at", "sessions"),
        count("number_of_look", "how many challengers were looked at within 365 days, this one included", "looks"),
        number("level", "probability", "one-sided level of the look"),
        text("label", "what the quotes of those days are"),
        text("manifest_sha256", "identity of the decision", "hex"),
        time("created", "when it was decided"),
    ),
    since=SINCE,
)

PROMOTION_RULES = Table(
    "promotion_rules",
    "One row per decision and rule: the figure that it was decided on, and its limit.",
    ("number", "rule"),
    (
        count("number", "of the decision"),
        text("rule", "its name, e.g. superior"),
        flag("passed", "whether it was passed"),
        number("figure", "as `unit` says", "what was measured; NULL where it is no number, or was not measured"),
        number("bound", "as `unit` says", "its limit"),
        text("unit", "of both"),
        text("words", "in a sentence"),
    ),
    since=SINCE,
)
