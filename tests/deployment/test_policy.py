"""A bundle in use with NumPy and ONNX Runtime alone: the same decisions, and nothing that must not be traded on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from clstm_core.artifacts.places import Places
from clstm_core.config import EnvConfig, ModelConfig, RunConfig
from clstm_core.deployment.bundle import build_bundle
from clstm_core.deployment.export import actor_step
from clstm_core.deployment.runtimes import eager
from clstm_core.feedback.registry import Registry
from clstm_core.specs import ACTIONS, OBSERVATION
from clstm_policy import Policy, PolicyError
from clstm_policy.files import verified_manifest
from clstm_policy.guard import first_non_finite, logit_difference
from tests.saved import save_policy

MEMORY = 21
ROOT = Path(__file__).parents[2]


def built(policy, make_env, root, standing):
    config = RunConfig(env=EnvConfig(horizon=MEMORY), model=ModelConfig(hidden_dim=16, attention_window=4))
    checkpoint = save_policy(root / "checkpoints" / "100", policy, config)
    provenance = {"standing": standing, "data_label": "simulated quotes"}
    return build_bundle(checkpoint, root / "bundle", make_env=make_env, provenance=provenance, parity_steps=40).folder


@pytest.fixture(scope="module")
def original(policy, make_env, tmp_path_factory):
    """The bundle of a champion, built once."""
    return built(policy, make_env, tmp_path_factory.mktemp("champion"), "champion: rung 100")


@pytest.fixture
def folder(original, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(original, tmp_path / "bundle")


def walk(env, steps):
    observation, mask = env.reset()
    for _ in range(steps):
        yield observation.numpy(), mask.numpy()
        step = env.step(torch.zeros(env.n_envs, dtype=torch.int64))
        observation, mask = step.observation, step.action_mask


@pytest.mark.parametrize("accounts", [1, 7])
def test_it_decides_as_the_trained_network_over_several_memories(original, policy, make_env, accounts):
    used, reference = Policy.load(original), eager(actor_step(policy, MEMORY))
    state = reference.blank(accounts)[2:]
    for observation, mask in walk(make_env(accounts), 3 * MEMORY):
        logits, *state = reference((observation, mask, *state))
        found = used.act(observation, mask)
        assert [decision.number for decision in found] == np.where(mask, logits, -np.inf).argmax(axis=1).tolist()


def test_through_the_registrys_link_one_bundle_is_loaded_whatever_becomes_of_the_link(original, tmp_path, monkeypatch):
    """`current` may be swapped between two files: the link is followed once."""
    registry = Registry(Places(tmp_path))
    registry.appoint(original, "the first")
    link = registry.root / "current" / "champion"
    assert Policy.load(link).qualified

    def swapped(place):
        manifest = verified_manifest(place)
        (registry.root / "current").unlink()
        (registry.root / "current").symlink_to("nowhere")
        return manifest

    monkeypatch.setattr("clstm_policy.policy.verified_manifest", swapped)
    assert Policy.load(link).qualified


def test_one_account_is_asked_by_name_or_in_order(original):
    row = np.linspace(-1, 1, len(OBSERVATION))
    mask = [True, *[False] * (len(ACTIONS) - 2), True]
    one, other = (Policy.load(original) for _ in range(2))
    decided = one.act(row, mask)
    named = other.act(dict(zip(OBSERVATION, row, strict=True)), mask)
    assert decided == named
    assert decided.action == ACTIONS[decided.number]
    assert sum(decided.probabilities.values()) == pytest.approx(1.0)
    assert decided.probabilities[ACTIONS[1]] == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"near_skew": float("nan")}, "near_skew of account 0 is nan"),
        ({"vega": float("inf")}, "vega of account 0 is inf"),
        ({"vga": 1.0}, "features vga are missing or unknown"),
    ],
)
def test_what_must_not_be_decided_on_changes_nothing(original, change, words):
    used, fresh = Policy.load(original), Policy.load(original)
    sound = dict.fromkeys(OBSERVATION, 0.1)
    for one in (used, fresh):
        one.act(sound)
    with pytest.raises(PolicyError, match=words):
        used.act(sound | change)
    assert used.act(sound) == fresh.act(sound)


def test_no_legal_action_and_another_number_of_accounts_are_refused(original):
    used = Policy.load(original)
    with pytest.raises(PolicyError, match="no legal action"):
        used.act(np.zeros(len(OBSERVATION)), np.zeros(len(ACTIONS), dtype=bool))
    used.act(np.zeros(len(OBSERVATION)))
    with pytest.raises(PolicyError, match="observations of 2 accounts, expected 1"):
        used.act(np.zeros((2, len(OBSERVATION))))
    used.forget()
    assert len(used.act(np.zeros((2, len(OBSERVATION))))) == 2
    with pytest.raises(PolicyError, match=r"input observation is float32 \[2, 3\]"):
        used.act(np.zeros((2, 3)))


def test_what_was_refused_at_first_begins_no_account(original):
    used = Policy.load(original)
    for wrong in (np.zeros((2, 3)), np.full((2, len(OBSERVATION)), np.nan), np.zeros((0, len(OBSERVATION)))):
        with pytest.raises(PolicyError):
            used.act(wrong)
    assert used.remembered() == {}
    assert used.act(np.zeros(len(OBSERVATION))).action in ACTIONS


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([1.0, float("nan")], "action_mask holds nan"),
        ([1, 2], "action_mask holds 2"),
        ([True, -1], "action_mask holds -1"),
        (["True", "False"], "the action mask cannot be read"),
    ],
)
def test_a_mask_that_says_neither_true_nor_false_makes_nothing_legal(original, mask, words):
    whole = [*mask, *[mask[0]] * (len(ACTIONS) - 2)]
    with pytest.raises(PolicyError, match=words):
        Policy.load(original).act(np.zeros(len(OBSERVATION)), whole)


def test_what_is_no_row_of_numbers_is_a_sentence(original):
    used = Policy.load(original)
    for wrong in (["a"] * len(OBSERVATION), [[1.0, 2.0], [3.0]], np.zeros(len(OBSERVATION), dtype=complex)):
        with pytest.raises(PolicyError, match="the observation cannot be read"):
            used.act(wrong)
    square = dict.fromkeys(OBSERVATION, np.zeros(len(OBSERVATION)))  # as many accounts as features: [F, N] is no [N, F]
    with pytest.raises(PolicyError, match="expected one number each"):
        used.act(square)


@pytest.mark.parametrize("kind", ["datetime64[D]", "timedelta64[s]", "S3", "V4", [("a", "f4")]])
def test_what_numpy_would_turn_into_numbers_is_none(original, kind):
    """A date that is missing would be -9e18, and decided on."""
    with pytest.raises(PolicyError, match="the observation cannot be read"):
        Policy.load(original).act(np.zeros(len(OBSERVATION), dtype=kind))


def test_objects_are_numbers_one_by_one_and_what_a_masked_array_hides_is_missing(original):
    sound = np.full(len(OBSERVATION), 0.1)
    plain = Policy.load(original).act(sound)
    assert Policy.load(original).act(sound.astype(object)) == plain
    assert Policy.load(original).act(np.ma.masked_array(sound, mask=False)) == plain
    words = sound.astype(object)
    words[3] = "0.1"
    with pytest.raises(PolicyError, match="the observation cannot be read"):
        Policy.load(original).act(words)
    hidden = np.ma.masked_array(sound, mask=[at == 3 for at in range(len(OBSERVATION))])
    with pytest.raises(PolicyError, match="account 0 is nan"):
        Policy.load(original).act(hidden)
    legal = np.ma.masked_array(np.ones(len(ACTIONS)), mask=[at == 3 for at in range(len(ACTIONS))])
    with pytest.raises(PolicyError, match="action_mask holds nan"):
        Policy.load(original).act(sound, legal)


def test_threads_that_share_a_policy_lose_no_decision(original):
    import threading

    used, row = Policy.load(original), np.zeros(len(OBSERVATION))
    threads = [threading.Thread(target=lambda: [used.act(row) for _ in range(4)]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used.remembered()["memory_age"].tolist() == [20]


def test_it_goes_on_after_a_restart_with_what_it_remembered(original, make_env):
    whole, first, second = (Policy.load(original) for _ in range(3))
    seen = list(walk(make_env(1), 30))
    unbroken = [whole.act(*step) for step in seen]
    halves = [first.act(*step) for step in seen[:13]]
    second.remember(first.remembered())
    assert halves + [second.act(*step) for step in seen[13:]] == unbroken
    damaged = first.remembered()
    damaged.popitem()
    with pytest.raises(PolicyError, match="found no memory_age"):
        second.remember(damaged)
    with pytest.raises(PolicyError, match="state of another policy"):
        second.remember(first.remembered() | {"policy_sha256": np.zeros(32, dtype=np.uint8)})
    poisoned = {"memory_age": np.full_like(first.remembered()["memory_age"], -1)}
    with pytest.raises(PolicyError, match="state memory_age"):
        second.remember(first.remembered() | poisoned)
    with pytest.raises(PolicyError, match="input actor_h"):
        second.remember(first.remembered() | {"actor_h": np.float32(0)})


def test_a_memory_is_kept_before_the_first_decision_too_and_is_its_own(original, make_env):
    one, other = Policy.load(original), Policy.load(original)
    one.remember(other.remembered())
    seen = list(walk(make_env(1), 6))
    assert [one.act(*step) for step in seen[:3]] == [other.act(*step) for step in seen[:3]]
    kept = one.remembered()
    one.remember(kept)
    for array in kept.values():
        array[...] = 0  # the caller's arrays are his
    assert [one.act(*step) for step in seen[3:]] == [other.act(*step) for step in seen[3:]]


@pytest.mark.parametrize("name", ["policy.onnx", "golden.safetensors", "MODEL_CARD.md", "config.json"])
def test_an_altered_file_is_refused_by_name(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(PolicyError, match=rf"altered file .*{name}"):
        Policy.load(folder)


@pytest.mark.parametrize("name", ["policy.onnx", "manifest.json"])
def test_a_missing_file_is_refused_by_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(PolicyError, match=name):
        Policy.load(folder)


def test_an_altered_manifest_does_not_fit_its_graph(folder):
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text())
    manifest["schema"]["actions"][0] = "buy_all"
    place.write_text(json.dumps(manifest))
    with pytest.raises(PolicyError, match="does not fit its graph: actions"):
        Policy.load(folder)


@pytest.mark.parametrize(
    ("fact", "value", "words"),
    [
        ("account", {"max_crash_loss": 99.0}, "altered .*manifest.json: expected the content"),
        ("schema", [], "does not say schema"),
        ("schema", {"observation": 3, "actions": []}, "lists no observation"),
        ("provenance", None, "does not say provenance"),
        ("memory_sessions", "many", "does not say memory_sessions"),
        ("files", {"policy.onnx": 1, "golden.safetensors": 2}, "altered file .*policy.onnx"),
    ],
)
def test_an_altered_fact_of_the_manifest_is_refused(folder, fact, value, words):
    place = folder / "manifest.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {fact: value}))
    with pytest.raises(PolicyError, match=words):
        Policy.load(folder)


def test_what_is_no_champion_is_opened_only_on_request(policy, make_env, tmp_path):
    folder = built(policy, make_env, tmp_path, "UNQUALIFIED: no rung qualifies")
    with pytest.raises(PolicyError, match="is no champion"):
        Policy.load(folder)
    assert not Policy.load(folder, unqualified=True).qualified
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text())
    manifest["provenance"]["standing"] = "champion: trust me"
    place.write_text(json.dumps(manifest))
    with pytest.raises(PolicyError, match="does not fit its graph: standing"):
        Policy.load(folder)


@pytest.mark.parametrize("left_out", ["policy.onnx", "golden.safetensors"])
def test_a_manifest_that_names_no_hash_of_what_is_opened_is_refused(folder, left_out):
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text())
    del manifest["files"][left_out]
    place.write_text(json.dumps(manifest))
    with pytest.raises(PolicyError, match=f"names no hash of {left_out}"):
        Policy.load(folder)


def test_it_needs_numpy_and_onnxruntime_alone(original):
    code = (
        "import sys; from clstm_policy import Policy; "
        f"print(Policy.load({str(original)!r}).act([0.0] * {len(OBSERVATION)}).action); "
        "print(sorted({'torch', 'clstm_core', 'polars', 'dagster', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    action, others = done.stdout.split()
    assert action in ACTIONS
    assert others == "[]"


def test_the_first_bad_feature_is_named():
    observation = np.zeros((3, len(OBSERVATION)), dtype=np.float32)
    assert first_non_finite(observation, OBSERVATION) == ""
    observation[2, OBSERVATION.index("near_skew")] = float("nan")
    assert first_non_finite(observation, OBSERVATION) == "near_skew of account 2 is nan"
    observation[1, OBSERVATION.index("vega")] = float("inf")
    assert first_non_finite(observation, OBSERVATION) == "vega of account 1 is inf, and 1 more are not finite"
    assert first_non_finite(np.full((1, 2), np.nan)).startswith("feature 0 of account 0")


def test_every_feature_has_its_meaning_in_the_docs():
    text = (ROOT / "docs" / "policy.md").read_text()
    assert [name for name in OBSERVATION if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("found", "expected", "legal", "difference"),
    [
        ([0.5, 9.0], [0.5 + 2e-6, 0.0], [True, False], 2e-6),  # what is not legal does not count
        ([1.0, 28.0], [1.0 + 1.5e-5, 28.0], [True, True], 1.5e-5 / 28.0),  # the resolution of the largest
        ([1.0, 28.0], [1.0 + 1.5e-5, 28.0], [True, False], 1.5e-5 / (1.0 + 1.5e-5)),
        ([float("nan"), 1.0], [1.0, 1.0], [True, True], float("inf")),
        ([1.0, 1.0], [1.0, float("nan")], [True, True], float("inf")),
        ([float("inf"), 1.0], [float("inf"), 1.0], [True, True], float("inf")),  # infinity is no decision
        ([1.0, 2.0], [5.0, 6.0], [False, False], 0.0),
    ],
)
def test_a_difference_of_logits_is_a_share_of_the_largest(found, expected, legal, difference):
    given = (np.array([row]) for row in (found, expected, legal))
    assert logit_difference(*given) == pytest.approx(difference, rel=1e-6)


def test_a_policy_that_is_very_sure_is_exported(policy, make_env, tmp_path):
    """Logits of hundreds: two orders of the same sums differ by more than they would at 1, and no decision differs."""
    import copy

    sure = copy.deepcopy(policy)
    with torch.no_grad():
        sure.policy_head.weight.mul_(40)
        sure.policy_head.bias.mul_(40)
    folder = built(sure, make_env, tmp_path, "champion: rung 100")
    assert Policy.load(folder).act(np.zeros(len(OBSERVATION))).action in ACTIONS
