"""The market view of training and backtests: tables of the whole history, computed once, then only gathered from."""

from dataclasses import dataclass

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import Packages, build_packages
from clstm_core.env.derived import Derived, derive
from clstm_core.env.episodes import last_snapshots
from clstm_core.env.state import Holdings
from clstm_core.env.view import Offered
from clstm_core.market.tensors import MarketTensors
from clstm_core.market.worlds.paths import Surprise


@dataclass(frozen=True, kw_only=True, slots=True)
class TableView:
    """A window of MarketTensors as a `MarketView`; an index is one of its T snapshots, a row one of its Q quotes."""

    derived: Derived
    packages: Packages
    next_row_Q: torch.Tensor
    row_contract_Q: torch.Tensor
    last_snapshot_T: torch.Tensor  # the last that an episode standing there can reach
    features_TF: torch.Tensor
    grid_row_TG: torch.Tensor

    @classmethod
    def build(
        cls, market: MarketTensors, config: EnvConfig, window: tuple[int, int], dtype: torch.dtype
    ) -> "TableView":
        """Compute the tables of a window [start, stop); money in `dtype`.

        Raises: MarketDataError when a row neither continues nor settles, or a settlement has no value
        """
        derived = derive(market, config, window, dtype)
        return cls(
            derived=derived,
            packages=build_packages(market, derived, config, window),
            next_row_Q=market.next_row_Q,
            row_contract_Q=market.row_contract_Q,
            last_snapshot_T=last_snapshots(market.segment_end_T, window[1]),
            features_TF=market.features_TF,
            grid_row_TG=market.grid_row_TG,
        )

    def standing_at(self, index_N: torch.Tensor) -> "TableView":
        """As `MarketView` states; so are all that follow."""
        return self

    def moved_to(self, index_N: torch.Tensor) -> "TableView":
        return self

    @property
    def move_S(self) -> torch.Tensor:
        return self.derived.move_S

    def snapshot(self, index_N: torch.Tensor) -> torch.Tensor:
        return self.derived.snapshot_TC[index_N]

    def facts(self, row: torch.Tensor) -> torch.Tensor:
        return self.derived.row_QC[row.clamp(min=0)]

    def quotes(self, row: torch.Tensor) -> torch.Tensor:
        return self.derived.row_QC[row.clamp(min=0), : col.CRASH]

    def settle_value(self, row: torch.Tensor) -> torch.Tensor:
        return self.derived.settle_value_Q[row.clamp(min=0)]

    def compensation(self, held: Holdings, mark_NL: torch.Tensor) -> torch.Tensor | None:
        return None

    def surprise(self, index_N: torch.Tensor) -> Surprise | None:
        return None

    def cell_rows(self, index_N: torch.Tensor) -> torch.Tensor:
        return self.grid_row_TG[index_N]

    def next_row(self, row: torch.Tensor) -> torch.Tensor:
        return torch.where(row >= 0, self.next_row_Q[row.clamp(min=0)], -1)

    def contract(self, row: torch.Tensor) -> torch.Tensor:
        return torch.where(row >= 0, self.row_contract_Q[row.clamp(min=0)], -1)

    def ends_after(self, index_N: torch.Tensor) -> torch.Tensor:
        return index_N + 1 >= self.last_snapshot_T[index_N]

    def offered(self, index_N: torch.Tensor) -> Offered:
        packages = self.packages
        return Offered(
            row_NAP=packages.row_TAP[index_N],
            quantity_AP=packages.quantity_AP,
            shares_NA=packages.shares_TA[index_N],
            unit_NAC=packages.unit_TAC[index_N],
            n_legs_A=packages.n_legs_A,
            short_contracts_A=packages.short_contracts_A,
        )

    def features(self, index_N: torch.Tensor) -> torch.Tensor:
        return self.features_TF[index_N]
