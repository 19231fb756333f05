"""Speed, memory and operations of ours and of the plain way, in one run."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch

from gensr_dist.bench.costs import Cost
from gensr_dist.bench.operations import TRAINING, GroupTokens, Sizes, our_rows, plain_row
from gensr_dist.bench.plain import PlainCollator
from gensr_dist.bench.synthetic import CF_WIDTH, synthetic_batch, word_tokenizer
from gensr_dist.bench.turns import Spread, Way, cores, started, take_turns
from gensr_dist.bench.ways import BACKBONES, Precision, Setting, Work
from gensr_dist.errors import InputError
from gensr_dist.kernels.dispatch import check_compiler
from gensr_dist.model.inputs import shares_contexts


@dataclass(frozen=True, kw_only=True)
class SpeedBench:
    """What `gensr bench step` and `gensr bench score` print. A row is a candidate; rates are medians over rounds."""

    ours_per_s: float  # rows
    plain_per_s: float
    ratio_median: float  # ours / plain, over rounds
    ratio_min: float
    ratio_max: float
    flops_ratio: float  # operations a row, plain / ours, as counted: what the ratio would be at equal operations/s
    peak_gb_ours: float  # 1e9 bytes: of the GPU, or resident with the libraries
    peak_gb_plain: float
    idle_gb: float  # resident, of a process that has only imported the libraries
    first_pass_s: float  # of ours, compiling with it; what later batches need is in their own time
    tokens_per_s: float  # of ours: text and slots of contexts and blocks, and the history's title tokens or items
    mfu: float  # of ours: counted operations a second, of those of a product of large matrices in the same run
    mfu_plain: float
    peak_tflops: float  # 1e12 operations a second of that product
    copy_gb_per_s: float  # 1e9 bytes a second, read and written by a large copy
    mflop_per_row_ours: float  # 1e6 operations, counted, padding included
    mflop_per_row_plain: float
    predicted_mflop_per_row_ours: float  # by hand, without any padding
    predicted_mflop_per_row_plain: float
    mbyte_per_row_ours: float  # 1e6 bytes that its operations read and write, as if there were no caches
    mbyte_per_row_plain: float
    share_ours: dict[str, float]  # of time, by part
    share_plain: dict[str, float]
    limit_share_ours: float  # least time for operations or bytes, whichever takes longer for each, of the real time
    limit_share_plain: float
    limit_share_parts_ours: dict[str, float]  # the same by part
    limit_share_parts_plain: dict[str, float]
    top_operations: list[str]  # of ours, with --profile
    backbone: str
    parameters: int
    history: str  # tokens or pooled
    lengths: str  # of histories and titles: as in a log, or full
    mean_history: float  # items
    groups: int  # a batch
    our_groups: int
    candidates: int  # a group
    rounds: int
    passes_of_a_round: int  # of ours; the plain way has its own number
    precision: str
    compiled: bool  # ours, by torch.compile; its operations and bytes are those before fusion
    device: str
    cores: int
    seconds: float  # of the whole benchmark


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


def compare(
    ours: Way[Setting, Work],
    plain: Way[Setting, Work],
    setting: Setting,
    *,
    rounds: int,
    training: bool,
    profile: Path | None,
) -> SpeedBench:
    """Let both ways take turns.

    Args:
        ours: makes the work of ours.
        plain: makes that of the plain way.
        setting: what they compute.
        rounds: of each way.
        training: whether a pass is a training step.
        profile: folder for a trace of a pass of ours.

    Raises:
        InputError: see `check_setting`.
    """
    check_setting(setting.backbone, setting.precision, profile, compiled=setting.compiled)
    began = time.monotonic()
    with started([ours, plain], setting):
        (first_pass_s,) = ours.ask(Work.timed_pass)
        (our_passes,), (plain_passes,) = ours.ask(Work.warm_up), plain.ask(Work.warm_up)
        take_turns([ours, plain], Work.round, rounds, "ours and the plain way")
        peak_gb_ours, peak_gb_plain = ours.peak_gb(), plain.peak_gb()
        (share_ours,), (share_plain,) = ours.ask(Work.shares), plain.ask(Work.shares)
        (limits,) = ours.ask(Work.limits)
        (costs_ours,), (costs_plain,) = (way.ask(partial(Work.costs, limits=limits)) for way in (ours, plain))
        (parameters,), (device,) = ours.ask(_parameters), ours.ask(_device)
        top = ours.ask(partial(_profile, profile))[0] if profile is not None else []
    our_rows_a_batch = setting.our_groups * setting.candidates
    plain_rows_a_batch = setting.groups * setting.candidates
    our_rates = [our_passes * our_rows_a_batch / seconds for seconds in ours.seconds]
    plain_rates = [plain_passes * plain_rows_a_batch / seconds for seconds in plain.seconds]
    ratio = Spread.of_ratios(our_rates, plain_rates, digits=2)
    flop_ours, byte_ours, least_ours = sum(costs_ours.values(), np.zeros(3)) / our_rows_a_batch
    flop_plain, byte_plain, least_plain = sum(costs_plain.values(), np.zeros(3)) / plain_rows_a_batch
    rate_ours, rate_plain = median(our_rates), median(plain_rates)
    sizes = Sizes.of(setting.model, setting.vocabulary, CF_WIDTH)
    groups = _groups(setting, training)
    times = TRAINING if training else 1
    predicted = our_rows(sizes, groups, setting.candidates, answer_logits=setting.vocabulary if training else 2)
    tokens = sum(
        group.context + setting.candidates * group.block + (group.items if sizes.pooled else group.titles)
        for group in groups
    )
    return SpeedBench(
        ours_per_s=round(rate_ours, 2),
        plain_per_s=round(rate_plain, 3),
        ratio_median=ratio.median,
        ratio_min=ratio.low,
        ratio_max=ratio.high,
        flops_ratio=round(flop_plain / flop_ours, 2),
        peak_gb_ours=peak_gb_ours,
        peak_gb_plain=peak_gb_plain,
        idle_gb=ours.idle_gb,
        first_pass_s=round(first_pass_s, 1),
        tokens_per_s=round(rate_ours * tokens / our_rows_a_batch, 1),
        mfu=round(rate_ours * flop_ours / limits.flops, 4),
        mfu_plain=round(rate_plain * flop_plain / limits.flops, 4),
        peak_tflops=round(limits.flops / 1e12, 4),
        copy_gb_per_s=round(limits.bytes / 1e9, 2),
        mflop_per_row_ours=round(flop_ours / 1e6, 1),
        mflop_per_row_plain=round(flop_plain / 1e6, 1),
        predicted_mflop_per_row_ours=round(times * predicted / our_rows_a_batch / 1e6, 1),
        predicted_mflop_per_row_plain=round(times * plain_row(sizes) / 1e6, 1),
        mbyte_per_row_ours=round(byte_ours / 1e6, 1),
        mbyte_per_row_plain=round(byte_plain / 1e6, 1),
        share_ours=share_ours,
        share_plain=share_plain,
        limit_share_ours=round(rate_ours * least_ours, 4),
        limit_share_plain=round(rate_plain * least_plain, 4),
        limit_share_parts_ours=_limit_shares(costs_ours, share_ours, our_rows_a_batch / rate_ours),
        limit_share_parts_plain=_limit_shares(costs_plain, share_plain, plain_rows_a_batch / rate_plain),
        top_operations=top,
        backbone=setting.backbone,
        parameters=parameters,
        history=setting.history,
        lengths=setting.lengths,
        mean_history=round(mean(group.items for group in groups), 2),
        groups=setting.groups,
        our_groups=setting.our_groups,
        candidates=setting.candidates,
        rounds=rounds,
        passes_of_a_round=our_passes,
        precision=setting.precision,
        compiled=setting.compiled,
        device=device,
        cores=cores(),
        seconds=round(time.monotonic() - began, 1),
    )


def _limit_shares(costs: dict[str, Cost], share: dict[str, float], seconds: float) -> dict[str, float]:
    """Least time of each part of a pass that takes so many seconds, of its real time."""
    return {name: round(float(cost[2]) / (share[name] * seconds), 4) for name, cost in costs.items() if share.get(name)}


def _groups(setting: Setting, training: bool) -> list[GroupTokens]:
    """Lengths of the groups of the batch whose operations are counted."""
    collator = PlainCollator(setting.model.prompts, word_tokenizer(setting.vocabulary))
    batch = synthetic_batch(setting.shape(setting.our_groups), 0)
    return GroupTokens.of_batch(batch, collator, share_contexts=shares_contexts(setting.model, training=training))


def _profile(folder: Path, work: Work) -> list[str]:
    return work.profile(folder)


def _parameters(work: Work) -> int:
    return sum(parameter.numel() for parameter in work.model.module.parameters())


def _device(work: Work) -> str:
    device = work.rank.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
