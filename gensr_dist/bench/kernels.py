"""Fused operations against unfused code and against the memory's bandwidth."""

import csv
import dataclasses
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from gensr_dist.bench.kernel_cases import CPU_SHAPES, GPU_SHAPES, GroupShape, KernelCase, kernel_cases
from gensr_dist.errors import InputError
from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.dispatch import configure, configured

_SAMPLE_S = 0.002  # of a measurement, whose calls are repeated to fill it; short ones often meet nobody else's work
_COPIED_BYTES = 2**28  # more than any cache


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """One pass of one operation. Medians over rounds; ratios are unfused / fused seconds, round by round."""

    op: str
    beside: str  # what it is measured against
    direction: str  # forward or backward
    path: str  # triton or torch
    dtype: str
    shape: str
    seconds: float
    gb_per_s: float  # 1e9 bytes that the operation cannot but move; small tensors may stay in caches
    copy_share: float  # of the bandwidth of copying 256 MiB, measured in the same run
    ratio_median: float
    ratio_q1: float  # quartiles: on a busy machine the extremes tell of others' work
    ratio_q3: float


@dataclass(frozen=True, kw_only=True)
class KernelsBench:
    """What `gensr bench kernels` prints."""

    rows: list[KernelRow]
    copy_gb_per_s: float  # read and written
    device: str
    driver: str  # empty without a GPU, or where it does not say
    torch: str
    triton: str  # empty where it is not installed
    threads: int  # of the CPU that torch used
    load: float  # processes that wanted a core in the minute before; beyond the machine's cores, wide ranges of ratios
    date: str
    rounds: int


def bench_kernels(
    *, rounds: int = 41, shapes: Sequence[GroupShape] | None = None, csv_file: Path | None = None
) -> KernelsBench:
    """Measure every operation forward and backward, fused and unfused in turns.

    On a GPU both paths in bfloat16 and float32; on a CPU the torch path in float32.

    Args:
        rounds: measurements of each way, at least two.
        shapes: sizes of batches; those of training and scoring if not given.
        csv_file: results are added to it, a line a row.

    Raises:
        InputError: `csv_file` has other columns or cannot be written.
    """
    if csv_file is not None:
        _check_csv(csv_file)
    load = round(os.getloadavg()[0], 1)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    triton = _version("triton")
    paths: tuple[KernelPath, ...] = ("triton", "torch") if cuda and triton else ("torch",)
    dtypes = (torch.bfloat16, torch.float32) if cuda else (torch.float32,)
    shapes = (GPU_SHAPES if cuda else CPU_SHAPES) if shapes is None else shapes
    copy_gb_per_s = copy_bandwidth(device, rounds)
    work = [(path, dtype, shape) for path in paths for dtype in dtypes for shape in shapes]
    rows: list[KernelRow] = []
    for path, dtype, shape in tqdm(work, desc="kernels", unit="shape", disable=None):
        with _path(path):
            for case in kernel_cases(shape, dtype, device, path):
                rows.extend(_measure(case, path, dtype, device, rounds, copy_gb_per_s))
    result = KernelsBench(
        rows=rows,
        copy_gb_per_s=round(copy_gb_per_s, 2),
        device=torch.cuda.get_device_name() if cuda else _processor(),
        driver=_driver() if cuda else "",
        torch=torch.__version__,
        triton=triton,
        threads=torch.get_num_threads(),
        load=load,
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        rounds=rounds,
    )
    if csv_file is not None:
        _append_csv(csv_file, result)
    return result


def table(result: KernelsBench) -> list[str]:
    """Lines to print."""
    lines = [
        f"{result.device}, {result.threads} threads, load {result.load}, torch {result.torch}",
        f"copies at {result.copy_gb_per_s} GB/s",
    ]
    lines.extend(
        f"{row.op:<17} {row.direction:<8} {row.path:<6} {row.dtype:<8} {row.shape:<26} {1e3 * row.seconds:9.3f} ms "
        f"{row.gb_per_s:8.1f} GB/s {row.copy_share:5.0%} of a copy, {row.ratio_median:5.2f} x {row.beside} "
        f"({row.ratio_q1:.2f} to {row.ratio_q3:.2f})"
        for row in result.rows
    )
    return lines


def _measure(
    case: KernelCase, path: str, dtype: torch.dtype, device: torch.device, rounds: int, copy_gb_per_s: float
) -> Iterator[KernelRow]:
    fused_out, plain_out = case.fused(*case.inputs), case.plain(*case.inputs)
    d_out = torch.randn_like(fused_out)

    def forward(op: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: op(*case.inputs)

    def backward(out: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(out, case.inputs, d_out, retain_graph=True)

    for direction, fused, plain, elements in (
        ("forward", forward(case.fused), forward(case.plain), case.forward_elements),
        ("backward", backward(fused_out), backward(plain_out), case.backward_elements),
    ):
        fused_calls, plain_calls = (_calls(way, device) for way in (fused, plain))
        fused_s, plain_s = [], []
        for _ in range(rounds):
            fused_s.append(_seconds(fused, device, fused_calls))
            plain_s.append(_seconds(plain, device, plain_calls))
        ratios = [slow / fast for slow, fast in zip(plain_s, fused_s, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        seconds = statistics.median(fused_s)
        gb_per_s = elements * dtype.itemsize / seconds / 1e9
        yield KernelRow(
            op=case.op,
            beside=case.beside,
            direction=direction,
            path=path,
            dtype=str(dtype).removeprefix("torch."),
            shape=case.shape,
            seconds=_digits(seconds),
            gb_per_s=_digits(gb_per_s),
            copy_share=_digits(gb_per_s / copy_gb_per_s),
            ratio_median=_digits(middle),
            ratio_q1=_digits(low),
            ratio_q3=_digits(high),
        )


def copy_bandwidth(device: torch.device, rounds: int) -> float:
    """1e9 bytes a second, read and written."""
    copied = torch.zeros(_COPIED_BYTES // 4, device=device)
    target = torch.empty_like(copied)

    def copy() -> None:
        target.copy_(copied)

    calls = _calls(copy, device)
    return 2 * _COPIED_BYTES / statistics.median(_seconds(copy, device, calls) for _ in range(rounds)) / 1e9


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _calls(work: Callable[[], object], device: torch.device) -> int:
    """How many fill a measurement, after one that compiles and warms up."""
    _seconds(work, device, 1)
    return max(1, round(_SAMPLE_S / _seconds(work, device, 1)))


def _seconds(work: Callable[[], object], device: torch.device, calls: int) -> float:
    """Of one call, on the device's own clock."""
    if device.type == "cuda":
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(calls):
            work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / calls
    began = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - began) / calls


@contextmanager
def _path(path: KernelPath) -> Iterator[None]:
    before = configured()
    configure(path)
    try:
        yield
    finally:
        configure(before)


def _check_csv(file: Path) -> None:
    try:
        header = file.read_text(encoding="utf-8").splitlines()[:1] if file.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read ({error})", "name another file") from None
    if not file.parent.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InputError(file, "cannot be written", "name a file in a folder that is there")
    if header and header != [",".join(_columns())]:
        raise InputError(file, "its columns are not those of this benchmark", "name another file")


def _append_csv(file: Path, result: KernelsBench) -> None:
    """Add a line a row, each with what it was measured on."""
    common = {key: value for key, value in dataclasses.asdict(result).items() if key != "rows"}
    try:
        fresh = not file.exists() or file.stat().st_size == 0
        with file.open("a", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, _columns(), lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerows({**common, **dataclasses.asdict(row)} for row in result.rows)
    except OSError as error:
        raise InputError(file, f"cannot be written ({error.strerror})", "name another file") from None


def _columns() -> list[str]:
    common = [field.name for field in dataclasses.fields(KernelsBench) if field.name != "rows"]
    return [*common, *(field.name for field in dataclasses.fields(KernelRow))]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):  # some containers have no nvidia-smi
        return ""


def _processor() -> str:
    """Name of the CPU and how many cores it offers."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name} {os.cpu_count()} cores"
