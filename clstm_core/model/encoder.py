"""The shared encoder: standardise what the env emits, then a small MLP."""

import torch
from torch import nn

OBSERVATION_CLIP = 10.0
"""Standardised features are clipped at this many standard deviations."""


class Encoder(nn.Module):
    """Standardise, then (Linear, LayerNorm, GELU) per layer; no dropout, so that rollout and update see one function.

        x = clip((obs - obs_mean) / obs_std, -10, 10)

    Shapes:  obs [..., F] -> features [..., H], or [..., F] without a layer; `features` says how many
    Assumes: obs_mean and obs_std were fitted on training dates only; they are buffers and travel with the weights.
    """

    obs_mean: torch.Tensor
    obs_std: torch.Tensor

    def __init__(
        self, observation_size: int, hidden_dim: int, n_layers: int, obs_mean: torch.Tensor, obs_std: torch.Tensor
    ):
        super().__init__()
        self.register_buffer("obs_mean", obs_mean.to(torch.float32).clone())
        self.register_buffer("obs_std", obs_std.to(torch.float32).clamp_min(1e-6).clone())
        sizes = (observation_size, *(hidden_dim for _ in range(n_layers)))
        self.features = sizes[-1]
        self.layers = nn.Sequential(
            *(
                part
                for size in sizes[:-1]
                for part in (nn.Linear(size, hidden_dim), nn.LayerNorm(hidden_dim), nn.GELU())
            )
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight, gain=2**0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Features [..., H] of raw observations [..., F]."""
        x = ((obs - self.obs_mean) / self.obs_std).clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)
        return self.layers(x)
