"""What two pasts disagree on, which ought to be one."""

import torch

from clstm_core.audit.result import Finding


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal to the last bit; a NaN equals a NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    equal = one == other
    if one.is_floating_point():
        equal = equal | (one.isnan() & other.isnan())
    return bool(equal.all())


def difference(check: str, different: list[str]) -> Finding:
    """Nothing may differ; the first few that do are named."""
    return Finding(check=check, statistic=len(different), threshold=0.0, detail=", ".join(different[:4]))
