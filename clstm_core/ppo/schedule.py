"""Learning rates and the entropy bonus over a run."""


def annealed(initial: float, floor: float, progress: float) -> float:
    """Linear from `initial` at progress 0 to `floor * initial` at progress 1."""
    return initial * (1 - progress * (1 - floor))


def linear(start: float, end: float, progress: float) -> float:
    """Linear interpolation."""
    return start + (end - start) * progress


def adapted(scale: float, approx_kl: float, target_kl: float | None) -> float:
    """The actor LR's multiplier for the next iteration: /1.5 above twice the target KL, x1.5 below half of it.

    Source: the adaptive schedule of RSL-RL; the bounds 0.01 .. 10 are ours
    """
    if target_kl is None:
        return scale
    if approx_kl > 2 * target_kl:
        return max(scale / 1.5, 0.01)
    if approx_kl < target_kl / 2:
        return min(scale * 1.5, 10.0)
    return scale
