"""Adam with its gradients clipped to a joint norm: on a CPU all of it in one compiled call, without Python's lock."""

import ctypes
from typing import Any

import torch
from torch import nn

from clstm_core.native import build
from clstm_core.native.arrays import address

KERNEL = "adam"


class Adam(torch.optim.Adam):
    """torch's Adam, with `descend` for what is done to every minibatch; its state is torch's in either way."""

    def descend(self, max_norm: float) -> torch.Tensor:
        """Clip the gradients to a joint norm and step; the norm before clipping, as a scalar tensor.

        Without a kernel torch operations do it, which are the reference; the gradients are left clipped then.
        """
        moved = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        suits = moved and all(_suits(p, group, moved[0][1], self.state[p]) for p, group in moved)
        library = build.load(KERNEL) if suits else None
        if library is None:
            norm = nn.utils.clip_grad_norm_([p for p, _ in moved], max_norm)
            self.step()
            return norm
        gradients = [p.grad.contiguous() for p, _ in moved]  # held until the call is done
        moments = [self._moments(p) for p, _ in moved]
        columns = ([p for p, _ in moved], gradients, *zip(*moments, strict=True))
        n, norm, first = len(moved), torch.empty(()), moved[0][1]
        arrays = (ctypes.c_void_p * (5 * n))(*(array.data_ptr() for column in columns for array in column))
        sizes = (ctypes.c_int64 * n)(*(gradient.numel() for gradient in gradients))
        rates = (ctypes.c_double * n)(*(float(group["lr"]) for _, group in moved))
        numbers = map(ctypes.c_double, (*first["betas"], first["eps"], max_norm))
        library.descend(arrays, sizes, rates, ctypes.c_int64(n), *numbers, address(norm))
        torch.autograd.graph.increment_version(columns[0])  # tells autograd, as torch's own steps do
        return norm

    def forget_gradients(self) -> None:
        """`zero_grad`, without what else torch does around it."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _moments(self, parameter: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both moments and the number of steps, begun as torch begins them."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state["exp_avg"], state["exp_avg_sq"], state["step"]


def _suits(
    parameter: nn.Parameter, group: dict[str, Any], first: dict[str, Any], state: dict[str, torch.Tensor]
) -> bool:
    """Whether the kernel, which reads rows of float32 and knows plain Adam with one rate a group, can step this one."""
    moments = [kept for name, kept in state.items() if name != "step"]
    readable = all(part.dtype == torch.float32 and part.is_contiguous() for part in (parameter, *state.values()))
    readable = readable and parameter.device.type == "cpu" and all(kept.shape == parameter.shape for kept in moments)
    plain = not (group["weight_decay"] or group["amsgrad"] or group["maximize"])
    return readable and plain and group["betas"] == first["betas"] and group["eps"] == first["eps"]
