"""The graph as it is meant to be: assets, parents, groups, partitions, checks, jobs."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from clstm_core.evidence_audit.names import CHECKS
from clstm_core.feedback.rules_names import RULES
from orchestration.definitions import build_defs
from orchestration.schedules import shadow_daily

ROOT = Path(__file__).resolve().parents[2]
PARENTS = {
    "vendor_sessions": set(),
    "market_quotes": set(),
    "market_tensors": {"market_quotes"},
    "market_realism": {"market_quotes"},
    "twin_tensors": {"market_tensors"},
    "stressed_tensors": {"market_tensors"},
    "environment_audit": {"market_tensors"},
    "recipe_controls": set(),
    "warm_critic": {"environment_audit"},
    "trained_policy": {"warm_critic"},
    "policy_backtests": {"trained_policy"},
    "baseline_backtests": {"warm_critic"},
    "baseline_luck": {"baseline_backtests"},
    "twin_backtests": {"policy_backtests", "twin_tensors"},
    "stressed_backtests": {"policy_backtests", "stressed_tensors"},
    "critic_foresight": {"policy_backtests"},
    "fair_worlds": {"policy_backtests", "baseline_backtests", "baseline_luck"},
    "checkpoint_comparison": {
        "policy_backtests",
        "baseline_backtests",
        "twin_backtests",
        "stressed_backtests",
        "fair_worlds",
    },
    "evidence_audit": {"checkpoint_comparison"},
    "convention_sweeps": {"checkpoint_comparison"},
    "policy_bundle": {"checkpoint_comparison", "evidence_audit"},
    "backtest_report": {
        "checkpoint_comparison",
        "evidence_audit",
        "policy_bundle",
        "market_realism",
        "critic_foresight",
        "convention_sweeps",
    },
    "walk_forward_record": set(),
    "sweep_record": set(),
    "shadow_session": {"policy_bundle"},
    "shadow_reconciliation": {"shadow_session"},
    "challenger_policy": set(),
    "champion": {"challenger_policy"},
}
OBSERVED = {"training_progress": {"warm_critic"}}
"""Assets that are told about and never materialized."""
GROUPS = {
    "vendor_files": {"vendor_sessions"},
    "market_data": {
        "market_quotes",
        "market_realism",
        "market_tensors",
        "twin_tensors",
        "stressed_tensors",
        "environment_audit",
    },
    "controls": {"recipe_controls"},
    "training": {"warm_critic", "trained_policy"},
    "evaluation": {
        "policy_backtests",
        "baseline_backtests",
        "twin_backtests",
        "stressed_backtests",
        "critic_foresight",
        "baseline_luck",
        "fair_worlds",
        "checkpoint_comparison",
        "convention_sweeps",
        "evidence_audit",
        "backtest_report",
    },
    "deployment": {"policy_bundle"},
    "walk_forward": {"walk_forward_record"},
    "sweeps": {"sweep_record"},
    "shadow": {"shadow_session", "shadow_reconciliation"},
    "feedback": {"challenger_policy"},
    "champion": {"champion"},
}
BLOCKING = {
    "vendor_sessions": set(),
    "market_quotes": {"structure"},
    "market_tensors": {"parents_recorded", "fitted_on_training_dates"},
    "market_realism": set(),
    "twin_tensors": set(),
    "stressed_tensors": set(),
    "environment_audit": {
        "conservation",
        "martingale_exact",
        "martingale_sampled",
        "no_look_ahead",
        "training_worlds",
        "fees_never_help",
        "invariance",
    },
    "recipe_controls": set(),
    "warm_critic": {"finite", "actor_untouched"},
    "trained_policy": {"recurrent_self_test", "finite", "ladder_complete"},
    "policy_backtests": {"ledgers_recompute", "margin_enforced", "budget_enforced"},
    "baseline_backtests": {"ledgers_recompute", "margin_enforced", "budget_enforced"},
    "twin_backtests": {"ledgers_recompute", "margin_enforced", "budget_enforced"},
    "stressed_backtests": {"ledgers_recompute", "margin_enforced", "budget_enforced"},
    "critic_foresight": set(),
    "baseline_luck": set(),
    "fair_worlds": {"worlds_are_fair"},
    "checkpoint_comparison": {"every_rung_scored"},
    "convention_sweeps": {"clean_walk_is_the_backtest", "ledgers_recompute"},
    "evidence_audit": set(CHECKS),
    "policy_bundle": {"parity", "golden_vectors"},
    "backtest_report": set(),
    "sweep_record": set(),
    "walk_forward_record": {"folds_apart", "ledgers_recompute"},
    "shadow_session": set(),
    "shadow_reconciliation": {"decisions_equal"},
    "challenger_policy": {"actor_untouched"},
    "champion": set(),
}
WARNING = {
    "vendor_sessions": {"files_readable"},
    "market_quotes": {"coverage", "freshness"},
    "market_realism": {"option_selling", "deviation", "total_return", "volatility_level"},
    "recipe_controls": {"invents_nothing", "finds_an_edge"},
    "warm_critic": {"explained_variance_rose"},
    "trained_policy": {"kl_on_target", "clip_fraction_on_target", "explained_variance_positive", "generalises"},
    "critic_foresight": {"measure_flatters_nobody"},
    "checkpoint_comparison": {"beats_baselines", "choice_holds", "overfitting"},
    "policy_bundle": {"latency", "champion_exported"},
    "backtest_report": {"opens_offline", "figures_present"},
    "walk_forward_record": {"ahead_of_cash"},
    "sweep_record": {"trials_ended", "best_confirmed"},
    "shadow_session": {"switch_active", "no_drift", "no_harm"},
    "shadow_reconciliation": {"to_the_cent"},
    "challenger_policy": {"critic_gained", "near_champion", "nothing_unlearned", "may_be_proposed"},
    "champion": set(RULES),
}


@pytest.fixture(scope="module")
def definitions():
    return build_defs()


@pytest.fixture(scope="module")
def graph(definitions):
    return definitions.resolve_asset_graph()


def test_definitions_are_loadable(definitions):
    dg.Definitions.validate_loadable(definitions)


def test_every_asset_has_its_parents(graph):
    found = {key.path[-1]: {p.path[-1] for p in graph.get(key).parent_keys} for key in graph.get_all_asset_keys()}
    assert found == PARENTS | OBSERVED


def test_groups_owners_kinds_and_words(graph):
    found: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        found.setdefault(node.group_name, set()).add(key.path[-1])
        assert node.owners
        assert node.kinds
        assert len(node.description) > 20
    assert found == GROUPS | {"training": GROUPS["training"] | set(OBSERVED)}


def test_runs_are_partitioned_and_market_data_is_not(graph):
    keyed = {k.path[-1] for k in graph.get_all_asset_keys() if graph.get(k).partitions_def is not None}
    assert (
        keyed
        == set(PARENTS)
        - GROUPS["market_data"]
        - GROUPS["walk_forward"]
        - GROUPS["controls"]
        - GROUPS["sweeps"]
        - GROUPS["champion"]
    )
    runs = {graph.get(dg.AssetKey(name)).partitions_def for name in keyed - {"vendor_sessions"}}
    assert {found.name for found in runs} == {"training_run"}


def test_no_group_mixes_what_is_keyed_otherwise(graph):
    """Else "Materialize all" on its page asks for the keys of one of its assets, and leaves the others out."""
    keyed = {group: {graph.get(dg.AssetKey(name)).partitions_def for name in names} for group, names in GROUPS.items()}
    assert {group: len(found) for group, found in keyed.items()} == dict.fromkeys(GROUPS, 1)


def test_the_chain_waits_for_no_months(graph):
    """A market is refreshed, and a run begun, in one launch: nothing keyed by month stands above them."""
    assert graph.get(dg.AssetKey("vendor_sessions")).child_keys == set()
    for name in ("market_quotes", "vendor_sessions"):  # the descriptions say how the two belong together
        (other,) = {"market_quotes", "vendor_sessions"} - {name}
        assert f"`{other}`" in graph.get(dg.AssetKey(name)).description


def test_documents_that_descriptions_name_are_there(graph):
    """The UI can follow no relative link: file and section are named instead."""
    described = {key.path[-1]: graph.get(key).description for key in graph.get_all_asset_keys()}
    named = {name: re.search(r"`(docs/[\w/.-]+)`(?:, \*([^*]+)\*)?", words) for name, words in described.items()}
    assert sum(found is not None for found in named.values()) >= 6
    for name, found in named.items():
        if found is not None:
            text = (ROOT / found[1]).read_text()
            assert found[2] is None or f"\n## {found[2]}\n" in text, name
    assert not [name for name, words in described.items() if re.search(r"\]\((?!https?://)", words)]


def test_checks_and_which_of_them_block(graph):
    blocking: dict[str, set[str]] = {name: set() for name in PARENTS}
    warning: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        (blocking if spec.blocking else warning).setdefault(key.asset_key.path[-1], set()).add(key.name)
    assert blocking == BLOCKING
    assert warning == WARNING


def test_proof_names_are_those_of_the_audit():
    from assets.environment_audit import PROOFS
    from clstm_core.audit.run import PROOFS as TRUE_PROOFS

    assert tuple(PROOFS) == tuple(TRUE_PROOFS)


def test_jobs_select_what_they_say(definitions):
    found = {
        job.name: {key.path[-1] for key in job.asset_layer.executable_asset_keys}
        for job in definitions.resolve_all_job_defs()
        if not job.name.startswith("__")
    }
    apart = {"vendor_sessions", "recipe_controls", "walk_forward_record", "sweep_record"}
    apart |= GROUPS["shadow"] | GROUPS["champion"] | GROUPS["feedback"]
    assert found["train_and_evaluate"] == set(PARENTS) - apart
    assert found["run_shadow"] == GROUPS["shadow"]
    assert found["load_vendor_months"] == {"vendor_sessions"}
    assert found["refresh_market_data"] == {"market_quotes", "market_tensors"}
    assert found["audit_market"] == {"market_quotes", "market_tensors", "environment_audit"}
    assert found["evaluate_only"] == GROUPS["evaluation"] | {"policy_bundle"}
    assert found["export_only"] == {"policy_bundle"}
    assert found["judge_market"] == {"market_quotes", "market_realism"}
    assert found["render_report"] == {"backtest_report"}
    assert found["walk_forward"] == {"walk_forward_record"}
    assert found["fine_tune_challenger"] == {"challenger_policy"}
    assert found["sweep"] == {"sweep_record"}
    assert found["start_run"] == set()
    assert found["make_controls"] == {"recipe_controls"}
    assert found["promote_champion"] == found["roll_back_champion"] == GROUPS["champion"]
    assert len(found) == 16


def test_the_chain_is_launched_without_a_configuration(definitions):
    for name in ("train_and_evaluate", "evaluate_only", "walk_forward", "sweep"):
        assert dg.validate_run_config(definitions.resolve_job_def(name), {})


def test_training_is_never_started_by_a_condition(graph):
    assert all(graph.get(key).automation_condition is None for key in graph.get_all_asset_keys())


def test_assets_link_their_code_and_say_when_they_are_old(graph):
    linked = {k.path[-1] for k in graph.get_all_asset_keys() if "dagster/code_references" in graph.get(k).metadata}
    assert linked == set(PARENTS)
    for name in ("market_quotes", "champion"):
        policy = graph.get(dg.AssetKey(name)).freshness_policy
        assert policy.fail_window.to_timedelta() > policy.warn_window.to_timedelta()


def test_shadow_is_overdue_an_hour_after_its_schedule(graph):
    policy = graph.get(dg.AssetKey("shadow_session")).freshness_policy
    assert (policy.deadline_cron, policy.timezone) == ("0 18 * * 1-5", shadow_daily.execution_timezone)
    ran = timedelta(hours=18) - timedelta(hours=17, minutes=5)
    assert ran < policy.lower_bound_delta


def test_every_check_says_what_it_asks(graph):
    for key in graph.asset_check_keys:
        assert len(graph.get_check_spec(key).description) > 20, key


def test_checks_of_runs_are_kept_by_run(graph):
    for key in graph.asset_check_keys:
        keyed = graph.get(key.asset_key).partitions_def
        assert graph.get_check_spec(key).partitions_def == keyed, key


def test_loading_warns_of_nothing():
    code = "from orchestration.definitions import build_defs; build_defs().resolve_asset_graph()"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
