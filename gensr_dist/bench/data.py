"""The way of the data, measured: simulate, prepare, read batches."""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from gensr_dist.bench.loader import NEGATIVES, measure_loader
from gensr_dist.errors import InputError

_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class DataBench:
    """What `gensr bench data` prints. Seconds are wall clock, of commands in processes of their own."""

    preset: str
    cores: int
    events: int  # in the shards, after filtering
    simulate_s: float
    simulate_peak_gb: float  # 1e9 bytes, of all processes together
    prepare_s: float
    prepare_peak_gb: float
    bytes_per_event: float  # of the tars
    loader_rows_per_s: float  # candidate rows in ready batches, one core
    loader_groups_per_s: float  # the same: groups of one positive and its negatives
    plain_rows_per_s: float  # the same from a WebDataset of one sample a row, one core
    loader_ratio: float  # median of alternated rounds


def bench_data(preset: str, folder: Path | None = None) -> DataBench:
    """Run both stages on a preset, then the loader against the plain way.

    Args:
        preset: name of a size in `data.presets`.
        folder: keeps the run; a temporary one otherwise.

    Raises:
        InputError: `folder` is a file or not empty, or a stage failed.
    """
    if folder is not None and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(folder, "expected an empty folder or none", "give a new folder")
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        run = Path(place) / "run"
        settings = ["--preset", preset, "--set", f"run={run}", "--json"]
        simulated = _measure(["simulate", *settings])
        prepared = _measure(["prepare", "simulate", *settings])
        speed = measure_loader(run / "shards")
    return DataBench(
        preset=preset,
        cores=os.cpu_count() or 1,
        events=prepared.result["events"],
        simulate_s=simulated.seconds,
        simulate_peak_gb=simulated.peak_gb,
        prepare_s=prepared.seconds,
        prepare_peak_gb=prepared.peak_gb,
        bytes_per_event=round(prepared.result["bytes_per_event"], 2),
        loader_rows_per_s=speed.loader_rows_per_s,
        loader_groups_per_s=round(speed.loader_rows_per_s / (1 + NEGATIVES), 1),
        plain_rows_per_s=speed.plain_rows_per_s,
        loader_ratio=speed.loader_ratio,
    )


@dataclass(frozen=True)
class _Measured:
    seconds: float
    peak_gb: float
    result: dict[str, Any]


def _measure(arguments: list[str]) -> _Measured:
    """Run a `gensr` command; memory is the largest sum over its processes, shared pages counted once."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        command = subprocess.Popen([sys.executable, "-m", "gensr_dist", *arguments], stdout=output)
        peak = 0
        while command.poll() is None:
            peak = max(peak, _memory_of(command.pid))
            time.sleep(_POLL_S)
        seconds = time.monotonic() - began
        if command.returncode:
            raise InputError(f"gensr {' '.join(arguments)}", f"exit code {command.returncode}", "see above")
        output.seek(0)
        result = json.loads(output.read())["result"]
    return _Measured(round(seconds, 2), round(peak / 1e9, 3), result)


def _memory_of(pid: int) -> int:
    """Bytes of a process and its children, a shared page split among those that share it."""
    try:
        root = psutil.Process(pid)
        return sum(map(_share_of, [root, *root.children(recursive=True)]))
    except psutil.NoSuchProcess:
        return 0


def _share_of(process: psutil.Process) -> int:
    """Proportional set size; 0 for a process that has just ended."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
