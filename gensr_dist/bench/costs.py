"""What torch's operations cost: floating-point operations, bytes, and the least time that a device needs for both."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gensr_dist.bench.kernels import copy_bandwidth
from gensr_dist.bench.operations import operation_counter

Cost = NDArray[np.float64]  # [3]: operations, bytes, least seconds

_PRODUCTS = 20  # of large matrices, whose fastest says what the device can do
_COPIES = 5
# They read no more than a source.
_WRITE_ONLY = {"copy_", "fill_", "zero_", "normal_", "uniform_", "bernoulli_", "random_"}
_FACTORIES = {"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"}
_FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "_local_scalar_dense"}
# Of their first operand, which may be a large table, they touch no more than what comes out or goes in.
_ROWS = {"embedding", "_embedding_bag", "_embedding_bag_forward_only", "index_select", "index", "gather", "take"}
_ROWS_IN_PLACE = {"index_add_", "index_copy_", "index_put_", "_index_put_impl_", "put_", "scatter_", "scatter_add_"}


@dataclass(frozen=True)
class Limits:
    """What a device can do."""

    flops: float  # operations a second, of a product of large square matrices
    bytes: float  # a second, read and written, of a large copy

    @classmethod
    def measured(cls, device: torch.device, dtype: torch.dtype, wait: Callable[[], None]) -> "Limits":
        """Of a device.

        Args:
            device: to measure.
            dtype: of the matrices.
            wait: for the device.
        """
        size = 8_192 if device.type == "cuda" else 2_048
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        best = float("inf")
        for _ in range(_PRODUCTS):
            wait()
            began = time.perf_counter()
            a @ b
            wait()
            best = min(best, time.perf_counter() - began)
        return cls(2 * size**3 / best, copy_bandwidth(device, _COPIES) * 1e9)


@contextmanager
def cost_counter(limits: Limits) -> Iterator[Callable[[], Cost]]:
    """Says when asked what all operations inside have cost.

    Bytes are those of every operand read and of every result written, as if no cache held them. The least time of an
    operation is that of its arithmetic or of its bytes, whichever is longer. Views are free. Kernels that torch cannot
    look into (Triton's) are left out.

    Args:
        limits: of the device.
    """
    with operation_counter() as operations, _Costs(operations, limits) as costs:
        yield lambda: costs.total.copy()


class _Costs(TorchDispatchMode):
    def __init__(self, operations: Callable[[], int], limits: Limits) -> None:
        super().__init__()
        self.operations, self.limits = operations, limits
        self.total: Cost = np.zeros(3)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self.operations()
        out = func(*args, **(kwargs or {}))
        flops, moved = self.operations() - before, _moved(func, args, kwargs or {}, out)
        self.total += (flops, moved, max(flops / self.limits.flops, moved / self.limits.bytes))
        return out


def _moved(func: Any, args: Any, kwargs: dict[str, Any], out: Any) -> int:
    """Bytes that an operation reads and writes."""
    name = func._schema.name.removeprefix("aten::")
    if func.is_view or name in _FREE:
        return 0
    if name in _FACTORIES:
        return _bytes(out)
    read = [argument.name for argument in func._schema.arguments if not argument.is_out]
    given = [*args, *(kwargs[argument] for argument in read if argument in kwargs)]
    if name in _WRITE_ONLY:
        return _bytes(given)
    if name in _ROWS:
        return _bytes(given[1:]) + 2 * _bytes(out)
    if name in _ROWS_IN_PLACE:
        return 3 * _bytes(given[1:])  # what goes in, and as much of the table, read and written
    written = [
        value
        for argument, value in zip(func._schema.arguments, args, strict=False)
        if argument.alias_info is not None and argument.alias_info.is_write and argument.name != "grads"
    ]  # fused optimizers could scale gradients, and are not asked to
    return _bytes(given) + _bytes(written or out)


def _bytes(value: Any) -> int:
    """Of all tensors in nested lists; of one that repeats itself, what it repeats."""
    if isinstance(value, Tensor):
        places = 1
        for size, stride in zip(value.shape, value.stride(), strict=True):
            places *= size if stride else min(size, 1)
        return places * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0
