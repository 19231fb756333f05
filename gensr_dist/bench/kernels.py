"""`gensr bench kernels`: fused operations against unfused code and against the memory's bandwidth.

Dimensions as in `kernels/soft_filter/op.py`: G groups, C candidates, H heads, M = C x H, N history positions, D width;
R rows, K width of a head, X = G x C.
"""

import csv
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from datetime import datetime, timezone
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.benchmark import Timer
from torch.utils.collect_env import get_nvidia_driver_version
from torch.utils.collect_env import run as run_command
from tqdm import tqdm

from gensr_dist.errors import InputError
from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.rms_norm.op import rms_norm
from gensr_dist.kernels.rms_norm.reference import rms_norm_reference
from gensr_dist.kernels.soft_filter.op import soft_filter
from gensr_dist.kernels.soft_filter.reference import soft_filter_reference
from gensr_dist.model.dropout import dropout
from gensr_dist.model.soft_filter import SoftFilter

_SAMPLE_S = 0.002  # of a measurement, whose calls are repeated to fill it; short ones often meet nobody else's work
_COPIED_BYTES = 2**28  # more than any cache
_EPS = 1e-6
_RATE = 0.1  # of dropout
_TOKENS = 16  # of a candidate's block
_MOST_ROWS = 2**18  # of norm, gate and dropout


@dataclass(frozen=True)
class GroupShape:
    """A batch of groups; norm, gate and dropout have the rows of its candidates' tokens."""

    G: int
    C: int
    H: int
    N: int
    D: int

    def __str__(self) -> str:
        return " ".join(f"{name}={size}" for name, size in asdict(self).items())


CPU_SHAPES = (
    *(GroupShape(128, 5, 4, 20, D) for D in (64, 128, 512)),
    *(GroupShape(8, 100, 4, 20, D) for D in (64, 128, 512)),
    GroupShape(16, 5, 4, 200, 128),
)
# So large that the host queues calls faster than the device ends them, and that no cache holds them.
_GPU = ((65_536, 5, 4, 20, 64), (16_384, 5, 4, 20, 768), (16_384, 5, 12, 20, 768), (16_384, 5, 4, 50, 512))
GPU_SHAPES = tuple(GroupShape(*sizes) for sizes in (*_GPU, (2_048, 5, 4, 400, 768), (1_024, 100, 4, 20, 768)))


@dataclass(frozen=True)
class KernelCase:
    """One operation on tensors; `fused` and `unfused` take them and give the same, or draw by the same chances."""

    op: str
    shape: str
    fused: Callable[..., Tensor]
    unfused: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]  # differentiated by
    elements: tuple[int, int]  # that cannot but be moved, forward and backward
    beside: str = "unfused"


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

    def lines(self) -> list[str]:
        """For people."""
        lines = [
            f"{self.device}, {self.threads} threads, load {self.load}, torch {self.torch}",
            f"copies at {self.copy_gb_per_s} GB/s",
        ]
        return lines + [
            f"{row.op:<17} {row.direction:<8} {row.path:<6} {row.dtype:<8} {row.shape:<26} {1e3 * row.seconds:9.3f} ms "
            f"{row.gb_per_s:8.1f} GB/s {row.copy_share:5.0%} of a copy, {row.ratio_median:5.2f} x {row.beside} "
            f"({row.ratio_q1:.2f} to {row.ratio_q3:.2f})"
            for row in self.rows
        ]


def bench_kernels(
    *, rounds: int, shapes: Sequence[GroupShape] | None = None, csv_file: Path | None = None
) -> KernelsBench:
    """Measure every operation forward and backward, fused and unfused alternated.

    On a GPU both paths in bfloat16 and float32; on a CPU the torch path in float32.

    Args:
        rounds: measurements of each, at least two.
        shapes: sizes of batches; those of training and scoring if not given.
        csv_file: results are added to it, a line a row.

    Raises:
        InputError: `csv_file` has other columns or cannot be written.
    """
    if csv_file is not None:
        check_csv(csv_file)
    load = round(os.getloadavg()[0], 1)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    triton = import_module("triton").__version__ if find_spec("triton") else ""
    paths: tuple[KernelPath, ...] = ("triton", "torch") if cuda and triton else ("torch",)
    dtypes = (torch.bfloat16, torch.float32) if cuda else (torch.float32,)
    shapes = (GPU_SHAPES if cuda else CPU_SHAPES) if shapes is None else shapes
    copy_gb_per_s = copy_bandwidth(device, rounds)
    each = [(path, dtype, shape) for path in paths for dtype in dtypes for shape in shapes]
    rows: list[KernelRow] = []
    for path, dtype, shape in tqdm(each, desc="kernels", unit="shape", disable=None):
        for case in kernel_cases(shape, dtype, device, path):
            rows.extend(_measure(case, path, dtype, rounds, copy_gb_per_s))
    result = KernelsBench(
        rows=rows,
        copy_gb_per_s=round(copy_gb_per_s, 2),
        device=torch.cuda.get_device_name() if cuda else _processor(),
        driver=(get_nvidia_driver_version(run_command) or "") if cuda else "",
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


def kernel_cases(shape: GroupShape, dtype: torch.dtype, device: torch.device, path: KernelPath) -> Iterator[KernelCase]:
    """Every operation that a path has, on random tensors of a shape."""
    G, C, H, N, D = astuple(shape)
    M, R = C * H, min(_MOST_ROWS, G * C * _TOKENS)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, device=device, dtype=dtype).requires_grad_()

    mask_GN = torch.ones(G, N, dtype=torch.bool, device=device)
    yield KernelCase(
        "soft_filter",
        str(shape),
        lambda query, history: soft_filter(query, history, mask_GN, path),
        lambda query, history: soft_filter_reference(query, history, mask_GN),
        ((draw(G, M, D) * D**-0.5).detach().requires_grad_(), draw(G, N, D)),
        (G * (2 * M + N) * D, G * (3 * M + 2 * N) * D),
    )
    layer = SoftFilter(D, H).to(device, dtype)
    layer.kernels = path
    for beside, unfused in (("a history a group", _filter_a_group), ("a history a candidate", _filter_a_candidate)):
        yield KernelCase(
            "soft_filter_layer",  # with its projections
            str(shape),
            lambda candidate, history, *_: layer(candidate, history, mask_GN),
            lambda candidate, history, *weights, op=unfused: op(candidate, history, mask_GN, *weights),
            (draw(G, C, D), draw(G, N, D), layer.query_HKD, layer.key_HKD, layer.value_HKD),
            (G * (2 * C + N) * D + 3 * D * D, G * (3 * C + 2 * N) * D + 6 * D * D),
            beside,
        )
    yield KernelCase(
        "rms_norm",
        f"R={R} D={D}",
        lambda x, weight: rms_norm(x, weight, _EPS, path),
        lambda x, weight: rms_norm_reference(x, weight, _EPS),
        (draw(R, D), draw(D)),
        (2 * R * D, 3 * R * D),
    )
    if device.type == "cpu":  # on GPUs it is torch's
        fused, unfused = partial(dropout, rate=_RATE), partial(F.dropout, p=_RATE)
        yield KernelCase(
            "dropout", f"R={R} D={D}", fused, unfused, (draw(R, D),), (2 * R * D, 2 * R * D), "torch's own"
        )
    if path == "triton":  # the torch path is the unfused code
        yield KernelCase(
            "gated_gelu",
            f"R={R} D={2 * D}",
            lambda gate, value: gated_gelu(gate, value, path),
            lambda gate, value: F.gelu(gate, approximate="tanh") * value,
            (draw(R, 2 * D), draw(R, 2 * D)),
            (6 * R * D, 10 * R * D),
        )


def copy_bandwidth(device: torch.device, rounds: int) -> float:
    """1e9 bytes a second, read and written."""
    copied = torch.zeros(_COPIED_BYTES // 4, device=device)
    target = torch.empty_like(copied)
    copy = _Timed(lambda: target.copy_(copied))
    return 2 * _COPIED_BYTES / statistics.median(copy.seconds() for _ in range(rounds)) / 1e9


def check_csv(file: Path) -> None:
    """Refuse a file to which no rows can be added.

    Raises:
        InputError: it has other columns, or cannot be read or written.
    """
    try:
        header = file.read_text(encoding="utf-8").splitlines()[:1] if file.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(file, f"cannot be read ({error})", "name another file") from None
    if not file.parent.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InputError(file, "cannot be written", "name a file in a folder that is there")
    if header and header != [",".join(_columns())]:
        raise InputError(file, "its columns are not those of this benchmark", "name another file")


class _Timed:
    """A call, repeated to fill a measurement."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
        self.timer.timeit(1)  # compiles
        self.calls = max(1, round(_SAMPLE_S / self.timer.timeit(1).mean))

    def seconds(self) -> float:
        """Of one call; the device has nothing left to do before and after."""
        return self.timer.timeit(self.calls).mean


def _measure(case: KernelCase, path: str, dtype: torch.dtype, rounds: int, copy_gb_per_s: float) -> Iterator[KernelRow]:
    ops = (case.fused, case.unfused)
    outs = [op(*case.inputs) for op in ops]
    d_out = torch.randn_like(outs[0])
    forward = [_Timed(partial(op, *case.inputs)) for op in ops]
    backward = [_Timed(partial(torch.autograd.grad, out, case.inputs, d_out, retain_graph=True)) for out in outs]
    passes = (("forward", forward), ("backward", backward))
    for (direction, (fused, unfused)), elements in zip(passes, case.elements, strict=True):
        pairs = [(fused.seconds(), unfused.seconds()) for _ in range(rounds)]
        low, middle, high = statistics.quantiles([slow / fast for fast, slow in pairs], n=4, method="inclusive")
        seconds = statistics.median(fast for fast, _ in pairs)
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


def _filter_a_group(
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


def _filter_a_candidate(candidate_GCD: Tensor, history_GND: Tensor, mask_GN: Tensor, *weights: Tensor) -> Tensor:
    """The same for each candidate on its own: the history stands [G C, N, D] times in memory."""
    G, C, D = candidate_GCD.shape
    history_XND, mask_XN = history_GND.repeat_interleave(C, 0), mask_GN.repeat_interleave(C, 0)
    return _filter_a_group(candidate_GCD.reshape(G * C, 1, D), history_XND, mask_XN, *weights).view(G, C, D)


def _append_csv(file: Path, result: KernelsBench) -> None:
    """Add a line a row, each with what it was measured on."""
    common = asdict(result)
    rows = common.pop("rows")
    try:
        fresh = not file.exists() or file.stat().st_size == 0
        with file.open("a", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, _columns(), lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerows({**common, **row} for row in rows)
    except OSError as error:
        raise InputError(file, f"cannot be written ({error.strerror})", "name another file") from None


def _columns() -> list[str]:
    return [field.name for kind in (KernelsBench, KernelRow) for field in fields(kind) if field.name != "rows"]


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _processor() -> str:
    """Name of the CPU and how many cores it offers."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return f"{(names or [platform.processor() or platform.machine()])[0]} {os.cpu_count()} cores"
