"""Work that is the same every time, recorded once as a CUDA graph and replayed: one launch in place of thousands."""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch.utils._pytree import tree_leaves, tree_map

OFF = "CLSTM_NO_GRAPHS"
"""Environment variable: anything but the empty string has every launch made anew."""

Result = TypeVar("Result")
Recording = tuple[Callable[[], None], Any]
"""What plays a recording once, and what it leaves, which lies where it is from one playing to the next."""


def wanted(device: torch.device) -> bool:
    """Whether work on this device is recorded."""
    return device.type == "cuda" and not os.environ.get(OFF)


class Captured(Generic[Result]):
    """A function of tensors that is recorded at its second call and replayed from then on.

    The first call is made as it stands: what is made lazily, such as an optimizer's moments or compiled code, is there
    after it. Arguments are copied to where the recording read its own. Where recording fails, a warning says why and
    every call is made as it stands.

    Args:
        function: calls the same operations of the same shapes each time and waits for none. What it changes besides
                  its result it changes in place
        generators: that it draws from

    Assumes: the result is used before the next call, which writes over it
    """

    def __init__(self, function: Callable[..., Result], generators: Sequence[torch.Generator] = ()):
        self._function, self._generators = function, generators
        self._warm, self.why_not = False, ""
        self._given: Any = ()
        self._recording: Recording | None = None

    def __call__(self, *given: Any) -> Result:
        """What the function gives."""
        if not self._warm or self.why_not:
            self._warm = True
            return self._function(*given)
        if self._recording is None and not self._record(given):
            return self._function(*given)
        assert self._recording is not None
        replay, result = self._recording
        with torch.no_grad():
            for place, value in zip(tree_leaves(self._given), tree_leaves(given), strict=True):
                if isinstance(place, torch.Tensor):
                    place.copy_(value)
        replay()
        return result

    def __str__(self) -> str:
        if self.why_not:
            return f"not recorded: {self.why_not}"
        return "not recorded yet" if self._recording is None else "recorded"

    def _record(self, given: Any) -> bool:
        self._given = copied(given)
        try:
            self._recording = cuda_graph(lambda: self._function(*self._given), self._generators)
        except Exception as error:  # of the driver, of torch or of an operation that cannot be recorded
            self.why_not = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            warnings.warn(f"an iteration could not be recorded and runs slower: {self.why_not}", stacklevel=4)
        return not self.why_not


def copied(value: Any) -> Any:
    """Nested tuples with a copy of every tensor."""
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, value)


def cuda_graph(function: Callable[[], Any], generators: Sequence[torch.Generator]) -> Recording:
    """Record what a function launches, without doing it."""
    graph = torch.cuda.CUDAGraph()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer releases find the generators by themselves and say so
        for generator in generators:
            graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        result = function()
    return graph.replay, result
