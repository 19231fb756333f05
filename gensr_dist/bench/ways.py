"""Ours and the plain way of one model, as works that take turns: the same weights, the same batches.

Dimensions: G groups, C candidates, B = G x C rows.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler

from gensr_dist.bench.costs import Cost, Limits
from gensr_dist.bench.parts import PartTimes
from gensr_dist.bench.plain import PlainCollator, PlainGenSR, PlainRows
from gensr_dist.bench.synthetic import CF_WIDTH, BatchShape, Lengths, synthetic_batch, synthetic_idf, word_tokenizer
from gensr_dist.bench.turns import Rank
from gensr_dist.config.root import Config
from gensr_dist.data.batches.batch import Batch
from gensr_dist.kernels.dispatch import configure, configured
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.inputs import ModelInput
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.objective import step_losses

BACKBONES = {"nano": "nano", "mini": "mini", "small": "small", "flan-t5-small": "small", "flan-t5-base": "base"}
VOCABULARY = 32_128  # of flan-t5
TRAINING = TrainConfig()  # weights of the losses
_BATCHES = 5  # distinct ones, used in turn
_ROUND_S = 2.0  # a round of fast passes has several of them
_MOST_PASSES = 100
_WARM_S = 5.0  # on a CPU: a slow pass is its own warm-up
_DEAREST = 10
_SEED = 0

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}  # of all weights


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both ways compute."""

    backbone: str  # key of BACKBONES
    history: Literal["tokens", "pooled"]
    groups: int
    our_groups: int  # a batch of ours
    candidates: int
    lengths: Lengths
    precision: Precision
    vocabulary: int
    compiled: bool  # ours, by torch.compile

    @property
    def model(self) -> ModelConfig:
        """Settings of the model: the defaults otherwise."""
        return ModelConfig(backbone=BACKBONES[self.backbone], scoring="shared", semantic_history=self.history)

    def shape(self, groups: int) -> BatchShape:
        """Of a batch of so many groups."""
        return BatchShape(groups=groups, candidates=self.candidates, vocabulary=self.vocabulary, lengths=self.lengths)


@dataclass(frozen=True, kw_only=True)
class BatchGroups:
    """Groups of a batch of both ways where nothing else is asked for."""

    cpu: int  # of both
    gpu_plain: int  # each way with a batch that fills a large GPU
    gpu_ours: int

    def of(self, groups: int | None, our_groups: int | None) -> tuple[int, int]:
        """Of the plain way and of ours, given what the user said of them."""
        if groups is not None:
            return groups, our_groups or groups
        on_gpu = torch.cuda.is_available()
        return (self.gpu_plain, our_groups or self.gpu_ours) if on_gpu else (self.cpu, our_groups or self.cpu)


class Model(Protocol):
    """A way of computing GenSR."""

    @property
    def module(self) -> nn.Module:
        """All weights."""

    def ready(self, batch: Batch) -> Any:
        """What the methods below take, on the device."""

    def loss(self, ready: Any) -> Tensor:
        """What a step minimises: L of eq. 8 and the towers' loss."""

    def score(self, ready: Any) -> Tensor:
        """Score of every candidate [B]."""

    def watch(self, times: PartTimes) -> None:
        """Let the parts of a forward pass be timed."""


class Ours:
    """The product's model, called as its training and evaluation call it.

    Args:
        setting: of the benchmark.
        device: of the model.
    """

    def __init__(self, setting: Setting, device: torch.device) -> None:
        configure("auto")
        self.module = _gensr(setting).to(device, DTYPES[setting.precision])
        self.config = Config(model=setting.model, train=TRAINING)
        self.device = device
        if setting.compiled:
            self.module.backbone.compile_blocks()

    def ready(self, batch: Batch) -> ModelInput:
        """Prompts put together, padding left out, on the device."""
        return self.module.inputs(batch, training=self.module.training).to(self.device)

    def loss(self, ready: ModelInput) -> Tensor:
        """As training does on one rank."""
        return step_losses(self.module(ready), ready.batch, self.config, world=1).to_minimise(TRAINING)

    def score(self, ready: ModelInput) -> Tensor:
        """As `GenSR.score`."""
        return self.module(ready, "answers").yes_log_odds_GC.float().sigmoid().flatten()

    def watch(self, times: PartTimes) -> None:
        """Everything of the model that is in no part below is `other`."""
        model = self.module
        times.watch(model, "forward", "other")
        for history in (model.cf_history, model.semantic_history):
            times.watch(history, "forward", "history")
        for filter_ in (model.cf_filter, model.semantic_filter):
            times.watch(filter_, "forward", "filter")
        for near in (model.cf_match, model.semantic_match):
            times.watch(near, "forward", "history_match")
        for part in ("users", "items", "forward"):
            times.watch(model.match, part, "match")
        times.watch(model.term_match, "forward", "term_match")
        times.watch(model.backbone, "forward", "encoder")  # without the next two
        times.watch(model.backbone, "_decode", "decoder")
        times.watch(model.backbone.t5.lm_head, "forward", "head")
        times.watch(model, "_nll", "loss")


class Plain:
    """The plain way with the same weights.

    Args:
        setting: of the benchmark.
        device: of the model.
    """

    def __init__(self, setting: Setting, device: torch.device) -> None:
        torch.backends.mha.set_fastpath_enabled(False)  # no faster here, and torch cannot count its operations
        ours = _gensr(setting)
        self.module = PlainGenSR.of(ours).to(device, DTYPES[setting.precision])
        self.collator = PlainCollator(ours.shape.model.prompts, word_tokenizer(setting.vocabulary))
        self.answers = self.collator.answers.to(device)
        self.device = device

    def ready(self, batch: Batch) -> PlainRows:
        """The batch's rows on the device."""
        return self.collator(batch).to(self.device)

    def loss(self, ready: PlainRows) -> Tensor:
        """See `PlainGenSR.loss`."""
        return self.module.loss(
            ready,
            temperature=TRAINING.temperature,
            contrastive_weight=TRAINING.contrastive_weight,
            match_weight=TRAINING.match_weight,
        )

    def score(self, ready: PlainRows) -> Tensor:
        """See `PlainGenSR.score`."""
        return self.module.score(ready, self.answers)

    def watch(self, times: PartTimes) -> None:
        """Everything of the model that is in no part below is `other`; transformers' loss is among it."""
        model = self.module
        times.watch(model, "forward", "other")
        for history in (model.cf_history, model.semantic_history):
            times.watch(history, "forward", "history")
        for filter_ in (model.cf_filter, model.semantic_filter):
            times.watch(filter_, "forward", "filter")
        for near in (model.cf_match, model.semantic_match):
            times.watch(near, "forward", "history_match")
        times.watch(model.match, "forward", "match")
        times.watch(model.term_match, "forward", "term_match")
        times.watch(model.t5.encoder, "forward", "encoder")
        times.watch(model.t5.decoder, "forward", "decoder")
        times.watch(model.t5.lm_head, "forward", "head")


Pass = Callable[[Model, PartTimes, Any], None]


class Work:
    """One way's passes over its batches.

    Args:
        model: the way.
        once: what a pass does with a batch that is ready.
        shape: of the batches.
        rank: of this process.
    """

    def __init__(self, model: Model, once: Pass, shape: BatchShape, rank: Rank) -> None:
        self.model, self.once, self.rank = model, once, rank
        self.batches = [synthetic_batch(shape, seed) for seed in range(_BATCHES)]
        self.times = PartTimes(rank.device)
        model.watch(self.times)
        self.passes, self.taken = 1, 0

    def timed_pass(self) -> float:
        """Seconds of one pass; in the first, torch.compile and Triton compile."""
        began = time.perf_counter()
        self._pass()
        self.rank.wait()
        return time.perf_counter() - began

    def warm_up(self) -> int:
        """Find out how many passes make a round, and return it.

        On a GPU all batches are met twice before any is timed, for each new shape may compile and plan.
        """
        on_gpu = self.rank.device.type == "cuda"
        began = time.perf_counter()
        for _ in range(2 * _BATCHES):
            seconds = self.timed_pass()
            if not on_gpu and time.perf_counter() - began > _WARM_S:
                break
        self.passes = min(max(1, math.ceil(_ROUND_S / seconds)), _MOST_PASSES)
        self.times.seconds.clear()
        return self.passes

    def round(self) -> None:
        """A round's passes."""
        for _ in range(self.passes):
            self._pass()

    def shares(self) -> dict[str, float]:
        """Share of time by part, of all rounds; on a GPU of one more pass, which waits at every part's ends."""
        if not self.times.watching:
            self.times.watching = True
            self._pass()
            self.times.watching = False
        return self.times.shares()

    def limits(self) -> Limits:
        """What the device can do with the model's numbers. Takes memory of its own."""
        dtype = next(self.model.module.parameters()).dtype
        return Limits.measured(self.rank.device, dtype, self.rank.wait)

    def costs(self, limits: Limits) -> dict[str, Cost]:
        """What each part of a pass over the first batch costs."""
        self.taken = 0
        path = configured()
        if self.rank.device.type == "cuda":
            configure("torch")  # torch counts the operations of its own products only, and these are the same
        try:
            with torch.compiler.set_stance("force_eager"):  # what fused programs do, torch can't count
                return self.times.costs(self._pass, limits)
        finally:
            configure(path)

    def profile(self, folder: Path) -> list[str]:
        """Write a trace of one pass; returns the operations that took most of its time."""
        on_gpu = self.rank.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with profile(activities=activities) as profiler:
            self._pass()
            self.rank.wait()
        tensorboard_trace_handler(str(folder), worker_name="ours")(profiler)
        spent = {
            event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
            for event in profiler.key_averages()
            # On a GPU the time of a kernel also stands beside what started it.
            if not on_gpu or (event.device_type != DeviceType.CPU and not event.is_user_annotation)
        }
        whole = sum(spent.values())
        return [f"{name} {spent[name] / whole:.1%}" for name in sorted(spent, key=lambda name: -spent[name])[:_DEAREST]]

    def _pass(self) -> None:
        batch = self.batches[self.taken % len(self.batches)]
        self.taken += 1
        with self.times.part("data"):
            ready = self.model.ready(batch)
        self.once(self.model, self.times, ready)


def _gensr(setting: Setting) -> GenSR:
    torch.manual_seed(_SEED)
    tokenizer, idf_V = word_tokenizer(setting.vocabulary), synthetic_idf(setting.vocabulary)
    return GenSR.build(setting.model, tokenizer, CF_WIDTH, token_idf_V=idf_V)
