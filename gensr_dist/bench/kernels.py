"""Fused operations against unfused code and against the memory's bandwidth.

Dimensions as in `kernels/soft_filter/op.py`: G groups, C candidates, H heads, M = C x H, N history positions, D width;
R rows.
"""

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
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from tqdm import tqdm

from gensr_dist.errors import InputError
from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.dispatch import configure, configured
from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.rms_norm.op import rms_norm
from gensr_dist.kernels.rms_norm.reference import rms_norm_reference
from gensr_dist.kernels.soft_filter.op import soft_filter
from gensr_dist.kernels.soft_filter.reference import soft_filter_reference
from gensr_dist.model.soft_filter import SoftFilter

_EPS = 1e-6
_TOKENS = 16  # of a candidate's block
_MOST_ROWS = 2**18  # of norm and gate
_SAMPLE_S = 0.002  # of a measurement, whose calls are repeated to fill it; short ones often meet nobody else's work
_COPIED_BYTES = 2**28  # more than any cache


@dataclass(frozen=True)
class GroupShape:
    """A batch of groups; norm and gate have the rows of its candidates' tokens."""

    G: int
    C: int
    H: int
    N: int
    D: int

    def __str__(self) -> str:
        return " ".join(f"{name}={size}" for name, size in dataclasses.asdict(self).items())


CPU_SHAPES = (
    GroupShape(128, 5, 4, 20, 64),
    GroupShape(128, 5, 4, 20, 128),
    GroupShape(128, 5, 4, 20, 512),
    GroupShape(8, 100, 4, 20, 64),
    GroupShape(8, 100, 4, 20, 128),
    GroupShape(8, 100, 4, 20, 512),
    GroupShape(16, 5, 4, 200, 128),
)
GPU_SHAPES = (  # so large that the host queues calls faster than the device ends them, and that no cache holds them
    GroupShape(65_536, 5, 4, 20, 64),
    GroupShape(16_384, 5, 4, 20, 768),
    GroupShape(16_384, 5, 12, 20, 768),
    GroupShape(16_384, 5, 4, 50, 512),
    GroupShape(2_048, 5, 4, 400, 768),
    GroupShape(1_024, 100, 4, 20, 768),
)


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """One pass of one operation. Medians over rounds; ratios are unfused / fused seconds, round by round."""

    op: str
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
    driver: str  # empty without a GPU
    torch: str
    triton: str  # empty where it is not installed
    threads: int  # of the CPU that torch used
    load: float  # processes that wanted a core in the minute before; beyond the machine's cores, wide ranges of ratios
    date: str
    rounds: int


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One operation on tensors; `fused` and `plain` take them and give the same."""

    op: str
    shape: str
    fused: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]  # differentiated by
    forward_elements: int
    backward_elements: int


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
    copy_gb_per_s = _copy_bandwidth(device, rounds)
    work = [(path, dtype, shape) for path in paths for dtype in dtypes for shape in shapes]
    rows: list[KernelRow] = []
    for path, dtype, shape in tqdm(work, desc="kernels", unit="shape", disable=None):
        with _path(path):
            for case in _cases(shape, dtype, device, path):
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
        f"{row.gb_per_s:8.1f} GB/s {row.copy_share:5.0%} of a copy, {row.ratio_median:5.2f} x unfused "
        f"({row.ratio_q1:.2f} to {row.ratio_q3:.2f})"
        for row in result.rows
    )
    return lines


def _cases(shape: GroupShape, dtype: torch.dtype, device: torch.device, path: str) -> Iterator[_Case]:
    G, C, H, N, D = dataclasses.astuple(shape)
    M, R = C * H, min(_MOST_ROWS, G * C * _TOKENS)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, device=device, dtype=dtype).requires_grad_()

    mask_GN = torch.ones(G, N, dtype=torch.bool, device=device)
    yield _Case(
        op="soft_filter",
        shape=str(shape),
        fused=lambda query, history: soft_filter(query, history, mask_GN),
        plain=lambda query, history: soft_filter_reference(query, history, mask_GN),
        inputs=((draw(G, M, D) * D**-0.5).detach().requires_grad_(), draw(G, N, D)),
        forward_elements=G * (2 * M + N) * D,
        backward_elements=G * (3 * M + 2 * N) * D,
    )
    layer = SoftFilter(D, H).to(device, dtype)
    yield _Case(
        op="soft_filter_layer",  # with its projections, against keys and values projected and attended to
        shape=str(shape),
        fused=lambda candidate, history, *_: layer(candidate, history, mask_GN),
        plain=lambda candidate, history, *weights: _plain_layer(candidate, history, mask_GN, *weights),
        inputs=(draw(G, C, D), draw(G, N, D), layer.query_HKD, layer.key_HKD, layer.value_HKD),
        forward_elements=G * (2 * C + N) * D + 3 * D * D,
        backward_elements=G * (3 * C + 2 * N) * D + 6 * D * D,
    )
    yield _Case(
        op="rms_norm",
        shape=f"R={R} D={D}",
        fused=lambda x, weight: rms_norm(x, weight, _EPS),
        plain=lambda x, weight: rms_norm_reference(x, weight, _EPS),
        inputs=(draw(R, D), draw(D)),
        forward_elements=2 * R * D,
        backward_elements=3 * R * D,
    )
    if path == "triton":  # the torch path is the unfused code
        yield _Case(
            op="gated_gelu",
            shape=f"R={R} D={2 * D}",
            fused=gated_gelu,
            plain=lambda gate, value: F.gelu(gate, approximate="tanh") * value,
            inputs=(draw(R, 2 * D), draw(R, 2 * D)),
            forward_elements=6 * R * D,
            backward_elements=10 * R * D,
        )


def _plain_layer(
    candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor, query_HKD: Tensor, key_HKD: Tensor, value_HKD: Tensor
) -> Tensor:
    """Eq. 5 and 6 as they are written: keys and values of the history are projected, candidates attend to them."""
    H, K, _ = query_HKD.shape

    def project(x_GND: Tensor, weight_HKD: Tensor) -> Tensor:
        return F.linear(x_GND, weight_HKD.flatten(0, 1)).unflatten(-1, (H, K)).transpose(1, 2)

    score_GHCN = project(candidate_GCD, query_HKD) @ project(history_GND, key_HKD).transpose(-1, -2) / K**0.5
    score_GHCN = score_GHCN.masked_fill(~mask_GN[:, None, None], torch.finfo(score_GHCN.dtype).min)
    out_GHCK = score_GHCN.softmax(-1) @ project(history_GND, value_HKD)
    return out_GHCK.transpose(1, 2).flatten(2) * mask_GN.any(1)[:, None, None]


def _measure(
    case: _Case, path: str, dtype: torch.dtype, device: torch.device, rounds: int, copy_gb_per_s: float
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


def _copy_bandwidth(device: torch.device, rounds: int) -> float:
    """1e9 bytes a second, read and written."""
    copied = torch.zeros(_COPIED_BYTES // 4, device=device)
    target = torch.empty_like(copied)
    samples = [_seconds(lambda: target.copy_(copied), device, 1) for _ in range(rounds + 2)]
    return 2 * _COPIED_BYTES / statistics.median(samples[2:]) / 1e9


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
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def _processor() -> str:
    """Name of the CPU and how many cores it offers."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    return f"{name} {os.cpu_count()} cores"
