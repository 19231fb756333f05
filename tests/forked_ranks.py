"""Processes forked from one that has the libraries already: a rank of a test begins in no time.

That process is none of pytest's, whose threads and locks a fork would leave in whatever state they are in.
"""

import atexit
import gc
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import get_context, set_start_method
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import IO, Any, Final

import torch
import torch.multiprocessing as mp

from gensr_dist.bench.ports import free_port
from gensr_dist.distributed.launcher_variables import LAUNCHER_VARIABLES

_METHOD: Final = "forkserver"
CONTEXT = get_context(_METHOD)
CONTEXT.set_forkserver_preload(
    [
        *("pytest", "polars", "gensr_dist.cli.main", "gensr_dist.graph.trainer", "gensr_dist.graph.stage"),
        *("gensr_dist.train.loop", "gensr_dist.evaluation.stage", "gensr_dist.data.preparation.local_engine"),
        "torch._dynamo",  # which an optimizer of torch imports
    ]
)


def on_ranks(world: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call `function(rank, *arguments)` in as many processes; raises if one of them does."""
    mp.start_processes(function, arguments, world, start_method=_METHOD)


def started(function: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that calls `function(*arguments)`."""
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


class ForkedPython:
    """`subprocess.Popen` of `python -m MODULE ARGUMENT ...` without its imports."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdout: IO[Any],
        stderr: IO[Any],
        begin: Callable[[], None] | None = None,
    ) -> None:
        assert command[1] == "-m"
        environment = dict(os.environ if env is None else env)
        self._process = started(_run, command[2:], environment, _Passed(stdout), _Passed(stderr), begin)
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("forked python", timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def run_forked(
    arguments: Sequence[str],
    *,
    ranks: int = 0,
    env: Mapping[str, str] | None = None,
    begin: Callable[[], None] | None = None,
    timeout: float = 280,
) -> subprocess.CompletedProcess[str]:
    """`python -m ARGUMENT ...` to its end, in as many ranks as given, as a launcher would start them; 0 is without one.

    Args:
        arguments: a module and what it gets.
        ranks: number of processes that form a group.
        env: variables beside those of this process.
        begin: what each process does first; a function of a module.
        timeout: seconds until those that still run are killed.

    Returns:
        the first return code that is not 0, and what all said.
    """
    own = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    own |= {"OMP_NUM_THREADS": "1", **(env or {})}
    port = free_port() if ranks else 0
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as said:
        processes = []
        for rank in range(ranks or 1):
            place = (str(rank), str(ranks), str(rank), "127.0.0.1", str(port))
            variables = dict(zip(LAUNCHER_VARIABLES, place, strict=True)) if ranks else {}
            command = [sys.executable, "-m", *arguments]
            processes.append(ForkedPython(command, env=own | variables, stdout=output, stderr=said, begin=begin))
        try:
            codes = [process.wait(timeout) for process in processes]
        finally:
            for process in processes:
                process.kill()
        output.seek(0)
        said.seek(0)
        return subprocess.CompletedProcess(
            arguments, next((code for code in codes if code), 0), output.read(), said.read()
        )


class _Passed:
    """An open file, for the other process."""

    def __init__(self, file: IO[Any]) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _received, (DupFd(self.file.fileno()),)


def _received(duplicate: Any) -> int:
    number: int = duplicate.detach()
    return number


def _run(
    command: Sequence[str], environment: Mapping[str, str], output: int, said: int, begin: Callable[[], None] | None
) -> None:
    os.dup2(output, 1)
    os.dup2(said, 2)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
    set_start_method(None, force=True)  # as in a process that nobody forked
    gc.freeze()  # what was imported stays
    sys.argv = ["forked", *command[1:]]
    if begin is not None:
        begin()
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
