"""Worlds with a known edge: options are priced at the quoted volatility, and the index moves by another.

Whoever trains in one can be asked how much of what is there was found, and whether nothing is found where nothing is.
"""

from dataclasses import dataclass

import torch

from clstm_core.market.worlds.paths import Shocks, Surprise, diffused, diffused_surprise
from clstm_core.market.worlds.surface import PathState


@dataclass(frozen=True, kw_only=True, slots=True)
class PlantedDynamics:
    """A diffusion in one of two regimes, each with its own quoted volatility, which everybody sees.

    realised below 1 pays who sells options, above 1 who buys them; 1 leaves nothing to earn. The index itself earns
    its carry and no more.

    Units: quoted a year; realised volatility over quoted; switch per session
    """

    quoted: tuple[float, float] = (0.18, 0.18)
    realised: tuple[float, float] = (0.7, 0.7)
    switch: float = 0.0

    def first_vix(self, normal: torch.Tensor) -> torch.Tensor:
        """Either regime, equally likely."""
        return torch.where(normal < 0, self.quoted[0], self.quoted[1]).to(normal)

    def first_slow_variance(self, vix: torch.Tensor) -> torch.Tensor:
        """Its own: a flat surface reads none."""
        return vix**2

    def move(self, state: PathState, dt_years: torch.Tensor, shocks: Shocks) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Dynamics`."""
        switched = torch.where(shocks.uniform < self.switch, self._other(state), state.vix)
        return diffused(state, self._moves_by(state), dt_years, shocks), switched

    def surprise(self, state: PathState, dt_years: torch.Tensor, shocks: Shocks) -> Surprise:
        """As `Dynamics`."""
        news = diffused_surprise(state, self._moves_by(state), dt_years, shocks)
        chance = (shocks.uniform < self.switch).to(state.vix) - self.switch
        return news._replace(vix=chance * (self._other(state) - state.vix))

    def _first(self, state: PathState) -> torch.Tensor:
        """Whether the first regime reigns."""
        return (state.vix - self.quoted[0]).abs() <= (state.vix - self.quoted[1]).abs()

    def _other(self, state: PathState) -> torch.Tensor:
        return torch.where(self._first(state), self.quoted[1], self.quoted[0]).to(state.vix)

    def _moves_by(self, state: PathState) -> torch.Tensor:
        return state.vix * torch.where(self._first(state), *self.realised).to(state.vix)
