"""Where the time of a step goes, and what it costs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gensr_dist.bench.costs import Cost, Limits, cost_counter


class PartTimes:
    """Wall-clock seconds of named parts, and costs on request; what happens in an inner part is the inner one's.

    On a GPU it waits for the device at both ends of a part: its seconds are the part's, but their sum is more than the
    step takes without it. So it counts only while `watching`.

    Args:
        device: that does the work.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.watching = device.type != "cuda"
        self.seconds: dict[str, float] = {}
        self._now: Callable[[], Any] = self._clock
        self._spent: dict[str, Any] = self.seconds  # by what `_now` shows
        self._open: list[Any] = []  # what inner parts have taken of each open one

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
            own = spent - self._open.pop()
            self._spent[name] = self._spent.get(name, 0.0) + own
            if self._open:
                self._open[-1] = self._open[-1] + spent

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Count every call of an object's method as `name`."""
        call: Callable[..., Any] = getattr(owner, method)

        def counted(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return call(*arguments, **named)

        setattr(owner, method, counted)

    def costs(self, run: Callable[[], Any], limits: Limits) -> dict[str, Cost]:
        """What each part of `run()` costs, see `cost_counter`."""
        watching, costs = self.watching, dict[str, Cost]()
        with cost_counter(limits) as counted:
            self.watching, self._now, self._spent = True, counted, costs
            run()
        self.watching, self._now, self._spent = watching, self._clock, self.seconds
        return costs

    def shares(self) -> dict[str, float]:
        """Share of each part in the sum of all."""
        whole = sum(self.seconds.values())
        return {name: round(seconds / whole, 4) for name, seconds in self.seconds.items()}

    def _clock(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
