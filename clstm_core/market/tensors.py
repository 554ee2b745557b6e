"""MarketTensors: listed option chains as flat tensors that a batched environment can trade. Torch and numpy only.

A position is a row index and a signed quantity. Every contract that the grid ever pointed at has one row a snapshot
from that first time until the snapshot before its settlement (or the segment's end): quoted rows as the venue gave
them, unquoted ones filled in as *stale* rows, marked from the last implied vol and never tradable. Advancing time is a
gather of `next_row`; a contract whose `settle_index` is the new snapshot leaves the book for `settle_value` in cash.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clstm_core.artifacts.folder import whole_folder
from clstm_core.artifacts.manifest import FILE, files_of
from clstm_core.artifacts.manifests import TensorsManifest
from clstm_core.errors import MarketDataError
from clstm_core.specs import CELLS, MARKET_FEATURES

TENSORS_FILE = "market.safetensors"
ID_BYTES = 32
SIZE_ZERO_BID, SIZE_ZERO_ASK = 1, 2  # bits of size_zero_Q
_FACTS = ("info", "identity")


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketTensors:
    """Chains, contracts and per-snapshot facts of one source.

    Shapes: `_T` snapshots, `_Q` rows sorted by (snapshot, contract), `_K` contracts, `_TG` snapshots x grid cells.
    Units:  prices per share in the account's currency; vols and rates as fractions; tte and the clock in years
            (ACT/365, one clock for dynamics, carry and tte); vega per 1.00 vol, theta per year, rho per 1.00 rate.
    Assumes: `rate_T[t]` and `dividend_yield_T[t]` are continuous and hold from snapshot t to t + 1.
    """

    # per snapshot
    snapshot_T: torch.Tensor  # int64, UTC nanoseconds
    time_years_T: torch.Tensor  # float64, the clock
    spot_T: torch.Tensor  # float64
    rate_T: torch.Tensor  # float64
    dividend_yield_T: torch.Tensor  # float64
    features_TF: torch.Tensor  # float32, raw, columns of specs.MARKET_FEATURES
    segment_end_T: torch.Tensor  # bool: last snapshot of a history
    row_offset_T1: torch.Tensor  # int64 [T + 1]
    grid_row_TG: torch.Tensor  # int64, -1 = no listed, two-sided contract for the cell
    # per row
    row_snapshot_Q: torch.Tensor  # int64
    row_contract_Q: torch.Tensor  # int64
    next_row_Q: torch.Tensor  # int64: same contract, next snapshot; -1 when it settles there or the segment ends
    bid_Q: torch.Tensor  # float64, 0 where stale
    ask_Q: torch.Tensor  # float64, 0 where stale
    mark_Q: torch.Tensor  # float64: mid, or the model price from the last vol where stale
    can_buy_Q: torch.Tensor  # bool: quoted now, ask > bid >= 0
    can_sell_Q: torch.Tensor  # bool: quoted now, ask > bid > 0
    stale_Q: torch.Tensor  # bool
    implied_vol_Q: torch.Tensor  # float64
    tte_years_Q: torch.Tensor  # float64
    delta_Q: torch.Tensor  # float64
    gamma_Q: torch.Tensor  # float64
    vega_Q: torch.Tensor  # float64
    theta_Q: torch.Tensor  # float64
    rho_Q: torch.Tensor  # float64
    size_zero_Q: torch.Tensor = dataclasses.field(default_factory=lambda: torch.zeros(0, dtype=torch.int8))
    """int8: SIZE_ZERO_BID + SIZE_ZERO_ASK of a quote whose size was given as 0; empty [0] where nothing is known."""
    # per contract
    contract_id_KB: torch.Tensor  # uint8 [K, ID_BYTES], UTF-8 padded with zeros
    strike_K: torch.Tensor  # float64
    right_K: torch.Tensor  # int64: +1 call, -1 put
    multiplier_K: torch.Tensor  # float64
    expiration_K: torch.Tensor  # int64, UTC nanoseconds of settlement
    settle_index_K: torch.Tensor  # int64: first snapshot at or after settlement; T when beyond the data
    settle_value_K: torch.Tensor  # float64: cash a share at settlement; NaN when beyond the data
    # facts: source, label ("real quotes" | "modelled quotes" | "simulated quotes"), spread ("quoted" | "modelled"),
    # splits {"train"|"validation"|"test": [start, stop]} (a split may be absent), scaler {"mean": [...], "std": [...],
    # "fitted_on": [start, stop]}, quotes_path (below the data folder), quotes_sha256 (of that file), settings,
    # near_days, far_days, notes
    info: dict[str, Any]
    identity: str = ""  # of the manifest that it was loaded with; empty for a market that was never written

    @property
    def n_snapshots(self) -> int:
        """T."""
        return self.snapshot_T.shape[0]

    @property
    def n_rows(self) -> int:
        """Q."""
        return self.row_snapshot_Q.shape[0]

    def contract_id(self, contract: int) -> str:
        """The venue's or OSI symbol of contract index `contract`."""
        return bytes(self.contract_id_KB[contract].tolist()).rstrip(b"\0").decode()

    def split(self, name: str) -> tuple[int, int]:
        """Snapshot range [start, stop) of a split; raises MarketDataError naming the splits there are."""
        splits = self.info.get("splits", {})
        if name not in splits:
            raise MarketDataError(
                f"no {name} window in {self.info.get('source', 'this market')}: found {', '.join(splits) or 'none'}. "
                "Use a longer history or another source."
            )
        start, stop = splits[name]
        return int(start), int(stop)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by field name."""
        names = (item.name for item in dataclasses.fields(self) if item.name not in _FACTS)
        return {name: getattr(self, name) for name in names}

    def to(self, device: torch.device | str) -> "MarketTensors":
        """The same market with every tensor on `device`."""
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in self.tensors().items()}
        return dataclasses.replace(self, **moved)


def encode_contract_ids(ids: list[str]) -> torch.Tensor:
    """Contract symbols as uint8 [K, ID_BYTES]; a symbol longer than ID_BYTES raises MarketDataError."""
    out = torch.zeros(len(ids), ID_BYTES, dtype=torch.uint8)
    for index, name in enumerate(ids):
        raw = name.encode()
        if len(raw) > ID_BYTES:
            raise MarketDataError(
                f"contract id {name!r} has {len(raw)} bytes: expected at most {ID_BYTES}. Shorten it in the source."
            )
        out[index, : len(raw)] = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    return out


def save_market(market: MarketTensors, folder: Path, *, parents: Mapping[str, str] | None = None) -> TensorsManifest:
    """Write `market.safetensors` and its manifest as `folder`, whole or not at all.

    Args:
        parents: identities of what the tensors were built from, by role
    """
    with whole_folder(folder) as place:
        manifest = write_market(market, place, parents=parents)
    return dataclasses.replace(manifest, place=folder / FILE)


def write_market(market: MarketTensors, place: Path, *, parents: Mapping[str, str] | None = None) -> TensorsManifest:
    """Write the two files into a folder that is there."""
    save_file({k: v.contiguous().cpu() for k, v in market.tensors().items()}, place / TENSORS_FILE)
    manifest = TensorsManifest(info=market.info, files=files_of(place, TENSORS_FILE), parents=dict(parents or {}))
    return manifest.write(place / FILE)


def load_market(folder: Path, *, verify: bool = True, identity: str | None = None) -> MarketTensors:
    """Load what `save_market` wrote, memory-mapped.

    Args:
        identity: what it must be, where something was made from it

    Raises: MarketDataError when the folder is missing, half-written or altered (its hash differs from the manifest's).
    """
    manifest = TensorsManifest.read(folder / FILE, files=verify, identity=identity)
    try:
        tensors = load_file(folder / TENSORS_FILE)
    except (SafetensorError, FileNotFoundError) as error:
        raise MarketDataError(
            f"unreadable market tensors {folder / TENSORS_FILE}: {error}. Delete {folder} and materialize "
            "market_tensors again."
        ) from error
    expected = {item.name for item in dataclasses.fields(MarketTensors)} - set(_FACTS)
    if set(tensors) != expected:
        differing = ", ".join(sorted(set(tensors) ^ expected))
        raise MarketDataError(
            f"market tensors at {folder} hold other tensors than this release's: {differing} differ. Materialize "
            "market_tensors again."
        )
    market = MarketTensors(**tensors, info=dict(manifest.info), identity=manifest.identity)
    if market.features_TF.shape[1] != len(MARKET_FEATURES) or market.grid_row_TG.shape[1] != len(CELLS):
        raise MarketDataError(
            f"market tensors at {folder} hold {market.features_TF.shape[1]} features and {market.grid_row_TG.shape[1]} "
            f"cells: expected {len(MARKET_FEATURES)} and {len(CELLS)}. Materialize market_tensors again."
        )
    return market
