"""What tests of whole loops do without: an audit of every market, and a process for every training."""

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places


def without_audit(patch):
    """Every market counts as proven: the audit has tests of its own."""
    import clstm_core.audit.run as audit_run
    from clstm_core.audit.result import AuditReport, ProofResult

    def audit(market, env_config, *, size, progress=None):
        proofs = tuple(
            ProofResult(name=name, passed=True, statistic=0.0, threshold=1.0, detail="holds", seconds=0.0)
            for name in audit_run.PROOFS
        )
        return AuditReport(proofs=proofs, size=size, market="test")

    patch.setattr(audit_run, "audit", audit)


def few_fair_worlds(patch, worlds=20):
    """A walk-forward's rungs walk so many fair worlds, in this process."""
    from clstm_core.evaluation.fair_walk import walk_fair_worlds

    def here(champion, others, world, env_config, counts, progress):
        return walk_fair_worlds([champion], world, env_config, n_worlds=counts[0])[champion.name], {}

    patch.setattr("clstm_core.walk_forward.fair.WORLDS", worlds)
    patch.setattr("clstm_core.walk_forward.fair.walk_both", here)


def train_here(patch, stop_after=None):
    """Train in this process; the list grows by each run. With `stop_after` iterations it dies as a killed one does."""
    from clstm_core.train.envs import envs_of
    from clstm_core.train.inputs import config_of
    from clstm_core.train.loop import train

    trained = []

    def here(run, *, threads, report, warn):
        inputs = RunInputs.read(run.inputs)
        env, heldout = envs_of(inputs, Places(run.path.parents[1]))
        trained.append(run.name)

        def tell(row):
            report(row)
            if stop_after is not None and len(trained) > stop_after.cells and row["iteration"] == stop_after.iteration:
                raise KeyboardInterrupt

        train(config_of(inputs), env, run_dir=run.path, heldout_env=heldout, report=tell)

    patch.setattr("clstm_core.train.apart.train_apart", here)
    few_fair_worlds(patch)
    return trained
