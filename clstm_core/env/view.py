"""What a step asks of a market, and nothing else: any market that answers this can be traded in.

`TableView` answers from tables computed once; a live session answers from the pair of snapshots it has just seen.
"""

from typing import NamedTuple, Protocol

import torch

from clstm_core.env.state import Holdings
from clstm_core.market.worlds.paths import Surprise


class Offered(NamedTuple):
    """The packages of `specs.TEMPLATES` on the contracts listed at each account's snapshot, one unit of each.

    Shapes: row_NAP int64 (-1 = no leg); quantity_AP signed contracts per unit; shares_NA shares per unit; unit_NAC the
            unit columns of `columns.py`; n_legs_A int64; short_contracts_A
    """

    row_NAP: torch.Tensor
    quantity_AP: torch.Tensor
    shares_NA: torch.Tensor
    unit_NAC: torch.Tensor
    n_legs_A: torch.Tensor
    short_contracts_A: torch.Tensor


class MarketView(Protocol):
    """A market as one configuration sees it, asked by snapshot index and by row.

    An index names a snapshot and a row names one contract at one snapshot; what the numbers are is the view's own
    affair, as long as `index + 1` is the snapshot after `index` and -1 is no row. The first dimension of whatever is
    asked is the account's: a view may keep for each account the snapshot it stands at and the next, and nothing else.

    Assumes: answers are gathers on the accounts' device in their money dtype, all finite, without a host sync; what is
             asked of a snapshot was known at it, but for `settle_value` and the three columns that lead to the next one
    """

    def standing_at(self, index_N: torch.Tensor) -> "MarketView":
        """The view of accounts that stand at these snapshots, whatever they were; may wait for the device."""
        ...

    def moved_to(self, index_N: torch.Tensor) -> "MarketView":
        """The view after a step: each account stands one snapshot on, or where an episode begins."""
        ...

    @property
    def move_S(self) -> torch.Tensor:
        """Relative moves of the spot [1 + S] in the budget's crash and in the margin's scenarios."""
        ...

    def snapshot(self, index_N: torch.Tensor) -> torch.Tensor:
        """Facts [N, 5] of snapshots and of the way to the next: columns SPOT .. DIVIDEND_GROWTH."""
        ...

    def facts(self, row: torch.Tensor) -> torch.Tensor:
        """Facts [..., C] of contracts: columns BID .. SCENARIOS + S. Row -1 reads any row: its quantity is zero."""
        ...

    def quotes(self, row: torch.Tensor) -> torch.Tensor:
        """The facts before the crash and the scenarios alone [..., CRASH], for whoever needs no margin."""
        ...

    def settle_value(self, row: torch.Tensor) -> torch.Tensor:
        """Cash per share [...] that contracts which settle at the next snapshot pay there; else any finite number."""
        ...

    def compensation(self, held: Holdings, mark_NL: torch.Tensor) -> torch.Tensor | None:
        """Cash [N] that a fair world adds at the next snapshot to what is held until then; None in any other."""
        ...

    def surprise(self, index_N: torch.Tensor) -> Surprise | None:
        """What of the move to the next snapshot nobody could expect at this one; None where a history is traded."""
        ...

    def next_row(self, row: torch.Tensor) -> torch.Tensor:
        """The same contracts' rows at the next snapshot; -1 where there is none, and of -1."""
        ...

    def contract(self, row: torch.Tensor) -> torch.Tensor:
        """A number for the contract of each row, int64; -1 for row -1."""
        ...

    def ends_after(self, index_N: torch.Tensor) -> torch.Tensor:
        """Whether [N] the snapshot after this one is the last that an episode can reach."""
        ...

    def cell_rows(self, index_N: torch.Tensor) -> torch.Tensor:
        """Rows [N, G] of the contracts that each account's snapshot lists for `specs.CELLS`; -1 where none."""
        ...

    def offered(self, index_N: torch.Tensor) -> Offered:
        """The packages that each account could open at its snapshot."""
        ...

    def features(self, index_N: torch.Tensor) -> torch.Tensor:
        """The market's part of the observation [N, F] float32."""
        ...
