"""The two policies that are laid side by side, each with what a backtest says of where it came from."""

from typing import Any, NamedTuple

from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.manifest import FILE
from clstm_core.artifacts.places import Places, RunFolder
from clstm_core.checkpoint import load_policy
from clstm_core.config import RunConfig
from clstm_core.evaluation.policies import CheckpointPolicy
from clstm_core.model.clstm import CLSTM
from clstm_core.train.champion import Champion

CHAMPION, CHALLENGER = "champion", "challenger"


class Mind(NamedTuple):
    """A network, the decisions after which it forgets, and the checkpoint that it is."""

    role: str
    model: CLSTM
    memory_sessions: int
    checkpoint: dict[str, Any]

    def policy(self, seed: int = 0) -> CheckpointPolicy:
        """As backtests trade it: its likeliest action."""
        return CheckpointPolicy(
            self.model,
            name=self.role,
            memory_sessions=self.memory_sessions,
            mode="argmax",
            seed=seed,
            checkpoint=self.checkpoint,
        )

    @property
    def name(self) -> str:
        """Of its policy in a comparison."""
        return f"{self.role}_argmax"


def champion_mind(champion: Champion) -> Mind:
    """The policy of a bundle; its checkpoint is known by what the bundle says it was exported from."""
    bundle, config = champion.bundle, champion.config
    milestone = str(bundle.policy.get("milestone", ""))
    facts = {
        "folder": f"runs/{bundle.run}/checkpoints/{milestone}",
        "sha256": bundle.parents.get("checkpoint", bundle.identity),
        "run": bundle.run,
        "milestone": milestone,
        "env_steps": bundle.policy.get("env_steps"),
        "seed": config.seed,
        "config_sha256": config.sha256,
        "git_commit": bundle.policy.get("git_commit"),
        "training_data_sha256": bundle.policy.get("training_data_sha256"),
    }
    return Mind(CHAMPION, champion.model, bundle.memory_sessions, facts)


def challenger_mind(run: RunFolder, milestone: str, places: Places) -> Mind:
    """The policy of a run's rung; its hashes are verified."""
    folder = run.checkpoint(milestone)
    model, meta = load_policy(folder)
    facts = {
        "folder": places.relative(folder),
        "sha256": file_sha256(folder / FILE),
        "role": CHALLENGER,
        "run": run.name,
        "milestone": milestone,
        "env_steps": int(meta["env_steps"]),
        "seed": meta["config"]["seed"],
        "config_sha256": RunConfig.from_dict(meta["config"]).sha256,
        "git_commit": meta.get("git_commit"),
        "training_data_sha256": meta.get("training_data_sha256"),
    }
    return Mind(CHALLENGER, model, meta["memory_sessions"], facts)
