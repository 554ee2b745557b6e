import copy
import json
import shutil

import pytest
import torch

from clstm_core.artifacts.folder import canonical_json, file_sha256, json_sha256
from clstm_core.artifacts.manifest import SEAL, _seal
from clstm_core.checkpoint import save_checkpoint
from clstm_core.config import ModelConfig, RunConfig
from clstm_core.deployment.bundle import build_bundle, load_bundle
from clstm_core.deployment.export import actor_step, export_onnx
from clstm_core.deployment.runtimes import blank_inputs, eager
from clstm_core.errors import BundleError
from clstm_core.specs import ACTIONS, OBSERVATION

PROVENANCE = {"data_label": "simulated quotes", "report": "reports/generated/x/index.html"}


def save(policy, folder):
    config = RunConfig(model=ModelConfig(hidden_dim=16, attention_window=4))
    meta = {
        "config": config.to_dict(),
        "observation_size": len(OBSERVATION),
        "n_actions": len(ACTIONS),
        "iteration": 3,
        "milestone": "100",
        "env_steps": 1234,
        "git_commit": "0" * 40,
        "training_data_sha256": "f" * 64,
    }
    return save_checkpoint(folder, model=policy.state_dict(), state={}, meta=meta)


@pytest.fixture(scope="module")
def original(policy, make_env, tmp_path_factory):
    """A bundle of the small policy, built once."""
    root = tmp_path_factory.mktemp("bundle")
    checkpoint = save(policy, root / "checkpoints" / "100")
    return build_bundle(checkpoint, root / "bundle", make_env=make_env, provenance=PROVENANCE, parity_steps=20)


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
    bundle = load_bundle(built.folder)
    assert bundle.manifest.policy["env_steps"] == 1234
    assert bundle.manifest.provenance["data_label"] == "simulated quotes"
    assert "simulated quotes" in (built.folder / "MODEL_CARD.md").read_text()
    inputs = blank_inputs(policy, 3)
    assert abs(bundle.policy(inputs)[0] - eager(policy)(inputs)[0]).max() <= 1e-5
    assert json.loads((built.folder / "config.json").read_text())["model"]["hidden_dim"] == 16


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


def test_golden_vectors_catch_another_policy_behind_right_hashes(folder, policy):
    other = copy.deepcopy(policy)
    other.policy_head.bias.data.add_(torch.linspace(0, 1, len(ACTIONS)))
    metadata = {"schema_sha256": load_bundle(folder).manifest.schema_sha256}
    export_onnx(actor_step(other), folder / "policy.onnx", metadata)
    resealed(folder, lambda manifest: manifest["files"].update({"policy.onnx": file_sha256(folder / "policy.onnx")}))
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
    with pytest.raises(BundleError, match="other names of observations or actions"):
        load_bundle(folder)


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
