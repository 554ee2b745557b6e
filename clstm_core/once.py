"""Values that a function makes once per argument, such as small tables on a device."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, TypeVarTuple

Given = TypeVarTuple("Given")
Made = TypeVar("Made")


def made_once(function: Callable[[*Given], Made]) -> Callable[[*Given], Made]:
    """Like `functools.cache`, but for torch's compiler, which looks into that and makes the value in every call.

    Assumes: called with hashable arguments that are no tensors; before anything is compiled that calls it
    """
    made: dict[tuple[*Given], Made] = {}

    @wraps(function)
    def once(*given: *Given) -> Made:
        if given not in made:
            made[given] = function(*given)
        return made[given]

    return once
