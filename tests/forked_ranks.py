"""Processes forked from one that has the libraries already: a rank of a test begins in no time.

That process is none of pytest's, whose threads and locks a fork would leave in whatever state they are in.
"""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any, Final

import torch.multiprocessing as mp

_METHOD: Final = "forkserver"
_CONTEXT = get_context(_METHOD)
_CONTEXT.set_forkserver_preload(["pytest", "polars", "gensr_dist.graph.trainer", "gensr_dist.model.gensr"])


def on_ranks(world: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call `function(rank, *arguments)` in as many processes; raises if one of them does."""
    mp.start_processes(function, arguments, world, start_method=_METHOD)


def started(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that calls `function(*arguments)`."""
    process = _CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process
