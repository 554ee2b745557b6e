"""What the next trial tries: Optuna's proposal, made of the trials before it and of nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clstm_core.sweeps.space import Dimension

STARTUP = 8
"""Trials that are drawn at random before a model of the results proposes."""


class Told(NamedTuple):
    """A trial that came to its end: its settings, and its score; None where it failed."""

    settings: Mapping[str, Any]
    score: float | None


def propose(space: Sequence[Dimension], told: Sequence[Told], *, seed: int) -> dict[str, Any]:
    """Settings of the next trial, the same whenever it is asked for: a sweep that was killed goes on with them.

    Args:
        told: every trial so far, in order; one whose settings lie outside the space is no news of it
        seed: of the sweep; each trial's draw has its own

    Source: Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization": TPE, through Optuna
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    laws = {each.name: each.distribution for each in space}
    sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed * 100_003 + len(told))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in told:
        if not all(each.holds(trial.settings.get(each.name)) for each in space):
            continue
        params = {name: trial.settings[name] for name in laws}
        state = TrialState.FAIL if trial.score is None else TrialState.COMPLETE
        study.add_trial(create_trial(params=params, distributions=laws, value=trial.score, state=state))
    return dict(study.ask(laws).params)


def importances(space: Sequence[Dimension], told: Sequence[Told]) -> dict[str, float]:
    """Each setting's share of what moves the score, largest first; none where too few trials tell of it.

    Source: Watanabe et al. 2023, "PED-ANOVA", arXiv:2304.10255, through Optuna
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import create_trial

    laws = {each.name: each.distribution for each in space}
    study = optuna.create_study(direction="maximize")
    for trial in told:
        if trial.score is not None and all(each.holds(trial.settings.get(each.name)) for each in space):
            params = {name: trial.settings[name] for name in laws}
            study.add_trial(create_trial(params=params, distributions=laws, value=trial.score))
    if len(study.trials) < STARTUP or len({trial.value for trial in study.trials}) < 2:
        return {}
    return dict(get_param_importances(study, evaluator=PedAnovaImportanceEvaluator()))
