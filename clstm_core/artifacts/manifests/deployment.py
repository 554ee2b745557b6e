"""What is deployed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clstm_core.artifacts.folder import json_sha256
from clstm_core.artifacts.manifest import JsonObject, Manifest, Rows
from clstm_core.errors import ArtifactError, BundleError

UNQUALIFIED = "UNQUALIFIED"
"""How the standing of a policy begins that is no champion, and the name of the file that says so in its bundle."""

_FORMATS = {".safetensors": "safetensors", ".ts": "torchscript", ".onnx": "onnx", ".json": "json", ".md": "markdown"}


@dataclass(frozen=True, kw_only=True)
class BundleManifest(Manifest):
    """A policy to deploy: its graphs, its schema, and the proof that it is the policy that was judged.

    The ONNX files carry `facts_sha256`, and the manifest carries the hashes of the ONNX files: neither can be altered
    alone.
    """

    kind: ClassVar[str] = "bundle"
    words: ClassVar[str] = "bundle"
    remedy: ClassVar[str] = "Materialize policy_bundle again."
    error: ClassVar[type[ArtifactError]] = BundleError
    version: ClassVar[int] = 4

    run: str
    created: str
    made_from: str
    policy: JsonObject
    provenance: JsonObject
    schema: JsonObject
    schema_sha256: str
    memory_sessions: int  # decisions after which the policy forgets
    account: JsonObject  # EnvConfig that it trades under: costs, margin, and the caps of its risk budget
    graphs: JsonObject
    shapes: JsonObject
    opset: int
    versions: Mapping[str, str]
    parity: Sequence[JsonObject]
    latency: Sequence[JsonObject]
    golden: JsonObject
    bytes: Mapping[str, int]

    @property
    def standing(self) -> str:
        """How its policy was chosen; begins with `UNQUALIFIED` where no rung of its ladder is said to qualify."""
        return str(self.provenance.get("standing") or f"{UNQUALIFIED}: nothing says that it was chosen")

    @property
    def qualified(self) -> bool:
        """Whether its policy is a champion."""
        return not self.standing.startswith(UNQUALIFIED)

    @property
    def facts_sha256(self) -> str:
        """Hash of all that it says but hashes and sizes of the ONNX files, which carry this hash."""
        content = self.content()
        for name in ("files", "bytes"):
            content[name] = {file: fact for file, fact in content[name].items() if not file.endswith(".onnx")}
        return json_sha256(content)

    def rows(self) -> Rows:
        latency = {row["runtime"]: row for row in self.latency}
        rows = []
        for name, digest in self.files.items():
            runtime = {"policy.onnx": "onnx", "policy.ts": "torchscript"}.get(name)
            row = {
                "run": self.run,
                "file": name,
                "format": _FORMATS.get(Path(name).suffix),
                "milestone": self.policy.get("milestone"),
                "folder": f"bundles/{self.run}",
                "sha256": digest,
                "bytes": self.bytes.get(name),
                "created_at": self.created,
                "memory_sessions": self.memory_sessions,
                "manifest_sha256": self.identity,
            }
            compared = [row for row in self.parity if row["runtime"] == runtime]
            if compared:
                row |= {
                    "parity_passed": all(item["passed"] for item in compared),
                    "parity_steps": max(item["steps"] for item in compared),
                    "parity_action_differences": sum(item["actions_differing"] for item in compared),
                    "parity_max_logit_difference": max(item["max_logit_difference"] for item in compared),
                    "latency_p50_us": latency.get(str(runtime), {}).get("p50_us"),
                    "latency_p99_us": latency.get(str(runtime), {}).get("p99_us"),
                }
            rows.append(row)
        return {"exports": rows}
