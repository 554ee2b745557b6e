"""The network's sizes."""

from dataclasses import dataclass

from clstm_core.config.require import require

MOST_BIAS = 10.0
"""Beyond it an untrained policy would hardly ever try anything else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The dual-trunk CLSTM."""

    hidden_dim: int = 256
    encoder_layers: int = 2  # 0: the trunks read the standardised observation itself
    n_lstm_layers: int = 1
    n_heads: int = 4
    attention_window: int = 16  # W: past LSTM outputs that the attention sees, the current one included
    memory_steps: int = 128  # at the start, LSTM units forget over 2 .. this many steps: memory beyond BPTT's reach
    use_attention: bool = True
    dual_trunk: bool = True
    hold_bias: float = 0.0  # logit of `hold` at the start beyond every other action's; the entropy bonus pulls there

    def __post_init__(self) -> None:
        require(
            self.hidden_dim >= 1 and self.hidden_dim % self.n_heads == 0,
            f"hidden_dim={self.hidden_dim} is no multiple of n_heads={self.n_heads}. "
            f"Use e.g. hidden_dim={max(1, self.hidden_dim // self.n_heads) * self.n_heads}.",
        )
        require(self.encoder_layers >= 0, f"encoder_layers={self.encoder_layers}: expected at least 0, e.g. 2.")
        require(self.attention_window >= 1, f"attention_window={self.attention_window}: expected at least 1.")
        require(self.memory_steps >= 2, f"memory_steps={self.memory_steps}: expected at least 2, e.g. 128.")
        require(
            self.n_lstm_layers == 1,
            f"n_lstm_layers={self.n_lstm_layers}: one layer a trunk is supported. Use n_lstm_layers=1.",
        )
        require(
            abs(self.hold_bias) <= MOST_BIAS,
            f"hold_bias={self.hold_bias}: expected a number between -{MOST_BIAS:g} and {MOST_BIAS:g}, e.g. 2.",
        )
