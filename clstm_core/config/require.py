"""How a setting is refused: `ConfigError` with a sentence that names the remedy."""

from clstm_core.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raises: ConfigError with `message` where the condition does not hold"""
    if not condition:
        raise ConfigError(message)
