import copy
import json
import shutil

import onnx
import pytest
import torch

from clstm_core.artifacts.folder import canonical_json, file_sha256, json_sha256
from clstm_core.artifacts.manifest import SEAL, _seal
from clstm_core.config import EnvConfig, ModelConfig, RunConfig
from clstm_core.deployment import bundle
from clstm_core.deployment.bundle import build_bundle, load_bundle
from clstm_core.deployment.export import actor_step, export_onnx, full_step, load_torchscript
from clstm_core.deployment.runtimes import eager, onnx_metadata
from clstm_core.env.budget import PREMIUM_SESSIONS
from clstm_core.env.options_env import OptionsEnv
from clstm_core.errors import BundleError
from clstm_core.evaluation.policies import load_checkpoint
from clstm_core.specs import ACTIONS
from tests.saved import save_policy

MEMORY = 21
PROVENANCE = {"data_label": "simulated quotes", "report": "reports/generated/x/index.html"}


def save(policy, folder):
    config = RunConfig(env=EnvConfig(horizon=MEMORY), model=ModelConfig(hidden_dim=16, attention_window=4))
    return save_policy(folder, policy, config)


@pytest.fixture(scope="module")
def original(policy, make_env, tmp_path_factory):
    """A bundle of the small policy, built once."""
    root = tmp_path_factory.mktemp("bundle")
    checkpoint = save(policy, root / "checkpoints" / "100")
    return build_bundle(checkpoint, root / "bundle", make_env=make_env, provenance=PROVENANCE, parity_steps=60)


@pytest.fixture
def folder(original, tmp_path):
    """A copy of that bundle, to be damaged."""
    return shutil.copytree(original.folder, tmp_path / "bundle")


def test_a_bundle_is_verified_and_decides_as_the_policy(original, policy):
    built = original
    assert built.parity_passed
    assert {(result.runtime, result.batch) for result in built.parity} == {
        (runtime, batch) for runtime in ("torchscript", "onnx") for batch in (1, 7)
    }
    loaded = load_bundle(built.folder)
    assert loaded.manifest.policy["env_steps"] == 1234
    assert loaded.manifest.provenance["data_label"] == "simulated quotes"
    assert "simulated quotes" in (built.folder / "MODEL_CARD.md").read_text()
    reference = eager(actor_step(policy, MEMORY))
    inputs = reference.blank(3)
    assert abs(loaded.policy(inputs)[0] - reference(inputs)[0]).max() <= 1e-5
    assert json.loads((built.folder / "config.json").read_text())["model"]["hidden_dim"] == 16


def test_a_bundle_states_the_risk_budget_that_its_policy_was_judged_under(original):
    account = load_bundle(original.folder).manifest.account
    assert account.pop("premium_sessions") == PREMIUM_SESSIONS == 21
    assert EnvConfig(**account) == EnvConfig(horizon=MEMORY)
    card = (original.folder / "MODEL_CARD.md").read_text()
    assert "net exposure, |delta of the whole book| x spot: 1 x equity;" in card
    assert "loss of the whole book at spot -20% and implied volatilities +100%: 25% of equity;" in card
    assert "premium sold to open: 25% of equity in each stretch of 21 sessions of the account's age" in card
    assert "ages 0 to 20, then 21 to 41, and so on, not rolling" in card


@pytest.mark.parametrize("name", ["policy.onnx", "policy.ts", "golden.safetensors", "MODEL_CARD.md"])
def test_an_altered_bundle_is_refused_by_name(folder, name):
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match=rf"altered file .*{name}.*expected .*again"):
        load_bundle(folder)


def resealed(folder, change):
    """Alter the manifest as someone would who knows how the seal is made."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest[SEAL]
    change(manifest)
    path.write_text(canonical_json(manifest | {SEAL: _seal(manifest)}))


def swap_graph(folder, name, step):
    """Put another graph in its place, with the old one's properties and right hashes and sizes."""
    path = folder / name
    export_onnx(step, path, onnx_metadata(path))
    acknowledge(path)


def rename(path, metadata):
    """Let an ONNX file say other things of itself, with right hashes and sizes."""
    model = onnx.load(str(path))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    acknowledge(path)


def acknowledge(path):
    """Write a changed file's hash and size into the manifest beside it."""
    facts = {"files": file_sha256(path), "bytes": path.stat().st_size}
    resealed(path.parent, lambda manifest: [manifest[key].update({path.name: fact}) for key, fact in facts.items()])


def test_golden_vectors_catch_another_policy_behind_right_hashes(folder, policy):
    other = copy.deepcopy(policy)
    other.policy_head.bias.data.add_(torch.linspace(0, 1, len(ACTIONS)))
    swap_graph(folder, "policy.onnx", actor_step(other, MEMORY))
    with pytest.raises(BundleError, match=r"golden vectors .* not reproduced by policy\.onnx"):
        load_bundle(folder)


def test_another_policy_in_the_telemetry_graph_is_caught(folder, policy):
    other = copy.deepcopy(policy)
    other.policy_head.bias.data.add_(torch.linspace(0, 1, len(ACTIONS)))
    swap_graph(folder, "policy_full.onnx", full_step(other, MEMORY))
    with pytest.raises(BundleError, match=r"golden vectors .* not reproduced by policy_full\.onnx"):
        load_bundle(folder)


@pytest.mark.parametrize("memory", [MEMORY - 1, 10_000])
def test_a_graph_that_forgets_at_other_times_is_caught(folder, policy, memory):
    swap_graph(folder, "policy.onnx", actor_step(policy, memory))
    with pytest.raises(BundleError, match=r"golden vectors .* not reproduced"):
        load_bundle(folder)


@pytest.mark.parametrize("what", ["actions", "observation"])
@pytest.mark.parametrize("careful", [False, True])
def test_reversed_names_are_refused(folder, what, careful):
    def change(manifest):
        manifest["schema"][what].reverse()
        if careful:
            manifest["schema_sha256"] = json_sha256(manifest["schema"])

    resealed(folder, change)
    with pytest.raises(BundleError, match=rf"other names of {what} than this release: .* at place 0, expected"):
        load_bundle(folder)


@pytest.mark.parametrize("what", ["OBSERVATION", "ACTIONS"])
def test_a_bundle_of_another_release_is_refused(folder, what, monkeypatch):
    """Nothing was altered, but the code that loads it names things otherwise."""
    names = getattr(bundle, what)
    monkeypatch.setattr(bundle, what, (*names[:4], "something_new", *names[5:]))
    with pytest.raises(BundleError, match=rf"{names[4]} at place 4, expected something_new\. Use it with the release"):
        load_bundle(folder)
    monkeypatch.setattr(bundle, what, (*names, "appended"))
    with pytest.raises(BundleError, match=rf"nothing at place {len(names)}, expected appended"):
        load_bundle(folder)


ALTERATIONS = {
    "memory_sessions": lambda manifest: manifest.update(memory_sessions=126),
    "schema_sha256": lambda manifest: manifest.update(schema_sha256="0" * 64),
    "run": lambda manifest: manifest.update(run="another"),
    "made_from": lambda manifest: manifest.update(made_from="another"),
    "created": lambda manifest: manifest.update(created="2020-01-01T00:00:00+00:00"),
    "policy": lambda manifest: manifest["policy"].update(env_steps=100_000_000),
    "provenance": lambda manifest: manifest["provenance"].update(data_label="real quotes"),
    "graphs": lambda manifest: manifest["graphs"]["policy.onnx"]["inputs"].reverse(),
    "shapes": lambda manifest: manifest["shapes"]["observation"].update(dtype="float64"),
    "opset": lambda manifest: manifest.update(opset=99),
    "versions": lambda manifest: manifest["versions"].update(torch="9.9"),
    "parity": lambda manifest: manifest["parity"][0].update(max_logit_difference=0.0, steps=10**6),
    "latency": lambda manifest: manifest["latency"][0].update(p99_us=1.0),
    "golden": lambda manifest: manifest["golden"].update(max_difference=0.0, steps=10**6),
    "parents": lambda manifest: manifest["parents"].update(checkpoint="0" * 64),
    "bytes": lambda manifest: manifest["bytes"].update({"policy.onnx": 1}),
    "a file's hash": lambda manifest: manifest["files"].update({"config.json": "0" * 64}),
    "a file less": lambda manifest: manifest["files"].pop("MODEL_CARD.md"),
}


@pytest.mark.parametrize("careful", [False, True], ids=["careless", "resealed"])
@pytest.mark.parametrize("what", ALTERATIONS)
def test_an_altered_field_of_the_manifest_is_refused(folder, what, careful):
    if careful:
        resealed(folder, ALTERATIONS[what])
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        ALTERATIONS[what](manifest)
        (folder / "manifest.json").write_text(canonical_json(manifest))
    with pytest.raises(BundleError, match=r"[Mm]aterialize policy_bundle again"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name", ["policy.ts", "policy.safetensors", "config.json", "golden.safetensors", "MODEL_CARD.md"]
)
def test_a_file_replaced_with_its_hash_and_size_is_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    acknowledge(path)
    with pytest.raises(BundleError, match="the manifest that it was exported with is"):
        load_bundle(folder)


@pytest.mark.parametrize("key", ["schema_sha256", "observation", "actions", "memory_sessions", "facts_sha256"])
def test_a_graph_with_other_metadata_is_refused(folder, key):
    path = folder / "policy.onnx"
    metadata = onnx_metadata(path)
    rename(path, metadata | {key: "0"})
    with pytest.raises(BundleError, match=r"does not fit its graph: .* is 0 in policy\.onnx, expected"):
        load_bundle(folder)
    del metadata[key]
    rename(path, metadata)
    with pytest.raises(BundleError, match=r"does not fit its graph: .* is None in policy\.onnx, expected"):
        load_bundle(folder)


def test_a_bundle_rewritten_whole_is_not_the_one_that_its_user_names(original, folder):
    identity = original.manifest.identity
    assert load_bundle(folder, identity=identity).manifest.identity == identity
    assert {row["manifest_sha256"] for row in original.manifest.rows()["exports"]} == {identity}
    with pytest.raises(BundleError, match=r"altered manifest .* expected 000000000000"):
        load_bundle(folder, identity="0" * 64)


def test_a_bundle_says_how_long_it_remembers(original):
    assert original.manifest.memory_sessions == MEMORY
    assert {row["memory_sessions"] for row in original.manifest.rows()["exports"]} == {MEMORY}
    assert f"forgets all it remembers after every {MEMORY} decisions" in (original.folder / "MODEL_CARD.md").read_text()
    for name in ("policy.onnx", "policy_full.onnx"):
        assert onnx_metadata(original.folder / name)["memory_sessions"] == str(MEMORY)
    assert load_torchscript(original.folder / "policy.ts")[1]["metadata"]["memory_sessions"] == str(MEMORY)


def test_the_bundle_decides_as_the_backtest_over_more_than_two_memories(tmp_path, policy, make_env, market):
    """A trained policy's account over a whole window, decided by a backtest and then by the bundle's ONNX graph."""
    checkpoint = save(policy, tmp_path / "runs" / "x" / "checkpoints" / "100")
    build_bundle(checkpoint, tmp_path / "bundle", make_env=make_env, provenance=PROVENANCE, parity_steps=60)
    run = load_bundle(tmp_path / "bundle").policy
    (trader,) = load_checkpoint(checkpoint, modes=("argmax",))
    config = EnvConfig(horizon=3 * MEMORY + 5)
    env = OptionsEnv(market, config, n_envs=2, seed=1, dtype=torch.float64, stagger=False)
    trader.reset(2)
    state = run.blank(2)[2:]
    observation, mask = env.reset()
    for step in range(config.horizon):
        orders = trader.decide(env, observation, mask)
        logits, *state = run((observation.numpy(), mask.numpy(), *state))
        assert (logits.argmax(axis=1) == trader.last.action_N.numpy()).all(), step
        after = env.step_orders(orders)
        assert not after.terminated.any()
        observation, mask = after.observation, after.action_mask


def test_emptied_files_are_refused(folder):
    resealed(folder, lambda manifest: manifest.update(files={}))
    with pytest.raises(BundleError, match=r"names no .*policy\.onnx"):
        load_bundle(folder)


def test_a_failed_export_leaves_the_old_bundle(folder, policy, make_env, monkeypatch, tmp_path):
    before = (folder / "manifest.json").read_bytes()
    checkpoint = save(policy, tmp_path / "checkpoints" / "100")
    monkeypatch.setattr("clstm_core.deployment.parity.MAX_LOGIT_DIFFERENCE", -1.0)
    with pytest.raises(BundleError, match="disagrees with the trained policy"):
        build_bundle(checkpoint, folder, make_env=make_env, provenance={}, parity_steps=5)
    assert (folder / "manifest.json").read_bytes() == before
    assert list(folder.parent.glob(".*.tmp")) == []


def test_a_missing_bundle_says_what_to_do(tmp_path):
    with pytest.raises(BundleError, match=r"no bundle at .*Materialize policy_bundle"):
        load_bundle(tmp_path / "nowhere")
