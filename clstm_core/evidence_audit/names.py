"""The audit's checks, by name and in order. Plain Python: the code server reads them without loading anything."""

CHECKS: dict[str, str] = {
    "windows_disjoint": "train, validation and test as traded, an embargo apart",
    "training_dates": "accounts of every checkpoint stand inside the training window",
    "fits_on_training_dates": "scaler and surface made anew without later data",
    "observations_rebuilt": "what the champion saw follows from quotes up to its decisions",
    "champion_on_validation": "the choice made anew from validation books, or from what rungs earn in fresh worlds",
    "headline_fills_later": "the headline's orders fill a session after their decision",
    "costs_charged": "fees recomputed from the run's own configuration",
    "figures_recomputed": "returns, ratios, drawdowns and intervals from equity alone",
    "account_recomputed": "the judged account's tear sheet, years, months and falls from its equity alone",
    "statistics_recomputed": "PSR, DSR, MinTRL and PBO from equity and the trial registry",
    "superiority_recomputed": "SPA, StepM and the model confidence set from equity, dates drawn again",
}
