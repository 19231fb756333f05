"""`gensr bench step` and `gensr bench score`: speed, memory and operations of ours and of the reference, in one run.

A step is the forward pass with dropout, the loss of eq. 8 and that of the towers, gradients of all parameters, clipping
and AdamW. Scoring has neither gradients nor dropout.
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gensr_dist.bench.interleaved import RatioRange, Variant, Worker, cores, interleave, running
from gensr_dist.bench.synthetic import synthetic_batch
from gensr_dist.bench.workload import BACKBONES, Precision, SpeedSetting, Workload, our_model, reference_model
from gensr_dist.errors import InputError
from gensr_dist.kernels.dispatch import check_compiler

STEP_CANDIDATES = 5  # a positive and its negatives


@dataclass(frozen=True, kw_only=True)
class BatchGroups:
    """Groups of a batch of both variants where nothing else is asked for."""

    cpu: int  # of both
    gpu_baseline: int  # each variant with a batch that fills a large GPU
    gpu_ours: int

    def of(self, groups: int | None, our_groups: int | None) -> tuple[int, int]:
        """Of the reference and of ours, given what the user said of them."""
        if groups is not None:
            return groups, our_groups or groups
        on_gpu = torch.cuda.is_available()
        return (self.gpu_baseline, our_groups or self.gpu_ours) if on_gpu else (self.cpu, our_groups or self.cpu)


# On a CPU half a minute of the reference, with `small`.
STEP_GROUPS = BatchGroups(cpu=12, gpu_baseline=128, gpu_ours=1_024)
SCORE_GROUPS = BatchGroups(cpu=2, gpu_baseline=16, gpu_ours=64)


@dataclass(frozen=True, kw_only=True)
class VariantSpeed:
    """What was measured of one variant. A row is a candidate."""

    per_s: float  # rows, median over rounds
    peak_gb: float  # 1e9 bytes: of the GPU, or resident with the libraries
    mfu: float  # counted operations a second, of those of a product of large matrices in the same run
    mflop_per_row: float  # 1e6 operations, counted, padding included
    share: dict[str, float]  # of time, by part


@dataclass(frozen=True, kw_only=True)
class SpeedBench:
    """Both variants in one run."""

    ours: VariantSpeed
    reference: VariantSpeed
    ratio: RatioRange  # ours / reference, over rounds
    flops_ratio: float  # operations a row, reference / ours: what the ratio would be at equal operations a second
    idle_gb: float  # resident, of a process that has only imported the libraries
    first_pass_s: float  # of ours, compiling with it; what later batches need is in their own time
    tokens_per_s: float  # of ours: text and slots of contexts and blocks, and the history's title tokens or items
    peak_tflops: float  # 1e12 operations a second of a product of large matrices
    top_operations: list[str]  # of ours, with --profile
    parameters: int
    mean_history: float  # items
    rounds: int
    passes_of_a_round: int  # of ours; the reference has its own number
    device: str
    cores: int
    seconds: float  # of the whole benchmark
    setting: SpeedSetting

    def flat(self) -> dict[str, Any]:
        """What the commands print, where the reference is `plain`."""
        flat = asdict(self)
        ours, reference, ratio, setting = (flat.pop(name) for name in ("ours", "reference", "ratio", "setting"))
        speeds = {f"{key}_{name}": each[key] for key in ours for name, each in (("ours", ours), ("plain", reference))}
        first = {f"{name}_per_s": speeds.pop(f"per_s_{name}") for name in ("ours", "plain")}
        first |= {f"ratio_{name}": ratio[key] for name, key in (("median", "median"), ("min", "low"), ("max", "high"))}
        first |= {"flops_ratio": flat.pop("flops_ratio")}
        speeds["mfu"] = speeds.pop("mfu_ours")
        setting.pop("vocabulary")
        return first | speeds | flat | setting


def bench_speed(setting: SpeedSetting, *, training: bool, rounds: int, profile: Path | None) -> SpeedBench:
    """Measure both variants on random batches, round by round.

    Args:
        setting: what they compute.
        training: whether a pass is a training step, or scores.
        rounds: of each variant.
        profile: folder for a trace of a pass of ours.

    Raises:
        InputError: see `check_setting`.
    """
    check_setting(setting.backbone, setting.precision, profile, compiled=setting.compiled)
    began = time.monotonic()
    variants = [Variant(partial(workload, training=training, product=product)) for product in (True, False)]
    ours = variants[0]
    with running(variants, setting):
        first_pass_s = ours.ask(Workload.timed_pass)
        passes = [variant.ask(Workload.warm_up) for variant in variants]
        interleave(variants, Workload.round, rounds, "ours and the reference")
        peak_gb = [variant.peak_gb() for variant in variants]
        shares = [variant.ask(Workload.shares) for variant in variants]
        peak_flops = ours.ask(Workload.peak_flops)
        operations = [sum(variant.ask(Workload.operations).values()) for variant in variants]
        parameters, tokens, device = ours.ask(Workload.facts)
        top = ours.ask(partial(Workload.profile, folder=profile)) if profile is not None else []
    rows = [groups * setting.candidates for groups in (setting.our_groups, setting.groups)]
    rates = [[passes[v] * rows[v] / seconds for seconds in variant.seconds] for v, variant in enumerate(variants)]
    flops = [count / rows[v] for v, count in enumerate(operations)]
    speeds = [
        VariantSpeed(
            per_s=round(median(rates[v]), 3),
            peak_gb=peak_gb[v],
            mfu=round(median(rates[v]) * flops[v] / peak_flops, 4),
            mflop_per_row=round(flops[v] / 1e6, 1),
            share=shares[v],
        )
        for v in range(len(variants))
    ]
    history_GL = synthetic_batch(setting.shape(setting.our_groups), 0).history_GL
    return SpeedBench(
        ours=speeds[0],
        reference=speeds[1],
        ratio=RatioRange.of_ratios(rates[0], rates[1], digits=2),
        flops_ratio=round(flops[1] / flops[0], 2),
        idle_gb=ours.idle_gb,
        first_pass_s=round(first_pass_s, 1),
        tokens_per_s=round(median(rates[0]) * tokens / rows[0], 1),
        peak_tflops=round(peak_flops / 1e12, 4),
        top_operations=top,
        parameters=parameters,
        mean_history=round((history_GL != 0).sum(1).float().mean().item(), 2),
        rounds=rounds,
        passes_of_a_round=passes[0],
        device=device,
        cores=cores(),
        seconds=round(time.monotonic() - began, 1),
        setting=setting,
    )


def workload(setting: SpeedSetting, worker: Worker, *, training: bool, product: bool) -> Workload:
    """Passes of ours (`product`) or of the reference."""
    model = (our_model if product else reference_model)(setting, worker.device)
    return Workload(model, training, setting.shape(setting.our_groups if product else setting.groups), worker)


def check_setting(backbone: str, precision: Precision, profile: Path | None, *, compiled: bool = False) -> None:
    """Refuse what cannot run, before anything is measured.

    Raises:
        InputError: an unknown backbone, bf16 without a GPU, no compiler for torch.compile, or no folder can be made
            at `profile`.
    """
    if backbone not in BACKBONES:
        raise InputError("--backbone", f"{backbone!r} is not known", f"give one of {', '.join(BACKBONES)}")
    if precision == "bf16" and not torch.cuda.is_available():
        raise InputError("--precision", "bf16 is many times slower than fp32 on a CPU", "use it on a GPU")
    if compiled:
        check_compiler("--compile")
    if profile is not None:
        try:
            profile.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(profile, f"cannot be the folder of the trace ({error.strerror})", "give another") from None
