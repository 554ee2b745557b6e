"""One champion, whole, whatever happens: decisions are a chain of states, and one link says which of them holds."""

import dataclasses
import errno
import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from clstm_core.artifacts.folder import file_sha256, lock
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.manifests import DecisionManifest
from clstm_core.artifacts.places import Places
from clstm_core.errors import ArtifactError, BundleError, ConfigError, RegistryError
from clstm_core.feedback import registry_files
from clstm_core.feedback.promotion_plan import PromotionPlan
from clstm_core.feedback.registry import Registry, Taken
from clstm_core.feedback.shown import figures_of
from clstm_policy.files import verified_manifest
from clstm_policy.guard import PolicyError

sys.path.insert(0, str(Path(__file__).parent))
from registry_makings import bundle, challenger

WHY = "because a test asks"


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def registry(data):
    return Registry(Places(data))


def promote(registry, reason=WHY):
    """Put the standing challenger in the champion's place, whatever the rules say."""
    with registry.writing() as before:
        taken = Taken(
            decision="promote",
            answer=f"{before.challenger.run} is champion.",
            reason=reason,
            subject=before.challenger,
            roles={"champion": before.challenger, "previous": before.champion, "challenger": None},
        )
        return registry.take(before, taken)


def promoted(registry, data, run):
    state = registry.current()
    identity = state.champion.identity if state and state.champion else ""
    made = challenger(data, run, champion=identity)
    registry.propose(made, data / "bundles" / run, WHY)
    return promote(registry)


def hashes(folder):
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


def test_nothing_is_there_before_the_first_decision(registry):
    assert registry.current() is None
    assert registry.history() == []


def test_from_a_first_champion_to_a_challenger_and_back(registry, data):
    bundle(data, "first")
    whole = hashes(data / "bundles" / "first")
    state = registry.appoint(data / "bundles" / "first", WHY)
    assert (state.champion.run, state.previous, state.challenger) == ("first", None, None)
    assert state.decision.forced
    assert "a person said so" in state.decision.answer
    made = challenger(data, "second", champion=state.champion.identity)
    state = registry.propose(made, data / "bundles" / "second", "drift")
    assert (state.champion.run, state.challenger.run) == ("first", "second")
    assert state.proposal() == made
    state = promote(registry)
    assert (state.champion.run, state.previous.run, state.challenger) == ("second", "first", None)
    # whatever became of the folder that it was copied from
    for path in (data / "bundles" / "first").iterdir():
        path.unlink()
    state = registry.roll_back("worse in shadow")
    assert (state.champion.run, state.previous) == ("first", None)
    assert hashes(registry.root / "current" / "champion") == whole
    assert [past.decision for past in registry.history()] == ["roll back", "promote", "propose", "appoint"]


def test_a_roll_back_goes_further_back_and_never_forward(registry, data):
    for run in ("a", "b", "c"):
        promoted(registry, data, run)
    assert (registry.current().champion.run, registry.current().previous.run) == ("c", "b")
    state = registry.roll_back(WHY)
    assert (state.champion.run, state.previous.run) == ("b", "a")
    promoted(registry, data, "d")
    assert registry.roll_back(WHY).champion.run == "b"
    assert registry.roll_back(WHY).champion.run == "a"
    with pytest.raises(RegistryError, match="a is champion and there is none before"):
        registry.roll_back(WHY)
    assert registry.current().champion.run == "a"


def test_a_deployers_path_leads_to_a_copy_that_loads_as_it_was(registry, data):
    promoted(registry, data, "a")
    copy = registry.root / "current" / "champion"
    assert copy.resolve() != (data / "bundles" / "a").resolve()
    assert hashes(copy) == hashes(data / "bundles" / "a")
    assert not os.stat(copy / "policy.onnx").st_mode & 0o222


def test_who_loads_while_the_link_is_swapped_reads_one_bundle(registry, data):
    for run in ("a", "b"):
        promoted(registry, data, run)
    ended, seen, faults = threading.Event(), set(), []

    def load():
        while not ended.is_set():
            try:
                seen.add(verified_manifest((registry.root / "current" / "champion").resolve())["run"])
            except PolicyError as error:
                faults.append(str(error))

    reader = threading.Thread(target=load)
    reader.start()
    try:
        for number in range(10):
            promoted(registry, data, f"c{number}")
            registry.roll_back(WHY)
    finally:
        ended.set()
        reader.join()
    assert faults == []
    assert {"b"} < seen


def test_a_damaged_copy_is_refused_by_name_and_the_champion_stays(registry, data):
    for run in ("a", "b"):
        promoted(registry, data, run)
    file = registry.current().previous.folder / "policy.onnx"
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(whole[:-1] + b"!")
    with pytest.raises(RegistryError, match=r"copy of a bundle is damaged: altered file .*policy\.onnx"):
        registry.roll_back(WHY)
    assert registry.current().champion.run == "b"
    file.write_bytes(whole)
    assert registry.roll_back(WHY).champion.run == "a"


def test_a_damaged_bundle_is_not_proposed_and_leaves_nothing(registry, data):
    promoted(registry, data, "a")
    made = challenger(data, "b", champion=registry.current().champion.identity)
    (data / "bundles" / "b" / "policy.onnx").write_bytes(b"torn")
    with pytest.raises(BundleError, match=r"altered file .*policy\.onnx"):
        registry.propose(made, data / "bundles" / "b", WHY)
    (data / "bundles" / "b" / "policy.onnx").unlink()
    with pytest.raises(BundleError, match=r"missing file .*policy\.onnx"):
        registry.propose(made, data / "bundles" / "b", WHY)
    assert registry.current().challenger is None
    assert len(list((registry.root / "bundles").iterdir())) == 1


def test_another_bundle_than_the_one_that_was_judged_is_not_proposed(registry, data):
    made = challenger(data, "a")
    bundle(data, "other")
    with pytest.raises(BundleError, match=r"altered manifest .*other"):
        registry.propose(made, data / "bundles" / "other", WHY)


def test_one_that_its_own_stages_ended_is_not_proposed(registry, data):
    made = challenger(data, "a", outcome="kl", answer="It moved too far.")
    with pytest.raises(RegistryError, match=r"a was ended by its stage kl: .* It moved too far\."):
        registry.propose(made, data / "bundles" / "a", WHY)


def test_a_second_challenger_takes_the_place_of_one_that_was_not_decided_on(registry, data):
    for run in ("a", "b"):
        state = registry.propose(challenger(data, run), data / "bundles" / run, WHY)
    assert state.challenger.run == "b"
    assert "in the place of a, which was not decided on" in state.decision.answer
    assert registry.withdraw("no longer wanted").challenger is None
    with pytest.raises(RegistryError, match="no challenger stands"):
        registry.withdraw(WHY)


def test_others_than_the_first_are_not_appointed_and_a_reason_is_asked_for(registry, data):
    for run in ("a", "b"):
        bundle(data, run)
    with pytest.raises(RegistryError, match="a decision without a reason"):
        registry.appoint(data / "bundles" / "a", "  ")
    registry.appoint(data / "bundles" / "a", WHY)
    with pytest.raises(RegistryError, match="a is champion: expected none"):
        registry.appoint(data / "bundles" / "b", WHY)


def test_a_plan_is_stated_before_the_challengers_that_it_judges(registry, data):
    plan = PromotionPlan(sessions=200)
    early = challenger(data, "early")
    state = registry.register(plan, "a longer look")
    assert state.plan == plan
    with pytest.raises(RegistryError, match="expected a plan stated before one looks"):
        registry.propose(early, data / "bundles" / "early", WHY)
    remade = {**early.judged, "looked": early.created}
    again = challenger(data, "again", created="2099-01-01T00:00:00+00:00", judged=remade)
    with pytest.raises(RegistryError, match="again was looked at on 2026-11-01"):
        registry.propose(again, data / "bundles" / "again", WHY)
    other = {**early.judged, "plan_sha256": PromotionPlan().sha256}  # whatever a clock says
    under = challenger(data, "under", created="2099-01-01T00:00:00+00:00", judged=other)
    with pytest.raises(RegistryError, match=f"under plan {PromotionPlan().sha256[:12]}"):
        registry.propose(under, data / "bundles" / "under", WHY)
    late = challenger(data, "late", created="2099-01-01T00:00:00+00:00")
    state = registry.propose(late, data / "bundles" / "late", WHY)
    assert (state.plan, state.decision.plan_sha256) == (plan, plan.sha256)
    with pytest.raises(RegistryError, match="challenger late stands: expected none while limits change"):
        registry.register(PromotionPlan(), WHY)


def test_while_one_decides_another_is_refused(registry, data):
    challenger(data, "a")
    with lock(registry.root / "lock", "held"), pytest.raises(ArtifactError, match=r"is in use by another process"):
        promoted(registry, data, "b")
    assert registry.current() is None


def test_a_state_that_never_held_is_swept_and_its_bundle_with_it(registry, data, monkeypatch):
    promoted(registry, data, "a")
    made = challenger(data, "b", champion=registry.current().champion.identity)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("clstm_core.feedback.registry_files.point", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.propose(made, data / "bundles" / "b", WHY)
    assert registry.current().decision.number == 2
    assert (registry.root / "states" / "000003").is_dir()
    state = registry.propose(challenger(data, "c"), data / "bundles" / "c", WHY)
    assert (state.decision.number, state.challenger.run) == (3, "c")
    assert len(list((registry.root / "bundles").iterdir())) == 2


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: (root / "current").unlink(), "no link .*current: found states up to 4"),
        (lambda root: relink(root / "current", "states/000001"), r"leads to state 1, decision \w+: expected state 4"),
        (lambda root: relink(root / "current", "states/000003"), r"leads to state 3, decision \w+: expected state 4"),
        (lambda root: resealed(root / "states/000004/decision.json"), r"state 4, decision \w+: expected state 4"),
        (lambda root: (root / "head.json").unlink(), r"no readable .*head\.json: found states up to 4"),
        (lambda root: relink(root / "current", "../elsewhere"), "leads to .*elsewhere: expected a state"),
        (lambda root: relink(root / "current", "states/000009"), "leads to .*000009: expected a state"),
        (lambda root: relink(root / "states/000004/champion", "../../bundles/other"), "altered state .*000004"),
        (lambda root: followed(root / "current"), r"current is a folder: .*`cp -a`"),
        (lambda root: followed(root / "states/000004/champion"), r"altered state .*000004.*`cp -a`"),
        (lambda root: spoil(root / "states/000004/decision.json"), r"decision\.json"),
        (lambda root: spoil(root / "states/000002/decision.json"), r"000002/decision\.json"),
        (lambda root: spoil(root / "states/000001/pairs.parquet"), r"altered file .*000001/pairs\.parquet"),
    ],
)
def test_what_was_moved_or_altered_by_hand_is_refused_by_name(registry, data, harm, words):
    for run in ("a", "b"):
        promoted(registry, data, run)
    harm(registry.root)
    with pytest.raises(RegistryError, match=words):
        _ = registry.history(), registry.roll_back(WHY)


def relink(link, target):
    link.unlink()
    link.symlink_to(target)


def followed(link):
    """As a copy that follows links has it."""
    target = link.resolve()
    link.unlink()
    shutil.copytree(target, link)


def resealed(file):
    """Another reason in a decision, with a seal that fits."""
    dataclasses.replace(DecisionManifest.read(file), reason="another one").write(file)


def test_a_first_champion_whose_link_is_lost_is_not_forgotten(registry, data):
    for run in ("a", "b"):
        bundle(data, run)
    registry.appoint(data / "bundles" / "a", WHY)
    (registry.root / "current").unlink()
    with pytest.raises(RegistryError, match="leads to no state: expected state 1"):
        registry.appoint(data / "bundles" / "b", WHY)
    (registry.root / "current").symlink_to("states/000001")
    assert registry.current().champion.run == "a"


def test_who_is_champion_twice_is_rolled_back_from_once_and_never_forward(registry, data):
    made = challenger(data, "a")
    registry.propose(made, data / "bundles" / "a", WHY)
    promote(registry)
    promoted(registry, data, "b")
    registry.propose(made, data / "bundles" / "a", WHY)
    promote(registry)
    assert [registry.roll_back(WHY).champion.run for _ in range(2)] == ["b", "a"]
    with pytest.raises(RegistryError, match="a is champion and there is none before"):
        registry.roll_back(WHY)


def spoil(file):
    file.write_bytes(file.read_bytes().replace(b"a", b"e", 1))


def test_one_without_its_pairs_is_not_proposed(registry, data):
    made = challenger(data, "a")
    bare = dataclasses.replace(made, files={}).write(made.place)
    with pytest.raises(RegistryError, match=r"names no pairs\.parquet"):
        registry.propose(bare, data / "bundles" / "a", WHY)


def test_proposals_keep_what_they_are_decided_on(registry, data):
    made = challenger(data, "a")
    registry.propose(made, data / "bundles" / "a", WHY)
    (data / "challengers" / "a" / FILE).unlink()
    (data / "challengers" / "a" / "pairs.parquet").unlink()
    assert registry.current().proposal().run == "a"


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device", "the/disk")


@pytest.mark.parametrize(("what", "named"), [("flush", "current"), ("write_json", "head.json")])
def test_a_disk_that_fills_after_the_swap_is_told_and_the_decision_holds(registry, data, monkeypatch, what, named):
    promoted(registry, data, "a")
    made = challenger(data, "b", champion=registry.current().champion.identity)
    with monkeypatch.context() as patched:
        patched.setattr(f"clstm_core.feedback.registry_files.{what}", full)
        state = registry.propose(made, data / "bundles" / "b", WHY)
        assert state.challenger.run == registry.current().challenger.run == "b"
        assert re.search(rf"{named} .*No space left on device", state.unwritten)
        if what == "write_json":  # none decides before the head is written: two behind could not be told from a loss
            assert registry.complete() == state.unwritten
            with pytest.raises(OSError, match="No space left"):
                registry.withdraw(WHY)
    assert registry.complete() == ""
    head = json.loads((registry.root / "head.json").read_text())
    assert head == {"number": 3, "sha256": state.decision.identity}
    state = registry.withdraw(WHY)
    assert (state.decision.number, state.unwritten) == (4, "")


def test_a_state_that_cannot_be_read_back_never_holds(registry, data, monkeypatch):
    promoted(registry, data, "a")
    made = challenger(data, "b", champion=registry.current().champion.identity)

    def torn(root, decision, sources):
        real(root, decision, sources)
        spoil(root / "states" / f"{decision.number:06d}" / "pairs.parquet")

    real = registry_files.write_state
    with monkeypatch.context() as patched:
        patched.setattr("clstm_core.feedback.registry_files.write_state", torn)
        with pytest.raises(RegistryError, match=r"altered file .*000003/pairs\.parquet"):
            registry.propose(made, data / "bundles" / "b", WHY)
    assert registry.current().challenger is None
    assert registry.propose(made, data / "bundles" / "b", WHY).challenger.run == "b"


def test_a_reason_that_no_page_can_show_is_refused_before_it_stands(registry, data):
    bundle(data, "a")
    with pytest.raises(RegistryError, match=r"reason 'half \\udcff'.*UTF-8"):
        registry.appoint(data / "bundles" / "a", "half \udcff")
    assert registry.current() is None


def test_a_plan_of_a_newer_release_is_named_with_its_file(registry, data):
    registry.register(PromotionPlan(), WHY)
    place = registry.root / "states" / "000001" / "decision.json"
    made = DecisionManifest.read(place)
    made = dataclasses.replace(made, plan={**made.plan, "new_limit": 1}).write(place)
    (registry.root / "head.json").write_text(json.dumps({"number": 1, "sha256": made.identity}))
    with pytest.raises(RegistryError, match=r"000001/decision\.json holds a plan .*unknown limits new_limit.*newer"):
        registry.propose(challenger(data, "a"), data / "bundles" / "a", WHY)


def renamed(made, **facts):
    """A bundle whose manifest says other things, with a seal that fits."""
    return dataclasses.replace(made, **facts).write(made.place)


@pytest.mark.parametrize("name", ["../evil.txt", "sub/evil.txt", "{data}/evil.txt"])
def test_a_strangers_bundle_writes_nowhere_but_in_its_copy(registry, data, name):
    made = bundle(data, "a")
    name = name.format(data=data)
    place = made.folder / name
    place.parent.mkdir(exist_ok=True)
    place.write_text("of a stranger")
    place.chmod(0o640)
    renamed(made, files={**made.files, name: file_sha256(place)})
    with pytest.raises(BundleError, match=r"evil\.txt'?: expected names without folders"):
        registry.appoint(made.folder, WHY)
    assert list(registry.root.rglob("*evil*")) == []
    assert place.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("run", ["../../x", "<b>x</b>", "half \udcff", ""])
def test_a_bundle_of_a_run_that_none_can_be_called_is_refused(registry, data, run):
    made = bundle(data, "a")
    renamed(made, run=run)
    with pytest.raises(ConfigError, match="expected A-Z"):
        registry.appoint(made.folder, WHY)
    assert registry.current() is None


def test_the_champion_is_no_challenger_of_its_own(registry, data):
    made = bundle(data, "a")
    registry.appoint(made.folder, WHY)
    itself = challenger(data, "a", champion=made.identity, made=made)
    with pytest.raises(RegistryError, match="a is champion already"):
        registry.propose(itself, made.folder, WHY)


def test_pairs_that_nobody_could_decide_on_take_nobodys_place(registry, data):
    registry.propose(challenger(data, "a"), data / "bundles" / "a", WHY)
    growth = np.full(100, 0.001)
    growth[3] = np.nan
    with pytest.raises(RegistryError, match="growth that is not finite"):
        registry.propose(challenger(data, "b", growth=growth), data / "bundles" / "b", WHY)
    assert registry.current().challenger.run == "a"


def test_what_a_bundle_did_not_measure_of_itself_is_nothing(data):
    made = bundle(data, "a")
    assert figures_of(made) == {"parity": True, "latency_p50_us": 80.0}
    assert figures_of(dataclasses.replace(made, parity=[], latency=[])) == {"parity": None, "latency_p50_us": None}
