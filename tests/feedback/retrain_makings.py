"""Retrainings of seconds in a simulated market: a verdict in place of the audit, training in this process."""

from clstm_core.artifacts.manifests import RunInputs
from clstm_core.artifacts.places import Places
from clstm_core.config import FineTuneConfig
from clstm_core.feedback.plan import RetrainPlan
from clstm_core.feedback.retrain import Telling, retrain
from clstm_core.recipe import Recipe
from clstm_core.walk_forward.trained import Hooks

SETTINGS = Recipe(name="smoke", source="simulated", n_snapshots=600).run_config()
SMALL = {
    "name": "first",
    "why": "a test",
    "settings": SETTINGS.to_dict(),
    "starts": ("scratch",),
    "steps": 1280,
    "gate": 61,
    "judged": 61,
    "worlds": 20,
    "parity_steps": 60,
    "device": "cpu",
}
ANY = FineTuneConfig(least_gain=-1e9, kl_cap=1e9, recent_sessions=60)


def train_here(patch, dies=None):
    """Train in this process; the list grows by each run. `dies`: an iteration after which it ends as a killed one."""
    from clstm_core.train.champion import champion_of
    from clstm_core.train.envs import envs_of
    from clstm_core.train.fine_tune import fine_tune
    from clstm_core.train.inputs import config_of
    from clstm_core.train.loop import train

    trained = []

    def here(run, *, threads, report, warn):
        inputs, places = RunInputs.read(run.inputs), Places(run.path.parents[1])
        config, (env, heldout) = config_of(inputs), envs_of(inputs, places)
        trained.append(run.name)

        def tell(row):
            report(row)
            if dies == row["iteration"]:
                raise KeyboardInterrupt

        if config.fine_tune.champion:
            champion = champion_of(inputs, places).model
            fine_tune(config, env, heldout, champion, run_dir=run.path, report=tell)
        else:
            train(config, env, run_dir=run.path, heldout_env=heldout, report=tell)

    patch.setattr("clstm_core.train.apart.train_apart", here)
    return trained


class Retraining:
    """One retraining below a folder, and what it told."""

    def __init__(self, places, **changes):
        self.places = places
        self.plan = RetrainPlan(**(SMALL | changes))
        self.progress, self.recorded = [], []

    def run(self):
        hooks = Hooks(record=lambda *found: self.recorded.extend(found))
        return retrain(self.plan, self.places, Telling(hooks=hooks, progress=lambda *said: self.progress.append(said)))


def from_champion(places, first, **changes):
    """A retraining that begins with a challenger's bundle as if it were champion."""
    usual = {
        "name": "second",
        "starts": ("champion",),
        "champion": first.bundle,
        "champion_folder": f"bundles/{first.run}",
        "fine_tune": ANY,
    }
    return Retraining(places, **(usual | changes))
