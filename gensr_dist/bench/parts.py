"""Where the time of a pass goes, and how many floating-point operations its parts have."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count


class PartTimes:
    """Wall-clock seconds of named parts, and operations on request; what happens in an inner part is the inner one's.

    On a GPU it waits for the device at both ends of a part: its seconds are the part's, but their sum is more than the
    step takes without it. So it counts only while `watching`.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.watching = device.type != "cuda"
        self.seconds: dict[str, float] = {}
        self._now: Callable[[], float] = self._clock
        self._spent = self.seconds  # by what `_now` shows
        self._open: list[float] = []  # what inner parts have taken of each open one

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside as `name`."""
        if not self.watching:
            yield
            return
        self._open.append(0.0)
        began = self._now()
        try:
            yield
        finally:
            spent = self._now() - began
            self._spent[name] = self._spent.get(name, 0.0) + spent - self._open.pop()
            if self._open:
                self._open[-1] += spent

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Count every call of an object's method as `name`."""
        call: Callable[..., Any] = getattr(owner, method)

        def counted(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return call(*arguments, **named)

        setattr(owner, method, counted)

    def operations(self, run: Callable[[], Any]) -> dict[str, float]:
        """How many operations each part of `run()` has, see `operation_counter`."""
        watching, operations = self.watching, dict[str, float]()
        with operation_counter() as counted:
            self.watching, self._now, self._spent = True, counted, operations
            run()
        self.watching, self._now, self._spent = watching, self._clock, self.seconds
        return operations

    def shares(self) -> dict[str, float]:
        """Share of each part in the sum of all."""
        whole = sum(self.seconds.values())
        return {name: round(seconds / whole, 4) for name, seconds in self.seconds.items()}

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@contextmanager
def operation_counter() -> Iterator[Callable[[], int]]:
    """Says when asked how many floating-point operations the matrix products inside had, attention included.

    As torch counts them: kernels that it cannot look into (Triton's) are left out.
    """
    aten = torch.ops.aten
    unknown_to_torch: dict[Any, Callable[..., int]] = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda gradient, q, k, v, *_, **__: (
            sdpa_backward_flop_count(gradient, q, k, v)
        ),
        aten.baddbmm_: lambda _, left, right, *__, **___: 2 * left[0] * left[1] * left[2] * right[2],
    }
    with FlopCounterMode(display=False, custom_mapping=unknown_to_torch) as counter:
        yield counter.get_total_flops
