"""A pure function of tensors as one compiled function, or as it is where compiling fails."""

import os
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch

from clstm_core.native import build


class Compiled:
    """Calls a function compiled by torch; uncompiled, with a warning that says why, where that cannot be done.

    Assumes: no shape changes between calls
    """

    def __init__(self, function: Callable[..., Any]):
        self.plain, self.why_not = function, ""
        self._function: Callable[..., Any] | None = None

    @torch.no_grad()
    def __call__(self, *given: Any) -> Any:
        """What the function gives."""
        if self._function is None:
            return self._first(*given)
        return self._function(*given)

    def _first(self, *given: Any) -> Any:
        try:
            compiled = _compiled(self.plain)
            result = compiled(*given)
        except Exception as error:  # no compiler, or one that fails: torch has no one class for it
            self._function, self.why_not = self.plain, str(error).strip().splitlines()[0]
            warnings.warn(f"the env's step could not be compiled and runs slower: {self.why_not}", stacklevel=3)
            return self.plain(*given)
        self._function = compiled
        return result


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for torch to compile at its first call; what is compiled is kept in the user's cache."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(build.cache_folder() / "inductor"))
    from torch._inductor import config

    config.compile_threads = 1  # no processes of torch's own, which would outlive a killed trainer
    return torch.compile(_of_its_own(function), fullgraph=True, dynamic=False)


def _of_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with code of its own: torch counts the forms of a piece of code, and gives up at the ninth.

    A process that trains one policy after another has a form for each of its envs.
    """
    if not isinstance(function, types.FunctionType):
        return function
    parts = (function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    return types.FunctionType(function.__code__.replace(), *parts)
