"""A step that was stopped because its loss or gradient was not finite, done again where it can be looked at.

Training leaves `RUN/not_finite`: `record.json`, the weights before the update as a `save_pretrained` folder, and the
config. A micro-batch, its negatives and its dropout are functions of (seed, step, rank), so these rebuild it exactly,
in one process, whatever the number of ranks and the ZeRO stage were. Only losses that compare rows look beyond a
rank: the other ranks' micro-batches are passed through the model for them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gensr_dist.config.root import Config, load_config
from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.dealing import DealtOrder
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import PADDING, SampleOrder
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.graph.vectors import load_cf
from gensr_dist.kernels.dispatch import configure
from gensr_dist.model.gensr import GenSR, GenSROutput
from gensr_dist.model.inputs import ModelInput
from gensr_dist.run.folder import RunFolder
from gensr_dist.storage.records import read_json
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.negatives import training_negatives
from gensr_dist.train.objective import LossValues, compares_rows, joint_losses, seed_dropout

RECORD = "record.json"
MODEL = "model"
CONFIG = "config.yaml"
_SHOWN_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class NotFinite:
    """`RUN/not_finite/record.json`: what was not finite, and where."""

    what: Literal["loss", "gradient"]
    step: int  # as the log counts: the first step is 1, and `step - 1` updates came before it
    ranks: int
    rank: int | None  # whose micro-batch it was; None if no rank's own gradient has it
    micro_batch: int | None  # of the step's, from 0
    rows: tuple[int, ...]  # global training rows of that micro-batch, or of the whole step
    task: str  # losses of that micro-batch: `nan` and `inf` are no JSON
    contrastive: str
    match: str
    seed: int

    def sentence(self) -> str:
        """What happened, for people."""
        where = "no rank's own gradient" if self.rank is None else f"rank {self.rank}, micro-batch {self.micro_batch}"
        shown = ", ".join(map(str, self.rows[:_SHOWN_ROWS])) + (", ..." if len(self.rows) > _SHOWN_ROWS else "")
        return f"the {self.what} is not finite at step {self.step} ({where}, rows {shown}); nothing was updated"

    def remedy(self, run: Path, settings: TrainConfig) -> str:
        """What to do."""
        return (
            f"`gensr replay {run}` shows where it began; lower train.learning_rate ({settings.learning_rate:g}) "
            f"or raise train.warmup_steps ({settings.warmup_steps})"
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The first tensor of a pass, in the order of computation, that was not finite."""

    kind: Literal["weight", "input", "output", "loss", "gradient of an output", "gradient of a weight", "gradient norm"]
    name: str  # of the weight, batch field, module or loss
    shape: tuple[int, ...]
    not_finite: int  # elements
    elements: int


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a replayed micro-batch did."""

    step: int
    rank: int
    micro_batch: int
    rows: tuple[int, ...]
    bad_rows: tuple[int, ...]  # of them, those whose own likelihood is not finite
    task: str
    contrastive: str
    match: str
    gradient_norm: str  # of this micro-batch alone, before clipping and averaging; empty if there was no backward pass
    same_losses: bool  # as training recorded them, to the last bit
    origin: Origin | None  # None: everything was finite this time

    def lines(self) -> tuple[str, ...]:
        """For people."""
        done = (
            f"step {self.step}, rank {self.rank}, micro-batch {self.micro_batch}, {len(self.rows)} rows: "
            f"losses of task {self.task}, contrast {self.contrastive}, match {self.match}"
        )
        if self.origin is None:
            return (done, "everything was finite this time")
        origin = self.origin
        bad = f"{origin.not_finite:,} of {origin.elements:,} elements"
        return (done, f"first not finite: {origin.kind} {origin.name} {list(origin.shape)}, {bad}")


def replay(run: RunFolder, device: torch.device | str = "cpu") -> Replay:
    """Do the recorded micro-batch again; where the record names none, all of its step, up to the first that fails.

    Args:
        run: folder of the stopped run.
        device: of the same kind as the training's, for the same dropout.

    Raises:
        InputError: the run was not stopped for this reason, or the record is not whole.
    """
    folder = run.not_finite
    remedy = "replay a run that stopped because its loss or gradient was not finite"
    try:
        record = TypeAdapter(NotFinite).validate_python(read_json(folder / RECORD, remedy))
    except ValidationError as error:
        raise InputError(folder / RECORD, f"not such a record ({error.errors()[0]['msg']})", remedy) from None
    config = load_config(folder / CONFIG, done=True)
    player = Player.open(config, run, record.ranks, folder / MODEL, device)
    places = [(record.rank, record.micro_batch)]
    if record.rank is None or record.micro_batch is None:
        micro_batches = player.micro_batches(record.step - 1)
        places = [(rank, micro) for micro in range(micro_batches) for rank in range(record.ranks)]
    for rank, micro_batch in places:
        assert rank is not None
        assert micro_batch is not None
        replayed = player.play(record.step - 1, rank, micro_batch)
        if replayed.origin is not None:
            break
    same = all(getattr(replayed, loss.name) == getattr(record, loss.name) for loss in fields(LossValues))
    return Replay(**{**vars(replayed), "same_losses": same})


def not_finite_record(
    what: Literal["loss", "gradient"],
    step: int,
    seed: int,
    order: DealtOrder,
    found: Sequence[Sequence[float]],
) -> NotFinite:
    """The record of a stopped step.

    Args:
        what: was not finite.
        step: from 0.
        seed: of the run.
        order: of its rows, as the ranks shared them.
        found: of each rank, its first bad micro-batch with its losses; NaN where it has none.
    """
    # A loss that compares rows is every rank's: the rank whose own rows are at fault has a bad task loss, too.
    bad = [(micro, math.isfinite(task), rank) for rank, (micro, task, *_) in enumerate(found) if micro == micro]
    if not bad:
        whole = {"rank": None, "micro_batch": None, "task": "", "contrastive": "", "match": ""}
        rows = tuple(order.order.rows_of_step(step).tolist())
        return NotFinite(what=what, step=step + 1, ranks=len(found), rows=rows, seed=seed, **whole)  # type: ignore[arg-type]
    micro, _, rank = min(bad)
    rows_G = order.rows_of_step(step, len(found))[int(micro)][rank]
    return NotFinite(
        what=what,
        step=step + 1,
        ranks=len(found),
        rank=rank,
        micro_batch=int(micro),
        rows=tuple(rows_G[rows_G != PADDING].tolist()),
        task=repr(found[rank][1]),
        contrastive=repr(found[rank][2]),
        match=repr(found[rank][3]),
        seed=seed,
    )


def first_bad_gradient(
    config: Config, run: RunFolder, ranks: Ranks, model: Path, step: int, beat: Callable[[str], None]
) -> int | None:
    """The first micro-batch of a step whose gradient on this rank is not finite. No rank waits for another.

    Args:
        config: of the run.
        run: its folder.
        ranks: this process among the others.
        model: folder of the weights before the step.
        step: from 0.
        beat: of the watchdog, told of each micro-batch.
    """
    player = Player.open(config, run, ranks.world, model, ranks.device)
    for micro_batch in range(player.micro_batches(step)):
        beat(f"the replay of micro-batch {micro_batch} of step {step + 1}")
        if player.play(step, ranks.rank, micro_batch).origin is not None:
            return micro_batch
    return None


class Player:
    """Passes micro-batches of a run through a model that DeepSpeed knows nothing of.

    Args:
        config: of the run.
        model: with the weights before the step, in the precision of the run, on `device`.
        loaders: of each rank.
        device: of the model.
    """

    def __init__(self, config: Config, model: GenSR, loaders: list[TrainingLoader], device: torch.device | str) -> None:
        self.config = config
        self.model = model
        self.loaders = loaders
        self.device = device

    @classmethod
    def open(cls, config: Config, run: RunFolder, ranks: int, model: Path, device: torch.device | str) -> "Player":
        """The player of a run with so many ranks, and the model of a folder.

        Raises:
            InputError: shards, CF vectors or model cannot be read, or the configured kernels cannot run here.
        """
        configure(config.kernels)
        store = TimelineStore.open(
            run.shards, shuffle_shards=config.data.shuffle_shards, on_corrupt=config.data.on_corrupt
        )
        items = ItemStore.open(run.shards)
        vectors, _ = load_cf(run.cf, folds=True)
        collator = Collator(store, items, vectors, config.data.history)
        loaders = [
            TrainingLoader(
                collator,
                SampleOrder(store.window_rows, config.train.batch, config.seed),
                seed=config.seed,
                negatives=training_negatives(config.data, run, items),
                rank=rank,
                world=ranks,
                micro_tokens=config.train.micro_tokens,
                workers=0,
            )
            for rank in range(ranks)
        ]
        plain = GenSR.from_pretrained(model)
        if config.train.precision == "bf16":
            token_idf_V = plain.token_idf_V
            plain = plain.bfloat16()
            plain.token_idf_V = token_idf_V  # DeepSpeed leaves buffers as they are
        return cls(config, plain.to(device).train(), loaders, device)

    def micro_batches(self, step: int) -> int:
        """How many a step has; steps count from 0."""
        return len(self.loaders[0].dealt.rows_of_step(step, len(self.loaders)))

    def play(self, step: int, rank: int, micro_batch: int) -> Replay:
        """One micro-batch, forward and backward.

        Args:
            step: from 0.
            rank: whose micro-batch.
            micro_batch: of the step's, from 0.
        """
        others = [r for r in range(len(self.loaders)) if r != rank] if compares_rows(self.config) else []
        with torch.no_grad():
            seen = {other: self._pass(step, other, micro_batch) for other in others}
        self.model.zero_grad(set_to_none=True)
        watch = _Watch()
        watch.weights(self.model)
        with watch.outputs(self.model):
            seen[rank] = self._pass(step, rank, micro_batch, watch)
            order = sorted(seen)
            losses = joint_losses([seen[r] for r in order], order.index(rank), self.config, len(self.loaders))
            watch.look("loss", "task", losses.task)
            watch.look("loss", "contrastive", losses.contrastive)
            watch.look("loss", "match", losses.match)
            # A loss may be infinite and its gradient finite: the pass goes on, the first finding stays.
            losses.to_minimise(self.config.train).backward()
        norm = watch.gradients(self.model)
        batch, output = seen[rank]
        real_G = batch.row_G != PADDING
        bad_G = ~output.nll_GC.isfinite().all(1) & real_G
        return Replay(
            step=step + 1,
            rank=rank,
            micro_batch=micro_batch,
            rows=tuple(batch.row_G[real_G].tolist()),
            bad_rows=tuple(batch.row_G[bad_G].tolist()),
            task=repr(losses.task.item()),
            contrastive=repr(losses.contrastive.item()),
            match=repr(losses.match.item()),
            gradient_norm=repr(norm),
            same_losses=False,
            origin=watch.first,
        )

    def _pass(self, step: int, rank: int, micro_batch: int, watch: "_Watch | None" = None) -> tuple[Batch, GenSROutput]:
        """The forward pass of a micro-batch, after those before it, whose dropout came first."""
        seed_dropout(self.config.seed, step, rank)
        before = self.loaders[rank].batches_of_step(step)[: micro_batch + 1]
        *earlier, inputs = [self.model.inputs(batch, training=True).to(self.device) for batch in before]
        for each in earlier:
            with torch.no_grad(), watch.paused() if watch else nullcontext():
                self._answer(each)
        if watch is not None:
            watch.look("input", "cf_UE", inputs.batch.cf_UE)
        return inputs.batch, self._answer(inputs)

    def _answer(self, inputs: ModelInput) -> GenSROutput:
        return self.model(inputs, self.config.train.likelihood)


class _Watch:
    """Remembers the first tensor that was not finite."""

    def __init__(self) -> None:
        self.first: Origin | None = None
        self._paused = False

    def look(self, kind: Any, name: str, tensor: Tensor) -> None:
        """Look at a tensor of the pass."""
        if self.first is None and not self._paused and tensor.is_floating_point():
            bad = int((~tensor.detach().isfinite()).sum())
            if bad:
                self.first = Origin(
                    kind=kind, name=name, shape=tuple(tensor.shape), not_finite=bad, elements=tensor.numel()
                )

    def weights(self, model: nn.Module) -> None:
        """Look at all weights."""
        for name, parameter in model.named_parameters():
            self.look("weight", name, parameter)

    @contextmanager
    def outputs(self, model: nn.Module) -> Iterator[None]:
        """Look at every module's output when it is computed, and at its gradient in the backward pass."""
        handles: list[RemovableHandle] = []
        for name, module in model.named_modules():
            handles.append(module.register_forward_hook(self._hook(name or type(module).__name__)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Look at nothing."""
        self._paused = True
        try:
            yield
        finally:
            self._paused = False

    def gradients(self, model: nn.Module) -> float:
        """Look at the gradients of all weights; returns the norm of them all."""
        squares = []
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                self.look("gradient of a weight", name, parameter.grad)
                squares.append(torch.linalg.vector_norm(parameter.grad.float()))
        norm = torch.linalg.vector_norm(torch.stack(squares)) if squares else torch.zeros(())
        self.look("gradient norm", "all weights", norm)
        return float(norm)

    def _hook(self, name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            for tensor in _tensors(output):
                self.look("output", name, tensor)
                if tensor.requires_grad and not self._paused:
                    tensor.register_hook(lambda gradient: self.look("gradient of an output", name, gradient))

        return hook


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif is_dataclass(value):
        yield from _tensors([getattr(value, field.name) for field in fields(value)])
