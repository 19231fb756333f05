"""What `gensr bench step` and `score` compute: passes of ours and of the reference, same weights, same batches."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, tensorboard_trace_handler
from torch.utils.benchmark import Timer

from gensr_dist.bench.interleaved import Worker
from gensr_dist.bench.parts import PartTimes
from gensr_dist.bench.reference import ReferenceGenSR
from gensr_dist.bench.reference_rows import ReferenceCollator
from gensr_dist.bench.synthetic import CF_WIDTH, BatchShape, Lengths, synthetic_batch, synthetic_idf, word_tokenizer
from gensr_dist.config.root import Config
from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.tensors import map_tensors
from gensr_dist.model.config import ModelConfig
from gensr_dist.model.gensr import GenSR
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.objective import step_losses

BACKBONES = {"nano": "nano", "mini": "mini", "small": "small", "flan-t5-small": "small", "flan-t5-base": "base"}
VOCABULARY = 32_128  # of flan-t5
TRAINING = TrainConfig()  # weights of the losses
_BATCHES = 5  # distinct ones, used in turn
_ROUND_S = 2.0  # a round of fast passes has several of them
_MOST_PASSES = 100
_WARM_S = 5.0  # on a CPU: a slow pass is its own warm-up
_TOP = 10  # operations of a profile
_PRODUCTS = 20  # of large matrices, whose fastest says what the device can do
_LEARNING_RATE = 1e-4
_CLIP = 1.0
_SEED = 0

Precision = Literal["fp32", "bf16"]
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}  # of all weights


@dataclass(frozen=True, kw_only=True)
class SpeedSetting:
    """What both variants compute."""

    backbone: str  # key of BACKBONES
    history: Literal["tokens", "pooled"]
    lengths: Lengths  # of histories and titles: as in a log, or full
    groups: int  # a batch
    our_groups: int  # a batch of ours
    candidates: int  # a group
    precision: Precision
    compiled: bool  # ours, by torch.compile; its operations are those before fusion
    vocabulary: int = VOCABULARY

    @property
    def model(self) -> ModelConfig:
        """Settings of the model: the defaults otherwise."""
        return ModelConfig(backbone=BACKBONES[self.backbone], scoring="shared", semantic_history=self.history)

    def shape(self, groups: int) -> BatchShape:
        """Of a batch of so many groups."""
        return BatchShape(groups=groups, candidates=self.candidates, vocabulary=self.vocabulary, lengths=self.lengths)


@dataclass
class Contender:
    """A way of computing GenSR; `loss` and `score` take what `ready` makes of a batch on the device."""

    module: nn.Module
    ready: Callable[[Batch], Any]
    loss: Callable[[Any], Tensor]  # what a step minimises: L of eq. 8 and the towers' loss
    score: Callable[[Any], Tensor]  # of every candidate [B]
    parts: list[tuple[str, Any, str]]  # of a forward pass: name, and the object's method that it is
    tokens: Callable[[Any], int] = lambda _: 0  # contexts, blocks, and the history's title tokens or items


def our_model(setting: SpeedSetting, device: torch.device) -> Contender:
    """The product's model, called as its training and evaluation call it."""
    model = _gensr(setting).to(device, _DTYPES[setting.precision])
    config = Config(model=setting.model, train=TRAINING)
    if setting.compiled:
        model.backbone.compile_blocks()
    return Contender(
        module=model,
        ready=lambda batch: model.inputs(batch, training=model.training).to(device),
        loss=lambda ready: step_losses(model(ready), ready.batch, config, world=1).to_minimise(TRAINING),
        score=lambda ready: model(ready, "answers").yes_log_odds_GC.float().sigmoid().flatten(),
        parts=[
            *_common_parts(model),
            *(("match", model.match, method) for method in ("users", "items", "forward")),
            ("encoder", model.backbone, "forward"),  # without the next two
            ("decoder", model.backbone, "_decode"),
            ("head", model.backbone.t5.lm_head, "forward"),
            ("loss", model, "_nll"),
        ],
        tokens=lambda ready: sum(
            packing.tokens for packing in (ready.layout.contexts, ready.layout.own, ready.semantic_history.packing)
        ),
    )


def reference_model(setting: SpeedSetting, device: torch.device) -> Contender:
    """The reference with the same weights; transformers' loss is in no part of its own."""
    source = _gensr(setting)
    model = ReferenceGenSR(source).to(device, _DTYPES[setting.precision])
    collate = ReferenceCollator(source.shape.model.prompts, word_tokenizer(setting.vocabulary))
    no_yes = collate.answers.to(device)

    def score(ready: Any) -> Tensor:
        with _countable_attention():
            return model.score(ready, no_yes)

    return Contender(
        module=model,
        ready=lambda batch: map_tensors(collate(batch), lambda tensor: tensor.to(device)),
        loss=lambda ready: model.loss(ready, TRAINING),
        score=score,
        parts=[
            *_common_parts(model),
            ("match", model.match, "forward"),
            ("encoder", model.t5.encoder, "forward"),
            ("decoder", model.t5.decoder, "forward"),
            ("head", model.t5.lm_head, "forward"),
        ],
    )


class Workload:
    """One variant's passes over its batches: steps of AdamW on all parameters, or scores on the host.

    Args:
        model: the variant.
        training: whether a pass is a training step.
        shape: of the batches.
        worker: this process.
    """

    def __init__(self, model: Contender, training: bool, shape: BatchShape, worker: Worker) -> None:
        self.model, self.worker = model, worker
        model.module.train(training)
        self.parameters = list(model.module.parameters())
        # In one pass over the weights, as `train.engine` has it.
        self.optimizer = torch.optim.AdamW(self.parameters, lr=_LEARNING_RATE, fused=True) if training else None
        self.batches = [synthetic_batch(shape, seed) for seed in range(_BATCHES)]
        self.times = PartTimes(worker.device)
        for name, owner, method in model.parts:
            self.times.watch(owner, method, name)
        self.passes, self.taken = 1, 0

    def timed_pass(self) -> float:
        """Seconds of one pass; in the first, torch.compile and Triton compile."""
        began = time.perf_counter()
        self._pass()
        self.worker.wait()
        return time.perf_counter() - began

    def warm_up(self) -> int:
        """Find out how many passes make a round, and return it.

        On a GPU all batches are seen twice before any is timed, for each new shape may compile and plan.
        """
        began = time.perf_counter()
        for _ in range(2 * _BATCHES):
            seconds = self.timed_pass()
            if self.worker.device.type != "cuda" and time.perf_counter() - began > _WARM_S:
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

    def operations(self) -> dict[str, float]:
        """How many floating-point operations each part of a pass over the first batch has."""
        self.taken, model = 0, self.model.module
        if isinstance(model, GenSR):
            model.use_kernels("torch")  # torch counts those of its own products only, and these are the same
        try:
            with torch.compiler.set_stance("force_eager"):  # what fused programs do, torch can't count
                return self.times.operations(self._pass)
        finally:
            if isinstance(model, GenSR):
                model.use_kernels("auto")

    def peak_flops(self) -> float:
        """Operations a second of a product of large square matrices with the model's numbers. Takes memory."""
        device, dtype = self.worker.device, self.parameters[0].dtype
        size = 8_192 if device.type == "cuda" else 2_048
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
        return 2 * size**3 / min(timer.timeit(1).mean for _ in range(_PRODUCTS))

    def facts(self) -> tuple[int, int, str]:
        """Weights of the model, tokens of the first batch, name of the device."""
        device = self.worker.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        weights = sum(parameter.numel() for parameter in self.parameters)
        return weights, self.model.tokens(self.model.ready(self.batches[0])), name

    def profile(self, folder: Path) -> list[str]:
        """Write a trace of one pass; returns the operations that took most of its time."""
        on_gpu = self.worker.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with profile(activities=activities) as profiler:
            self._pass()
            self.worker.wait()
        tensorboard_trace_handler(str(folder), worker_name="ours")(profiler)
        spent = {
            event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
            for event in profiler.key_averages()
            # On a GPU the time of a kernel also stands beside what started it.
            if not on_gpu or (event.device_type != DeviceType.CPU and not event.is_user_annotation)
        }
        whole = sum(spent.values())
        return [f"{name} {spent[name] / whole:.1%}" for name in sorted(spent, key=lambda name: -spent[name])[:_TOP]]

    def _pass(self) -> None:
        batch = self.batches[self.taken % len(self.batches)]
        self.taken += 1
        with self.times.part("data"):
            ready = self.model.ready(batch)
        if self.optimizer is None:
            with torch.no_grad(), self.times.part("other"):
                self.model.score(ready).cpu()
            return
        with self.times.part("loss"):
            loss = self.model.loss(ready)
        with self.times.part("backward"):
            loss.backward()
        with self.times.part("optimizer"):
            nn.utils.clip_grad_norm_(self.parameters, _CLIP)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)


def _gensr(setting: SpeedSetting) -> GenSR:
    torch.manual_seed(_SEED)
    tokenizer, idf_V = word_tokenizer(setting.vocabulary), synthetic_idf(setting.vocabulary)
    return GenSR.build(setting.model, tokenizer, CF_WIDTH, token_idf_V=idf_V).use_kernels("auto")


def _common_parts(model: GenSR | ReferenceGenSR) -> Iterator[tuple[str, Any, str]]:
    """What both variants have; everything of the model that is in no part is `other`."""
    yield "other", model, "forward"
    yield "term_match", model.term_match, "forward"
    for name in ("history", "filter", "match"):
        for view in ("cf", "semantic"):
            yield "history_match" if name == "match" else name, getattr(model, f"{view}_{name}"), "forward"


@contextmanager
def _countable_attention() -> Iterator[None]:
    """Without the fast path of torch's encoder layer: it is no faster here, and torch can't count its operations."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
