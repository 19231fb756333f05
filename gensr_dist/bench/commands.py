"""Other `gensr` commands, run by the benchmarks as a user would run them, and small runs made of them."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from gensr_dist.distributed.launcher_variables import LAUNCHER_VARIABLES
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.shared_results import link_shared

_POLL_S = 0.2
_END_S = 40.0
SMALL_RUN: dict[str, Any] = {  # a log, CF vectors and a model of seconds
    "simulate": {"users": 200, "items": 600, "days": 12, "events_per_user": 60},
    "data": {
        "source": "simulate",
        "min_interactions": 2,
        "vocabulary": 400,
        "history": 8,
        "eval_negatives": 49,
        "train_negatives": 2,
    },
    "lightgcn": {"width": 16, "epochs": 2, "batch": 512},
    "model": {"cf_heads": 2, "semantic_history": "pooled"},
}


@dataclass(frozen=True)
class Finished:
    """A command that went well."""

    result: Any  # what `--json` gave; None without
    seconds: float  # wall clock
    peak_gb: float  # 1e9 bytes, of all its processes together, shared pages counted once; 0 where nobody watched


def run_gensr(
    command: str,
    *options: str,
    launcher: Sequence[str] = (),
    threads: int = 0,
    at_most_s: float = float("inf"),
    watch_memory: bool = False,
) -> Finished:
    """Run a command to its end, as if no launcher had started this process.

    Args:
        command: of `gensr`, such as `prepare simulate`.
        options: that it takes; with `--json` its result is read.
        launcher: arguments of Python that come first and start its ranks.
        threads: of each of its processes; 0 leaves that to torch.
        at_most_s: seconds after which it is killed.
        watch_memory: find out its peak, which takes some of the time of a core.

    Raises:
        InputError: it failed, with the last error that it told, or took longer.
    """
    shown = f"gensr {command}"
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    began, peak = time.monotonic(), 0
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as said:
        line = [sys.executable, *launcher, "-m", "gensr_dist", *command.split(), *options]
        process = subprocess.Popen(line, env=environment, stdout=output, stderr=said)
        try:
            while process.poll() is None:
                if watch_memory:
                    peak = max(peak, _memory_of(process.pid))
                if time.monotonic() - began > at_most_s:
                    raise InputError(shown, f"not done after {at_most_s:.0f} s", "try a machine with less load")
                time.sleep(_POLL_S)
        finally:
            _end(process)
        seconds = time.monotonic() - began
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
            errors = [line for line in lines if re.search(r"[Ee]rror: \S", line)]  # a launcher says more after it
            raise InputError(shown, (errors or lines)[-1].strip(), "run it alone to see more, and correct that first")
        output.seek(0)
        result = json.loads(output.read())["result"] if "--json" in options else None
    return Finished(result, round(seconds, 2), round(peak / 1e9, 3))


def prepared_run(folder: Path, settings: Mapping[str, Any]) -> RunFolder:
    """A new run with a simulated log, its shards, CF vectors and channels.

    Args:
        folder: of the run, not there yet.
        settings: of the whole config but `run`.

    Raises:
        InputError: a stage failed.
    """
    folder.mkdir()
    config = _write_given(RunFolder(folder), settings)
    for stage in ("simulate", "prepare simulate", "lightgcn", "channels"):
        run_gensr(stage, str(config), threads=1)
    return RunFolder(folder)


def twin_of(base: RunFolder, folder: Path, settings: Mapping[str, Any]) -> RunFolder:
    """A new run on the shards, CF vectors and channels of another; `folder` and `settings` as for `prepared_run`."""
    folder.mkdir()
    link_shared(RunFolder(folder), base)
    _write_given(RunFolder(folder), settings)
    return RunFolder(folder)


def config_of(run: RunFolder) -> Path:
    """Where the config of a run of the bench lies."""
    return run.root / "given.yaml"


def _write_given(run: RunFolder, settings: Mapping[str, Any]) -> Path:
    """Write the config that a user would give, and return its path."""
    path = config_of(run)
    path.write_text(yaml.safe_dump({**settings, "run": str(run.root)}), encoding="utf-8")
    return path


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command that still runs; a launcher gets the time to end its ranks."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _memory_of(pid: int) -> int:
    """Bytes of a process and its children, a shared page split among those that share it."""
    try:
        root = psutil.Process(pid)
        return sum(_share_of(process) for process in [root, *root.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def _share_of(process: psutil.Process) -> int:
    """Proportional set size; 0 for a process that has just ended."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
