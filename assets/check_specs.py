"""How checks are declared: what each asks in one sentence, which of them stop the chain, and by what they are kept."""

import warnings
from collections.abc import Mapping

import dagster as dg

from assets.partitions import training_run


def check_specs(
    asset: str,
    blocking: Mapping[str, str] | None = None,
    warning: Mapping[str, str] | None = None,
    *,
    keyed: dg.PartitionsDefinition | None = training_run,
) -> list[dg.AssetCheckSpec]:
    """Checks of one asset from names and sentences.

    Args:
        keyed: by what results are kept, as the asset's are: those of two runs can be laid side by side
    """
    with warnings.catch_warnings():
        # partitioned checks are a preview of Dagster's; without them only the newest run's results are shown
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            dg.AssetCheckSpec(name, asset=asset, blocking=blocks, description=words, partitions_def=keyed)
            for found, blocks in ((blocking, True), (warning, False))
            for name, words in (found or {}).items()
        ]
