"""Tables of a run: what it was made from, how it learned, its ladder, its checks and what it gave."""

from clstm_core.ppo.metrics import METRICS
from clstm_core.store.schema.column import RUN, Column, Table, count, flag, number, text, time

RUNS = Table(
    "runs",
    "One row per training run: what it was made from and how it ended.",
    ("run",),
    (
        RUN,
        text("recipe", "named configuration: seed_100m, steady_100m, default_cpu, smoke"),
        text("status", "running, finished, failed or stopped"),
        text("source", "market source that is traded in the backtests"),
        text("label", "real quotes, modelled quotes or simulated quotes"),
        text("spread", "quoted or modelled"),
        text("trained_on", "market, or worlds made of one, that the policy was trained on, in words"),
        text("trained_label", "what the quotes were that it was trained on"),
        count("training_snapshots", "snapshots in the training window", "snapshots"),
        count("heldout_snapshots", "snapshots in the test window", "snapshots"),
        count("seed", "seed of the run", "integer"),
        text("device", "cpu or cuda"),
        count("timesteps", "env steps asked for", "env steps"),
        count("env_steps", "env steps done", "env steps"),
        count("iterations", "rollouts done"),
        number("seconds", "s", "wall-clock time of training"),
        time("started_at", "when training began"),
        time("finished_at", "when training ended"),
        text("config", "the whole RunConfig as JSON"),
        text("config_sha256", "hash of the settings in `config` that are not the defaults", "hex"),
        text("data_sha256", "identity of the market tensors traded in the backtests", "hex"),
        text("training_data_sha256", "identity of the market tensors trained on", "hex"),
        text("quotes_sha256", "hash of the canonical quotes file", "hex"),
        text("quotes_dir", "folder of the canonical quotes, findings and quarantine, below the data folder"),
        text("git_commit", "commit of the code, with -dirty when it was changed", "hex"),
        text("champion_milestone", "rung of the ladder that was picked, e.g. 080; NULL where none qualifies"),
        text("verdict", "the comparison in plain words"),
        text("folder", "runs/<run>, below the data folder"),
    ),
)

RETIRED = (
    number("explained_variance", "-inf..1", "until version 3: what bootstrapped_explained_variance is now"),
    number("heldout_explained_variance", "-inf..1", "until version 3: heldout_bootstrapped_explained_variance"),
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
        text("milestone", "020, 040, 060, 080 or 100: percent of the run"),
        count("env_steps", "actual env steps at the checkpoint", "env steps"),
        count("iteration", "rollouts done", "iterations"),
        text("folder", "where its files lie, below the data folder"),
        text("model_sha256", "hash of model.safetensors", "hex"),
        text("manifest_sha256", "identity of the checkpoint: hash of its manifest.json", "hex"),
        text("data_sha256", "identity of the market tensors trained on", "hex"),
        text("git_commit", "commit of the code", "hex"),
        Column("memory_sessions", "BIGINT", "decisions", "after which the policy forgets: training's horizon", since=4),
    ),
)

GATE_RESULTS = Table(
    "gate_results",
    "One row per check: the proofs of the environment audit, the recurrent self-test, parity, quality, ledger checks.",
    ("run", "data_sha256", "gate", "name"),
    (
        text("run", "training run; empty for a gate on market data alone", default=""),
        text("data_sha256", "identity of the market tensors the gate looked at; empty when none", "hex", default=""),
        text("gate", "group of checks, e.g. environment_audit, self_test, parity"),
        text("name", "the check, e.g. conservation"),
        flag("passed", "whether it held"),
        flag("blocking", "whether a failure stops the chain"),
        number("statistic", "see detail", "what was measured"),
        number("threshold", "see detail", "what it may be at most"),
        text("detail", "the finding in a sentence"),
        number("seconds", "s", "how long it took"),
        time("recorded_at", "when it ran"),
    ),
)

EXPORTS = Table(
    "exports",
    "One row per exported file of a bundle, with its parity against the eager policy.",
    ("run", "file"),
    (
        RUN,
        text("file", "e.g. policy.onnx"),
        text("format", "safetensors, torchscript, onnx, json or markdown"),
        text("milestone", "rung that was exported"),
        text("folder", "folder of the bundle, below the data folder"),
        text("sha256", "hash of the file", "hex"),
        count("bytes", "size", "bytes"),
        flag("parity_passed", "whether it decides as the eager policy does"),
        count("parity_steps", "recurrent steps compared", "steps"),
        count("parity_action_differences", "steps with another action", "steps"),
        number("parity_max_logit_difference", "logits", "largest absolute difference"),
        number("latency_p50_us", "us", "median of one decision, one thread"),
        number("latency_p99_us", "us", "99% quantile"),
        time("created_at", "when it was exported"),
        Column("memory_sessions", "BIGINT", "decisions", "after which the exported policy forgets", since=4),
        Column("manifest_sha256", "VARCHAR", "hex", "identity of the bundle: hash of its manifest.json", since=4),
    ),
)

REPORTS = Table(
    "reports",
    "One row per report rendered for a run; the newest replaces the one before, as its files do.",
    ("run",),
    (
        RUN,
        text("path", "index.html, relative to the data folder"),
        text("url", "where the static server shows it"),
        text("label", "real quotes, modelled quotes or simulated quotes"),
        text("verdict", "as printed in the report"),
        count("figures", "charts in it"),
        count("bytes", "size of index.html", "bytes"),
        time("created_at", "when it was rendered"),
    ),
)
