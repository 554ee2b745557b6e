"""What a policy is given, checked before it decides: a NaN would be carried in its state and read as "hold"."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Arrays = tuple[np.ndarray, ...]

MAX_LOGIT_DIFFERENCE = 1e-5
"""Up to which two runtimes decide alike, as `logit_difference` counts it."""


class PolicyError(ValueError):
    """A bundle or an input that must not be traded on: what was found, what was expected, what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One input of a graph: its name, the sizes after the batch, and the type of its numbers, e.g. float32."""

    name: str
    sizes: tuple[int, ...]
    dtype: str

    def blank(self, batch: int) -> np.ndarray:
        """That of `batch` accounts that have just started: zeros, and every action legal."""
        fill = np.ones if self.name == "action_mask" else np.zeros
        return fill((batch, *self.sizes), dtype=self.dtype)


def check_inputs(given: Arrays, expected: Sequence[Input], features: Sequence[str] = ()) -> None:
    """Raise PolicyError for the first input that a policy must not decide on: it names the feature or the tensor.

    Refused are: another number, shape or type of arrays than the graph's, a number that is not finite, no account, and
    an account without a legal action.

    Args:
        features: names of the observation's columns
    """
    if len(given) != len(expected):
        names = ", ".join(item.name for item in expected)
        raise PolicyError(f"found {len(given)} inputs, expected {len(expected)}: {names}. Give these, in this order.")
    batch = np.shape(given[0])[0] if np.ndim(given[0]) else 0
    for array, item in zip(given, expected, strict=True):
        found = str(getattr(array, "dtype", type(array).__name__))
        if (np.shape(array), found) != ((batch, *item.sizes), item.dtype):
            raise PolicyError(
                f"input {item.name} is {found} {list(np.shape(array))}: expected {item.dtype} {[batch, *item.sizes]}. "
                "Give it as a NumPy array of that type, one row per account."
            )
        sound = np.isfinite(array) if array.dtype.kind == "f" else array >= 0
        if sound.all():
            continue
        if item.name == "observation":
            raise PolicyError(
                f"the observation is not finite: {first_non_finite(array, features)}, expected finite numbers. "
                "Nothing was decided and the state is as it was: mend the feature and ask again, or leave the "
                "account as it is."
            )
        raise PolicyError(
            f"state {item.name} of account {int(np.argwhere(~sound)[0][0])} holds {array[~sound][0]}: expected what "
            "the policy returned at the decision before. Begin the account's state anew with zeros."
        )
    if not batch:
        raise PolicyError("found no account, expected at least one row. Give one row per account.")
    legal = given[1].any(axis=1)
    if not legal.all():
        raise PolicyError(
            f"action_mask leaves account {int(np.flatnonzero(~legal)[0])} no legal action: expected at least one, hold "
            "is always legal. Give the mask of this snapshot."
        )


def numbers(what: str, given: object) -> np.ndarray:
    """`given` as float32; what a masked array hides is missing, and NaN.

    Raises: PolicyError, which begins with `what`, for words, dates, complex numbers, and rows of unequal length
    """
    try:
        hidden = np.ma.getmaskarray(given) if np.ma.isMaskedArray(given) else None
        found = np.asarray(given)
        if found.dtype.kind == "O" and any(isinstance(each, (str, bytes, np.generic)) for each in found.flat):
            found = np.array(found.tolist())  # of one kind: that of a word or a date where there is one
        if found.dtype.kind in "biufO":
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
                plain = found.astype(np.float32, copy=False)
            return plain if hidden is None else np.where(hidden, np.float32("nan"), plain)
        why = f"it holds {found.dtype}"
    except (TypeError, ValueError) as error:
        why = str(error)
    raise PolicyError(
        f"{what} cannot be read: {why}. Expected numbers, in rows of one length. Give them as a NumPy array."
    )


def legal_actions(given: object, shape: tuple[int, int]) -> np.ndarray:
    """An action mask as bool [N, A], every action where none is given.

    Raises: PolicyError for what says neither true nor false: a NaN, a word or a 2 would count as legal
    """
    if given is None:
        return np.ones(shape, dtype=bool)
    found = numbers("the action mask", given)
    strange = found[(found != 0) & (found != 1)]
    if strange.size:
        raise PolicyError(
            f"action_mask holds {strange.flat[0]}: expected true or false of every action. Give the mask of this "
            "snapshot."
        )
    return np.atleast_2d(found.astype(bool))


def logit_difference(found: np.ndarray, expected: np.ndarray, legal: np.ndarray) -> float:
    """Largest difference of a legal logit, as a share of its account's largest one where that is above 1 in size.

    A logit is a sum whose terms are as large as the largest: a float32 of 28 is resolved to 2e-6, and two orders of the
    same sum differ by several of these. What is NaN or infinite differs by infinity; 0 where nothing is legal.

    Shapes: [N, A] each; legal bool
    """
    a, b = (np.where(legal, given.astype(np.float64), 0.0) for given in (found, expected))
    scale = np.maximum(1.0, np.abs(b).max(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b) / scale
    return float(apart.max(initial=0.0)) if np.isfinite(apart).all() else float("inf")


def first_non_finite(observation: np.ndarray, features: Sequence[str] = ()) -> str:
    """Which feature of which account is not finite, in words; empty when all are.

    Shapes: observation [N, F]
    """
    bad = np.argwhere(~np.isfinite(observation))
    if not len(bad):
        return ""
    account, index = (int(number) for number in bad[0])
    feature = features[index] if len(features) == observation.shape[1] else f"feature {index}"
    others = f", and {len(bad) - 1} more are not finite" if len(bad) > 1 else ""
    return f"{feature} of account {account} is {observation[account, index]}{others}"
