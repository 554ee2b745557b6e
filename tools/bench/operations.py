"""Every operation that a learner gives a device which is not the CPU, told on any machine.

Torch's `meta` device holds shapes and no numbers: the code takes the branches that it takes on a GPU, whatever asks for
a number fails, and what is launched can be counted.
"""

import dataclasses
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from clstm_core.config import RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.ppo import learner as learner_module
from clstm_core.ppo.learner import Learner

META = torch.device("meta")
NO_KERNEL = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "_unsafe_view", "lift_fresh"}
"""Operations besides views that launch nothing."""
READS_ROWS = {"index", "index_select", "gather", "index_put_", "index_put", "_index_put_impl_"}
"""Operations that read as much as they write, whatever the size of what they read from."""
ASKS = {"_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim"}
ASKING_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
FROM_HOST = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor}
"""Calls that make a tensor of the host's numbers: on a GPU a copy that is waited for."""
NO_SHAPES = "_fused_adam_"
"""Changes numbers alone, and is not to be had for a device without them."""
DRAWS = {torch.randperm, torch.Tensor.exponential_}
"""Calls that take a generator, of which the meta device has none."""


class Operation(NamedTuple):
    """One operation, in the order in which they came; `parts` are those that it happened in, the innermost last."""

    name: str
    parts: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]  # of what it gave
    numbers: tuple[object, ...]  # what it was given besides tensors: a captured graph would repeat them
    kernel: bool  # a GPU would launch something
    moved: int  # bytes that a kernel reads and writes
    flops: int  # of a matrix product


class Recorder(TorchDispatchMode):
    """Records every operation below it, and in `waits` where a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.waits: list[str] = []
        self._parts: list[str] = []
        self._calls = _Calls(self.waits)

    def __enter__(self) -> "Recorder":
        self._calls.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._calls.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace != "aten":
            return func(*args, **kwargs)
        name, given = func._schema.name.split("::")[1], tree_leaves((args, kwargs))
        inputs = [x for x in given if isinstance(x, torch.Tensor)]
        asks = _picks_by_flags(args) if name in READS_ROWS else name in ASKS or ASKING_TAGS & set(func.tags)
        if asks or _crosses(name, inputs, kwargs):
            self.waits.append(f"{name} {_where()}")
        out = None if name == NO_SHAPES else func(*args, **kwargs)
        outputs = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        kernel = any(x.is_meta for x in (*inputs, *outputs)) and not func.is_view and name not in NO_KERNEL
        count = flop_registry.get(func._overloadpacket)
        self.operations.append(
            Operation(
                name=name,
                parts=tuple(self._parts),
                shapes=tuple(tuple(x.shape) for x in outputs),
                numbers=tuple(x for x in given if not isinstance(x, torch.Tensor)),
                kernel=kernel,
                moved=_bytes(outputs) + _bytes(outputs if name in READS_ROWS else inputs) if kernel else 0,
                flops=count(*args, **kwargs, out_val=out) if count else 0,
            )
        )
        return out

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside belongs to a part, and to those around it."""
        self._parts.append(name)
        try:
            yield
        finally:
            self._parts.pop()

    def around(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """`call` within a part."""

        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return call(*args, **kwargs)

        return inside


class _Calls(TorchFunctionMode):
    """What is lost on the way to the operations: numbers of the host's, and a draw's generator."""

    def __init__(self, waits: list[str]):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in FROM_HOST:
            self.waits.append(f"{func.__name__} of the host's numbers {_where()}")
        if func in DRAWS:
            kwargs.pop("generator", None)
        if func is torch.Tensor.backward:  # a handler's inside is not looked at, and here is half of the work
            with self:
                return torch.autograd.backward(args[0])
        return func(*args, **kwargs)


def meta_learner(config: RunConfig, env: OptionsEnv, heldout_env: OptionsEnv | None = None) -> Learner:
    """A learner of envs that read tables, all of it on the meta device; call `iterate` within `as_on_a_gpu`."""
    for each in (env, heldout_env):
        if each is not None:
            for name in ("view", "_begin", "_standing"):
                setattr(each, name, moved(getattr(each, name)))
            each.device = META
    return Learner(config, env, heldout_env)


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Optimizers call the kernels that they call on a GPU, generators are had, and the fetch of a row finds zeros."""
    generator = torch.Generator

    class Host:
        def __new__(cls, device: torch.device | None = None) -> torch.Generator:  # type: ignore[misc]
            return generator()

    several: dict[str, Any] = {
        "torch.utils._foreach_utils._get_foreach_kernels_supported_devices": lambda: ["meta"],
        "torch.optim.optimizer._get_foreach_kernels_supported_devices": lambda: ["meta"],
        "torch.optim.optimizer._get_fused_kernels_supported_devices": lambda: ["meta"],
        "torch.Generator": Host,
        "clstm_core.ppo.learner.fetch": lambda values: dict.fromkeys(values, 0.0) | {"bad": -1},
    }
    with ExitStack() as stack:
        for name, stand_in in several.items():
            stack.enter_context(mock.patch(name, stand_in))
        yield


@contextmanager
def parted(recorder: Recorder, learner: Learner) -> Iterator[None]:
    """The parts of an iteration by name, and by the names of what a helper is given."""
    from clstm_core.ppo import update as update_module

    submit = learner._helper.submit
    parts: Sequence[tuple[Any, str, str]] = (
        (learner.env, "step", "env step"),
        (learner.model, "decide", "actor"),
        (learner_module, "walk", "walk"),
        (learner_module, "update", "update"),
        (update_module, "minibatches", "draw"),
        (update_module, "descend", "descend"),
    )
    with ExitStack() as stack:
        for owner, attribute, name in parts:
            inside = recorder.around(getattr(owner, attribute), name)
            stack.enter_context(mock.patch.object(owner, attribute, inside))
        named = lambda work, *given: submit(recorder.around(work, work.__name__), *given)  # noqa: E731
        stack.enter_context(mock.patch.object(learner._helper, "submit", named))
        yield


def moved(value: Any) -> Any:
    """A structure of tensors on the meta device: tuples, dataclasses, and what functions close over."""
    if isinstance(value, torch.Tensor):
        return value.to(META)
    if isinstance(value, tuple):
        parts = [moved(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field.name for field in dataclasses.fields(value))
        return dataclasses.replace(value, **{name: moved(getattr(value, name)) for name in fields})
    if isinstance(value, types.FunctionType) and value.__closure__:
        cells = tuple(types.CellType(moved(cell.cell_contents)) for cell in value.__closure__)
        return types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
    return value


def _picks_by_flags(args: tuple) -> bool:
    """Whether an index is a mask, whose number of rows only the device knows."""
    indexes = args[1] if isinstance(args[1], list) else []
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indexes)


def _crosses(name: str, inputs: Sequence[torch.Tensor], options: dict[str, Any]) -> bool:
    """Whether numbers go from host to device or back; a single number of the host's is an argument like a plain one."""
    copies = name in ("copy_", "_to_copy")
    devices = {x.device.type for x in inputs if x.dim() or copies}
    if copies and options.get("device") is not None:
        devices.add(torch.device(options["device"]).type)
    return len(devices) > 1


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    """Of the numbers that lie behind tensors; what is expanded lies there once."""
    total = 0
    for x in tensors:
        sizes = [size for size, stride in zip(x.shape, x.stride(), strict=True) if stride]
        total += torch.Size(sizes).numel() * x.element_size() if x.numel() else 0
    return total


def _where() -> str:
    """The line of the core that is running, or what torch does on its own."""
    frame = sys._getframe(1)
    while frame is not None and "clstm_core" not in frame.f_code.co_filename:
        frame = frame.f_back  # type: ignore[assignment]
    return "by torch itself" if frame is None else f"at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
