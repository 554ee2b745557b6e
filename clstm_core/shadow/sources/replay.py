"""Replay of a market that is at hand: its snapshots arrive one by one, each without what came after it."""

from collections.abc import Collection, Iterator

from clstm_core.errors import MarketDataError, ShadowError
from clstm_core.market.tensors import MarketTensors
from clstm_core.shadow.arrival import Arrival, day_of
from clstm_core.shadow.changes import Holding, contents_of
from clstm_core.shadow.pair import pair_of


class Replay:
    """The snapshots [start, stop) of a market, as if each had just ended.

    Quotes are as old as they were for whoever saw the session end: not at all.
    """

    def __init__(self, market: MarketTensors, window: tuple[int, int] | None = None, *, name: str = "replay"):
        self._market = market
        self.window = window or (0, market.n_snapshots)
        start, stop = self.window
        if not 0 <= start < stop <= market.n_snapshots:
            raise ShadowError(
                f"window [{start}, {stop}) of {market.n_snapshots} snapshots: expected one inside. Pass another window."
            )
        info = market.info
        self.name = f"{name}:{info.get('source', 'market')}"
        self.label, self.currency = str(info.get("label", "")), str(info.get("currency", "USD"))
        self._index = {int(at): place for place, at in enumerate(market.snapshot_T.tolist())}

    def arrivals(self, after: int | None) -> Iterator[Arrival]:
        """As `QuoteSource` states."""
        start, stop = self.window
        for index in range(start, stop):
            snapshot = int(self._market.snapshot_T[index])
            if after is None or snapshot > after:
                yield self.arrival(index)

    def holding(self, snapshots: Collection[int]) -> Holding:
        """As `Keeps` states: a market has no files, but what it says."""
        newest = int(self._market.snapshot_T[self.window[1] - 1])
        return Holding(newest, self._market.identity, contents_of(self._market, snapshots))

    def arrival(self, index: int) -> Arrival:
        """One snapshot of the market."""
        snapshot = int(self._market.snapshot_T[index])

        def pair(before: int | None) -> MarketTensors:
            if before is not None and before not in self._index:
                raise MarketDataError(
                    f"session {day_of(before)}, at which the account stands, is not in the market that is replayed: "
                    "expected it. Replay the market that it was begun on."
                )
            return pair_of(self._market, None if before is None else self._index[before], index)

        return Arrival(
            snapshot=snapshot,
            seen_at=snapshot,
            quoted_at=snapshot,
            source=self.name,
            source_sha256=self._market.identity,
            session_sha256=self._market.identity,
            label=self.label,
            pair=pair,
        )
