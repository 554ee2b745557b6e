"""What a CUDA graph does to Python, on a CPU: operations are recorded on the memory that they met, and played again.

As there, recording does nothing; what was read from Python while recording is in it for good, and what lay in memory
that the recording made is lost before it is played.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "item", "unique", "_unique2"}


class Tape(TorchDispatchMode):
    """Operations in their order, with the arrays that they met and made."""

    def __init__(self) -> None:
        super().__init__()
        self.played: list[tuple[Callable[[], Any], list[torch.Tensor]]] = []
        self.made: dict[int, torch.Tensor] = {}  # by where it lies; kept, so that nothing else comes to lie there
        self.met: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # and what was there before

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        assert func.overloadpacket.__name__ not in WAITS, f"{func} waits for the device"
        for array in arrays((args, kwargs)):
            place = array.untyped_storage()
            if place.data_ptr() and place.data_ptr() not in self.made:
                whole = torch.empty(0, dtype=torch.uint8).set_(place)
                self.met.setdefault(place.data_ptr(), (whole, whole.clone()))
        again = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, torch.Tensor) else leaf, (args, kwargs))
        result = func(*args, **kwargs)
        aliases = [found.alias_info for found in func._schema.returns]
        fresh = [] if any(aliases) else [array.detach() for array in arrays(result)]
        for array in fresh:
            self.made[array.untyped_storage().data_ptr()] = array
        writes = func._schema.is_mutable
        if fresh or writes:
            self.played.append((lambda: func(*again[0], **again[1]), fresh))
        return result

    def play(self) -> None:
        """Every operation again; what it makes comes to lie where it lay."""
        with torch.no_grad():
            for call, fresh in self.played:
                for place, value in zip(fresh, arrays(call()), strict=bool(fresh)):
                    place.detach().copy_(value)

    def undo(self) -> None:
        """As if nothing had been done, and nothing left in what was made."""
        for whole, before in self.met.values():
            whole.copy_(before)
        for array in self.made.values():
            array.detach().fill_(torch.nan if array.is_floating_point() else 77 if array.dtype != torch.bool else True)


def arrays(value: Any) -> list[torch.Tensor]:
    """Every tensor inside."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def tape(function: Callable[[], Any], generators: Sequence[torch.Generator]) -> tuple[Callable[[], None], Any]:
    """Stands in for `captured.cuda_graph`."""
    recorded, before = Tape(), [generator.get_state() for generator in generators]
    try:
        with recorded:
            result = function()
    finally:
        recorded.undo()
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)
    return recorded.play, result
