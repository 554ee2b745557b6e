"""A challenger takes the champion's place by rules alone; a refusal says which rule and by how much."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import BundleManifest
from clstm_core.artifacts.manifests.decision import PERSON, RULES
from clstm_core.artifacts.places import Places
from clstm_core.errors import RegistryError, ShadowError
from clstm_core.evaluation.trial_ledger import KEY, place_of
from clstm_core.feedback import rules_names
from clstm_core.feedback.promote import decide
from clstm_core.feedback.promotion_plan import PromotionPlan
from clstm_core.feedback.registry import Registry
from clstm_core.shadow.log import ShadowLog

sys.path.insert(0, str(Path(__file__).parent))
from registry_makings import bundle, challenger

WHY = "because a test asks"


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def registry(data):
    return Registry(Places(data))


def propose(registry, data, run, **facts):
    state = registry.current()
    facts = {"champion": state.champion.identity if state and state.champion else ""} | facts
    made = challenger(data, run, **facts)
    return registry.propose(made, data / "bundles" / run, WHY)


def failed(state):
    return [ruling["name"] for ruling in state.decision.failed]


def test_the_first_champion_is_judged_against_cash_by_the_same_rules(registry, data):
    propose(registry, data, "a")
    state = decide(Places(data))
    assert (state.decision.decision, state.champion.run, state.challenger) == ("appoint", "a", None)
    assert (state.decision.by, state.decision.forced) == (RULES, False)
    assert [ruling["name"] for ruling in state.decision.rulings] == list(rules_names.RULES)
    assert "all 17 rules were passed" in state.decision.answer


def test_a_better_one_is_promoted_and_the_decision_says_on_what(registry, data):
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b")
    state = decide(Places(data))
    assert (state.decision.decision, state.champion.run, state.previous.run) == ("promote", "b", "a")
    assert state.decision.look["number_of_look"] == 1
    assert state.decision.look["sessions"] == 252
    assert state.decision.look["lower_bps"] > 0.0
    assert state.decision.label == "modelled quotes"


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"growth": np.random.default_rng(1).normal(0, 0.004, 252)}, "superior"),
        ({"figures": {"luck_p": 0.2}}, "not_luck"),
        ({"figures": {"parity": False}}, "parity"),
        ({"figures": {"latency_p50_us": 2000.0}}, "latency"),
        ({"stages": [{"name": "regression", "passed": False, "words": "lost 2008"}]}, "regression"),
        ({"first": "2019-06-03"}, "unseen_days"),
        ({"champion": ""}, "own_champion"),
    ],
)
def test_a_refusal_says_which_rule_and_by_how_much(registry, data, facts, rule):
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b", **facts)
    state = decide(Places(data))
    assert (state.decision.decision, state.champion.run, state.challenger) == ("refuse", "a", None)
    assert rule in failed(state)
    if rule != "superior":  # what is no better shows in the bettor's wealth too
        assert failed(state) == [rule]
    words = next(ruling["words"] for ruling in state.decision.failed if ruling["name"] == rule)
    assert words in state.decision.answer
    assert "a stays champion" in state.decision.answer


def test_too_few_days_are_refused(registry, data):
    propose(registry, data, "a", growth=np.random.default_rng(5).normal(0.01, 0.004, 100))
    assert failed(decide(Places(data))) == ["enough_days"]
    assert registry.current().champion is None


def test_an_unqualified_bundle_is_refused(registry, data):
    made = bundle(data, "a", standing="UNQUALIFIED: no rung qualifies")
    propose(registry, data, "a", made=made)
    assert failed(decide(Places(data))) == ["qualified"]


def test_days_that_the_champion_was_trained_on_are_refused(registry, data):
    bundle(data, "a", train_until="2021-06-30")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b")
    state = decide(Places(data))
    assert failed(state) == ["unseen_days"]
    assert "champion a knows days until 2021-06-30" in state.decision.answer


def test_by_force_a_person_promotes_against_the_rules_and_it_is_written(registry, data):
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b", figures={"luck_p": 0.2})
    with pytest.raises(RegistryError, match="by force without a reason"):
        decide(Places(data), force=True)
    state = decide(Places(data), "an emergency", force=True)
    assert (state.champion.run, state.decision.by, state.decision.forced) == ("b", PERSON, True)
    assert "because a person forced it, against 1 rule: not_luck" in state.decision.answer
    assert failed(state) == ["not_luck"]


def test_force_that_was_not_needed_is_none(registry, data):
    propose(registry, data, "a")
    state = decide(Places(data), "to be sure", force=True)
    assert (state.decision.by, state.decision.forced) == (RULES, False)


def test_the_same_challenger_is_not_decided_on_twice_by_the_same_days(registry, data):
    made = bundle(data, "a")
    propose(registry, data, "a", made=made, figures={"luck_p": 0.2})
    assert failed(decide(Places(data))) == ["not_luck"]
    propose(registry, data, "a", made=made)
    state = decide(Places(data))
    assert failed(state) == ["fresh_look"]
    assert "Decision 2 decided on it and some of these days already" in state.decision.answer
    propose(registry, data, "a", made=made, first="2022-06-01")  # other days may decide
    assert decide(Places(data)).champion.run == "a"


def test_every_challenger_that_was_made_is_a_look_whether_it_was_proposed_or_not(registry, data):
    registry.register(PromotionPlan(looks_per_year=3), WHY)
    later = "2099-01-01T00:00:00+00:00"
    for run in ("seen", "also_seen"):
        challenger(data, run, created=later)
    challenger(data, "ended", outcome="kl", created=later)
    challenger(data, "long_ago", created="2020-01-01T00:00:00+00:00")
    propose(registry, data, "a", created=later)
    assert decide(Places(data)).decision.look["number_of_look"] == 3
    propose(registry, data, "b", created=later)
    assert "fresh_look" in failed(decide(Places(data)))


def test_what_was_rolled_back_does_not_come_back_by_rules(registry, data):
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    made = bundle(data, "b")
    propose(registry, data, "b", made=made)
    assert decide(Places(data)).champion.run == "b"
    registry.roll_back("it lost money")
    propose(registry, data, "b", made=made, first="2022-06-01")
    state = decide(Places(data))
    assert failed(state) == ["not_rolled_back"]
    assert "rolled it back: it lost money" in state.decision.answer


def renamed(data, made, run):
    """The same policy as the bundle of another run."""
    folder = data / "bundles" / run
    shutil.copytree(made.folder, folder)
    return replace(made, run=run, files=files_of(folder)).write(folder / FILE)


def test_a_policy_is_known_by_its_weights_whatever_its_run_is_called(registry, data):
    made = bundle(data, "a")
    propose(registry, data, "a", made=made, figures={"luck_p": 0.2})
    assert failed(decide(Places(data))) == ["not_luck"]
    propose(registry, data, "again", made=renamed(data, made, "again"))
    assert failed(decide(Places(data))) == ["fresh_look"]
    propose(registry, data, "newer", made=renamed(data, made, "newer"), first="2022-06-01")
    assert decide(Places(data)).champion.run == "newer"
    propose(registry, data, "b", first="2022-06-01")
    assert decide(Places(data)).champion.run == "b"
    registry.roll_back("it lost money")
    made = BundleManifest.read(data / "bundles" / "b" / FILE)
    propose(registry, data, "b_again", made=renamed(data, made, "b_again"), first="2023-06-01")
    assert failed(decide(Places(data))) == ["not_rolled_back"]


def test_a_look_whose_folder_is_gone_or_damaged_stays_a_look(registry, data):
    registry.register(PromotionPlan(looks_per_year=2), WHY)
    later = "2099-01-01T00:00:00+00:00"
    place_of(Places(data)).parent.mkdir(parents=True, exist_ok=True)
    line = {**dict.fromkeys(KEY, "x"), "after": "", "market": "market", "role": "challenger", "recorded_at": later}
    line |= {"first_date": "2021-01-04", "last_date": "2021-12-21"}
    place_of(Places(data)).write_text(json.dumps(line, sort_keys=True) + "\n")
    propose(registry, data, "a", created=later)
    assert decide(Places(data)).decision.look["number_of_look"] == 2
    challenger(data, "strange", created="yesterday")
    propose(registry, data, "b", created="2199-01-01T00:00:00+00:00")  # by a clock that ran ahead
    assert decide(Places(data)).decision.look["number_of_look"] == 4


@pytest.mark.parametrize("recorded", ["yesterday", "", None])
def test_a_look_that_says_no_time_counts(registry, data, recorded):
    line = {**dict.fromkeys(KEY, "x"), "after": "", "market": "market", "role": "challenger"}
    line |= {"first_date": "2021-01-04", "last_date": "2021-12-21"}
    place_of(Places(data)).parent.mkdir(parents=True, exist_ok=True)
    place_of(Places(data)).write_text(json.dumps(line if recorded is None else line | {"recorded_at": recorded}) + "\n")
    propose(registry, data, "a")
    assert decide(Places(data)).decision.look["number_of_look"] == 2


def test_a_time_that_is_none_is_a_sentence(registry, data):
    with pytest.raises(RegistryError, match="made at 'yesterday'"):
        propose(registry, data, "a", created="yesterday")


def test_nothing_to_decide_on_is_a_sentence_also_for_the_second_of_two(registry, data):
    with pytest.raises(RegistryError, match="no challenger stands"):
        decide(Places(data))
    propose(registry, data, "a")
    assert decide(Places(data)).champion.run == "a"
    with pytest.raises(RegistryError, match="no challenger stands"):
        decide(Places(data))


def test_a_damaged_champion_or_pair_is_refused_by_name_and_nothing_changes(registry, data):
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b")
    file = registry.current().champion.folder / "policy.onnx"
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(b"torn")
    with pytest.raises(RegistryError, match=r"copy of a bundle is damaged: altered file .*policy\.onnx"):
        decide(Places(data))
    assert registry.current().challenger.run == "b"
    file.write_bytes(whole)
    assert decide(Places(data)).champion.run == "b"


def test_of_two_processes_at_once_one_decides_and_the_other_says_why_not(registry, data):
    propose(registry, data, "a")
    code = (
        "import sys; from pathlib import Path; from clstm_core.artifacts.places import Places\n"
        "from clstm_core.errors import ClstmError; from clstm_core.feedback.promote import decide\n"
        "try: decide(Places(Path(sys.argv[1])))\n"
        "except ClstmError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", code, str(data)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    assert re.search("no challenger stands|is in use by another process", "".join(said)), said
    assert [past.decision for past in registry.history()] == ["appoint", "propose"]


def test_shadow_accounts_of_both_are_laid_beside_each_other(registry, data):
    registry.register(PromotionPlan(shadow=True), WHY)
    late = "2099-01-01T00:00:00+00:00"
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    champion = registry.current().champion.identity
    propose(registry, data, "b", created=late)
    assert failed(decide(Places(data))) == ["shadow_no_worse"]
    draw = np.random.default_rng(4)
    made = {run: bundle(data, run) for run in ("good", "bad")}
    account(data, "of_a", champion, draw.normal(0.0, 0.01, 70))
    account(data, "of_good", made["good"].identity, draw.normal(0.01, 0.01, 70))
    account(data, "of_bad", made["bad"].identity, draw.normal(-0.02, 0.01, 70))
    # a replay of days that it was trained on says nothing, however long and good
    account(data, "of_bad_trained", made["bad"].identity, np.full(90, 0.01), first=datetime(2018, 1, 2, 21, tzinfo=UTC))
    account(data, "of_a_trained", champion, np.zeros(90), first=datetime(2018, 1, 2, 21, tzinfo=UTC))
    account(data, "of_bad_too_short", made["bad"].identity, np.full(10, 0.1))
    propose(registry, data, "bad", made=made["bad"], created=late)
    assert failed(decide(Places(data))) == ["shadow_harm", "shadow_no_worse"]
    propose(registry, data, "good", made=made["good"], created=late)
    entry = data / "shadow" / "of_good" / "log" / "00000009.parquet"
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-9])
    with pytest.raises(ShadowError, match=r"unreadable entry .*of_good/log/00000009"):
        decide(Places(data))
    entry.write_bytes(whole)
    assert decide(Places(data)).champion.run == "good"


@pytest.mark.parametrize("harm", ["first", "middle", "head", "missing", "nan"])
def test_a_damaged_account_of_another_policy_is_named_and_blocks_nothing(registry, data, harm):
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b")
    account(data, "stray", "c" * 64, np.zeros(30))
    reported(data, "stray", "c" * 64)
    damage(data / "shadow" / "stray", harm)
    state = decide(Places(data))
    assert state.champion.run == "b"
    words = next(ruling["words"] for ruling in state.decision.rulings if ruling["name"] == "shadow_harm")
    if harm != "nan":  # the log of another policy is whole, whatever its equity is
        assert "stray" in words
        assert "left out" in words


@pytest.mark.parametrize("harm", ["first", "middle", "head", "missing", "nan"])
@pytest.mark.parametrize("whose", ["champion", "challenger"])
def test_a_damaged_account_of_either_policy_ends_the_decision_with_what_to_do(registry, data, harm, whose):
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b")
    state = registry.current()
    for name, held in (("of_a", state.champion), ("of_b", state.challenger)):
        account(data, name, held.identity, np.zeros(30))
        reported(data, name, held.identity)
    name = {"champion": "of_a", "challenger": "of_b"}[whose]
    damage(data / "shadow" / name, harm)
    with pytest.raises(ShadowError, match=f"{name}.*the {whose} [ab].*move the folder .*shadow/{name}"):
        decide(Places(data))
    assert registry.current().challenger.run == "b"
    (data / "shadow" / name).rename(data / "damaged")
    assert decide(Places(data)).champion.run == "b"


def test_a_damaged_account_that_may_be_anybodys_ends_the_decision_too(registry, data):
    bundle(data, "a")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b")
    account(data, "stray", "c" * 64, np.zeros(30))
    damage(data / "shadow" / "stray", "first")
    with pytest.raises(ShadowError, match=r"stray/log/00000001.*whose it is.*move the folder .*shadow/stray"):
        decide(Places(data))
    # what an entry says of its owner is believed as far as nothing else says otherwise
    account(data, "moved", registry.current().champion.identity, np.zeros(30))
    reported(data, "moved", registry.current().champion.identity)
    (data / "shadow" / "stray").rename(data / "damaged")
    opening = data / "shadow" / "moved" / "log" / "00000001.parquet"
    pl.read_parquet(opening).with_columns(facts=pl.lit(json.dumps({"bundle": "c" * 64}))).write_parquet(opening)
    with pytest.raises(ShadowError, match=r"moved.*the champion a"):
        decide(Places(data))


def reported(data, name, identity):
    """What `clstm shadow report` leaves of an account, as far as it says whose it is."""
    (data / "shadow" / name / "account.json").write_text(json.dumps({"facts": {"bundle": identity}}))


def damage(folder, harm):
    entry = {"first": "00000001", "middle": "00000009", "missing": "00000010", "nan": "00000031"}.get(harm)
    if harm == "head":
        (folder / "head.json").write_text("torn")
    elif harm == "missing":
        (folder / "log" / f"{entry}.parquet").unlink()
    elif harm == "nan":
        place = folder / "log" / f"{entry}.parquet"
        pl.read_parquet(place).with_columns(equity_usd=pl.lit(float("nan"))).write_parquet(place)
        (folder / "head.json").write_text(json.dumps({"entries": 31, "sha256": file_sha256(place)}))
    else:
        (folder / "log" / f"{entry}.parquet").write_bytes(b"torn")


def account(data, name, identity, growth, first=datetime(2024, 1, 2, 21, tzinfo=UTC)):
    """A shadow account of a bundle whose equity grew so."""
    with ShadowLog.writing(data / "shadow" / name) as log:
        log.append({"kind": "opened", "facts": json.dumps({"bundle": identity})})
        for at, equity in enumerate(1e6 * np.exp(np.cumsum(growth))):
            log.append({"kind": "decided", "snapshot": first + timedelta(days=at), "equity_usd": float(equity)})


def test_until_when_a_policy_was_trained_is_read_from_its_market_where_its_settings_name_no_day(data):
    from clstm_core.config import MarketConfig
    from clstm_core.feedback.rules_evidence import known_until
    from clstm_core.market.build.assemble import build_market_tensors
    from clstm_core.market.tensors import save_market
    from clstm_core.market.worlds.black_scholes import simulated_columns, simulated_info

    shares = {"train_fraction": 0.6, "validation_fraction": 0.2}
    config = MarketConfig(source="simulated", n_snapshots=260, seed=7, feature_lookback=21, **shares)
    market = build_market_tensors(*simulated_columns(config), config, embargo=21, info=simulated_info(config))
    saved = save_market(market, data / "tensors").identity
    made = bundle(data, "a")
    (data / "bundles" / "a" / "config.json").write_text("{}")
    facts = {"policy": {"training_data_sha256": saved}}
    assert known_until(Places(data), BundleManifest(**vars(made) | facts)) is None
    target = Places(data).tensors(saved)
    target.parent.mkdir(parents=True)
    (data / "tensors").rename(target)
    stop = market.info["splits"]["validation"][1]
    day = str(np.datetime64(int(market.snapshot_T[stop - 1]), "ns"))[:10]
    assert known_until(Places(data), BundleManifest(**vars(made) | facts)) == day
    named = {"market": {"train_until": "2000-01-03", "validation_until": "2000-01-04"}}  # of another history than its
    (data / "bundles" / "a" / "config.json").write_text(json.dumps(named))
    assert known_until(Places(data), BundleManifest(**vars(made) | facts)) == day


@pytest.mark.parametrize("config", ['{"market": 5, "fine_tune": [1]}', "[]", "null", "torn"])
def test_settings_that_say_nothing_are_refused_by_a_rule(registry, data, config):
    made = bundle(data, "a")
    (made.folder / "config.json").write_text(config)
    made = replace(made, files=files_of(made.folder)).write(made.place)
    propose(registry, data, "a", made=made)
    assert failed(decide(Places(data))) == ["unseen_days"]


def tuned(data, run, champion):
    """A bundle that says it was trained on from a champion."""
    made = bundle(data, run)
    place = made.folder / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"fine_tune": {"champion": champion}}))
    return replace(made, files=files_of(made.folder)).write(made.place)


def test_who_was_trained_on_from_a_champion_knows_the_days_that_it_knew(registry, data):
    bundle(data, "a", train_until="2021-01-08")
    registry.appoint(data / "bundles" / "a", WHY)
    propose(registry, data, "b", made=tuned(data, "b", registry.current().champion.identity))
    state = decide(Places(data), "its line is what a test asks about", force=True)
    made = tuned(data, "c", state.champion.identity)
    propose(registry, data, "c", made=made)
    assert "challenger c knows days until 2021-01-08" in decide(Places(data)).decision.answer
    propose(registry, data, "d", made=tuned(data, "d", "f" * 64))
    assert "Nothing says until when challenger d was trained" in decide(Places(data)).decision.answer
