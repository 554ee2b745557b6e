"""What a kernel is given: where arrays lie, after a look at what it would misread, as it knows no dtype or shape."""

import ctypes

import torch


def address(array: torch.Tensor | None, dtype: torch.dtype = torch.float32) -> ctypes.c_void_p:
    """Where an array of this dtype lies; nowhere for None. The caller holds the array until the kernel is done.

    Raises: TypeError for one of another dtype, on another device or not contiguous
    """
    if array is None:
        return ctypes.c_void_p(None)
    if array.dtype != dtype or not array.is_cpu or not array.is_contiguous():
        raise TypeError(
            f"A kernel was given {array.dtype} on {array.device} with strides {array.stride()}; it reads contiguous "
            f"{dtype} on a CPU. Convert it, leave torch.autocast, or call use_kernels again after moving a model."
        )
    return ctypes.c_void_p(array.data_ptr())


def shapes(expected: tuple[int, ...], *arrays: torch.Tensor) -> None:
    """Raises: ValueError where one has another shape: a kernel would read beyond its end"""
    for array in arrays:
        if array.shape != expected:
            raise ValueError(f"A kernel was given an array of shape {tuple(array.shape)}, expected {expected}.")
