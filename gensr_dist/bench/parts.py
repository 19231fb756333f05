"""Where the time of a step goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class PartTimes:
    """Wall-clock seconds of named parts; what a part spends in an inner part is the inner one's.

    On a GPU it waits for the device at both ends of a part: its seconds are the part's, but their sum is more than the
    step takes without it. So it counts only while `watching`.

    Args:
        device: that does the work.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.watching = device.type != "cuda"
        self.seconds: dict[str, float] = {}
        self._open: list[float] = []  # seconds that inner parts have taken of each open one

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens inside as `name`."""
        if not self.watching:
            yield
            return
        self._wait()
        self._open.append(0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            spent = time.perf_counter() - began
            own = spent - self._open.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + own
            if self._open:
                self._open[-1] += spent

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Count every call of an object's method as `name`."""
        call: Callable[..., Any] = getattr(owner, method)

        def counted(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return call(*arguments, **named)

        setattr(owner, method, counted)

    def shares(self) -> dict[str, float]:
        """Share of each part in the sum of all."""
        whole = sum(self.seconds.values())
        return {name: round(seconds / whole, 4) for name, seconds in self.seconds.items()}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
