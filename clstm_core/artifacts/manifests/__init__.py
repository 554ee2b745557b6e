"""Every kind of manifest that passes between stages, what each says, and the rows it has in the metrics store.

quotes <- tensors <- audit verdict <- run inputs <- checkpoint <- backtest <- backtest set <- comparison
                                                    checkpoint <- generalisation <- comparison
                                             set of backtests <- luck <- comparison <- bundle, evidence <- report
                                                             comparison <- conventions
                                                                  backtest set <- walk-forward
                                                          bundle <- challenger <- decision <- decision <- ...
"""

from clstm_core.artifacts.manifests.decision import DecisionManifest
from clstm_core.artifacts.manifests.deployment import BundleManifest
from clstm_core.artifacts.manifests.evaluation import (
    BacktestManifest,
    BacktestSet,
    ComparisonManifest,
    ConventionsManifest,
    CriticManifest,
    EvidenceManifest,
    FairWalkManifest,
    LuckManifest,
    ReportManifest,
)
from clstm_core.artifacts.manifests.feedback import ChallengerManifest
from clstm_core.artifacts.manifests.market import AuditVerdict, QuotesManifest, RealismVerdict, TensorsManifest, proves
from clstm_core.artifacts.manifests.shadow import ReconciliationManifest, ShadowManifest
from clstm_core.artifacts.manifests.sweeps import SweepManifest, TrialManifest
from clstm_core.artifacts.manifests.training import (
    CheckpointManifest,
    ControlsManifest,
    GateResults,
    GeneralisationManifest,
    RunInputs,
    RunStatus,
)
from clstm_core.artifacts.manifests.walk_forward import WalkForwardManifest

__all__ = [
    "AuditVerdict",
    "BacktestManifest",
    "BacktestSet",
    "BundleManifest",
    "ChallengerManifest",
    "CheckpointManifest",
    "ComparisonManifest",
    "ControlsManifest",
    "ConventionsManifest",
    "CriticManifest",
    "DecisionManifest",
    "EvidenceManifest",
    "FairWalkManifest",
    "GateResults",
    "GeneralisationManifest",
    "LuckManifest",
    "QuotesManifest",
    "RealismVerdict",
    "ReconciliationManifest",
    "ReportManifest",
    "RunInputs",
    "RunStatus",
    "ShadowManifest",
    "SweepManifest",
    "TensorsManifest",
    "TrialManifest",
    "WalkForwardManifest",
    "proves",
]
