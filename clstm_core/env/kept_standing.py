"""Where the accounts of a compiled env stand, as tensors by name: what a resumed run takes up to the bit.

The account alone would do but for rounding: an uncompiled walk to where a path stands, and a book valued there, may
differ from the compiled ones in their last bits, and training goes another way from the next step on.
"""

from collections.abc import Mapping
from typing import Any

import torch

PREFIX = "standing"


def named(value: Any, name: str = PREFIX) -> dict[str, torch.Tensor]:
    """The tensors of nested tuples, each under the names of its fields; None is none."""
    if value is None:
        return {}
    if isinstance(value, torch.Tensor):
        return {name: value}
    return {key: found for at, part in _parts(value) for key, found in named(part, f"{name}.{at}").items()}


def put_back(like: Any, kept: Mapping[str, torch.Tensor]) -> Any | None:
    """What `named` took apart, of the form and on the device of `like`; None where `kept` tells it not, or otherwise.

    So it is with what another release kept, or an env that was not compiled.
    """
    mine = named(like)
    found = {name: kept[name] for name in mine if name in kept}
    if len(found) < len(mine) or any(_form(found[name]) != _form(tensor) for name, tensor in mine.items()):
        return None
    return _filled(like, found, PREFIX)


def _filled(like: Any, found: Mapping[str, torch.Tensor], name: str) -> Any:
    if like is None:
        return None
    if isinstance(like, torch.Tensor):
        # laid out alike too: a compiled function is another one for another layout, and may round otherwise
        return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device).copy_(found[name])
    parts = [_filled(part, found, f"{name}.{at}") for at, part in _parts(like)]
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)


def _parts(value: Any) -> list[tuple[str, Any]]:
    names = getattr(value, "_fields", None) or map(str, range(len(value)))
    return list(zip(names, value, strict=True))


def _form(tensor: torch.Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype
