"""Our errors, in one place, and words for those that are not ours.

Each message is a sentence for a person: what, found, expected, remedy. `ClstmError` is their base, so that a caller who
only wants to show the sentence needs no list of them.
"""


class ClstmError(Exception):
    """An error of this project whose message is a sentence for the user."""


class ConfigError(ClstmError, ValueError):
    """A configuration that cannot work."""


class ArtifactError(ClstmError, ValueError):
    """A file that a stage left and that cannot be used: missing, half-written or altered."""


class MarketDataError(ArtifactError):
    """Market data that cannot be used."""


class CheckpointError(ArtifactError):
    """A checkpoint that cannot be used."""


class EvaluationError(ArtifactError):
    """A backtest or comparison that cannot be made or used."""


class BundleError(ArtifactError):
    """A bundle that must not trade."""


class ShadowError(ArtifactError):
    """A shadow account that cannot go on, or whose log cannot be used."""


class RegistryError(ArtifactError):
    """A registry of champions that cannot be used, or a decision that cannot be taken."""


class AuditError(ClstmError, ValueError):
    """An audit that cannot be run at all, or a market that is not proven."""


class MetricsError(ClstmError, ValueError):
    """A row or a store that cannot be used."""


class ReportError(ClstmError, ValueError):
    """A report that cannot be made."""


class SelfTestError(ClstmError, RuntimeError):
    """The recurrence of the trainer is broken."""


class TrainingError(ClstmError, RuntimeError):
    """The trainer's process ended otherwise than well."""


class NonFiniteError(ClstmError, RuntimeError):
    """Training produced a number that is not finite."""


def of_file_system(error: Exception) -> bool:
    """Whether the file system refused: directly, or below a library that wraps it in an exception of its own."""
    return isinstance(error, OSError) or "(os error " in str(error)


def file_system_sentence(error: Exception) -> str:
    """What could not be used and why, what was expected, and what to do."""
    what = getattr(error, "filename", None) or "the disk"
    why = getattr(error, "strerror", None) or " ".join(str(error).split())
    return (
        f"cannot use {what}: {why}. Expected a place that can be read and written, with space left. Mend it or name "
        "another place, and run the same command again: nothing that was finished is lost."
    )
