"""A step that was stopped because its loss or gradient was not finite, done again where it can be looked at.

Training leaves `RUN/not_finite`: `record.json`, the config, the weights before the update as a `save_pretrained`
folder, and the step's micro-batches of every rank. One process passes them through the model again, whatever the
number of ranks and the ZeRO stage were; dropout is a function of (seed, step, rank). Only losses that compare rows look
beyond a rank: the other ranks' micro-batches are passed through the model for them.

Dimensions as in `data/batches/batch.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gensr_dist.config.root import Config, load_config
from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.order import PADDING
from gensr_dist.model.gensr import GenSR, GenSROutput
from gensr_dist.model.precision import with_weights_in
from gensr_dist.runs.folder import RunFolder
from gensr_dist.storage.records import read_record
from gensr_dist.train.not_finite import CONFIG, MODEL, RECORD, REMEDY, NotFinite, load_batches, rows_of
from gensr_dist.train.objective import LossValues, compares_rows, joint_losses, seed_dropout


@dataclass(frozen=True, kw_only=True)
class FirstNotFinite:
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
    gradient_norm: str  # of this micro-batch alone, before clipping and averaging
    same_losses: bool  # as training recorded them, to the last bit
    origin: FirstNotFinite | None  # None: everything was finite this time

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


def replay(run: RunFolder) -> Replay:
    """Do the recorded micro-batch again; where the record names none, all of its step, up to the first that fails.

    It is done on the CPU, with torch's operations: dropout is that of the training only where it trained on one, too.

    Raises:
        InputError: the run was not stopped for this reason, or the record is not whole.
    """
    folder = run.not_finite
    record = read_record(folder / RECORD, NotFinite, "a step that was not finite", missing=REMEDY, wrong=REMEDY)
    config = replace(load_config(folder / CONFIG, done=True), kernels="torch")
    player = Player(config, folder, record.step, record.ranks, torch.device("cpu"))
    if record.rank is not None and record.micro_batch is not None:
        micro_batches = [(record.rank, record.micro_batch)]
    else:
        micro_batches = [(rank, number) for number in range(len(player.batches[0])) for rank in range(record.ranks)]
    for rank, number in micro_batches:
        replayed = player.play(rank, number)
        if replayed.origin is not None:
            break
    same = all(getattr(replayed, loss.name) == getattr(record, loss.name) for loss in fields(LossValues))
    return replace(replayed, same_losses=same)


class Player:
    """Passes the micro-batches of a step through a model that DeepSpeed knows nothing of.

    Args:
        config: of the run.
        folder: holds the micro-batches of each rank, and the weights before the step.
        step: of the run, the first is 1.
        ranks: that trained.
        device: that computes.

    Raises:
        InputError: micro-batches or model cannot be read, or the configured kernels cannot run here.
    """

    def __init__(self, config: Config, folder: Path, step: int, ranks: int, device: torch.device) -> None:
        self.config, self.step, self.device = config, step, device
        self.batches = [load_batches(folder, rank) for rank in range(ranks)]
        model = GenSR.from_pretrained(folder / MODEL)
        if config.train.precision == "bf16":
            model = with_weights_in(model, torch.bfloat16)
        self.model = model.use_kernels(config.kernels).to(device).train()

    def play(self, rank: int, micro_batch: int) -> Replay:
        """One micro-batch of a rank, forward and backward; micro-batches count from 0."""
        seen: dict[int, tuple[Batch, GenSROutput]] = {}
        if compares_rows(self.config):
            with torch.no_grad():
                seen = {other: self._pass(other, micro_batch) for other in range(len(self.batches)) if other != rank}
        watch = _Watch()
        self.model.zero_grad(set_to_none=True)
        for name, parameter in self.model.named_parameters():
            watch.look("weight", name, parameter)
        batch, output = seen[rank] = self._pass(rank, micro_batch, watch)
        order = sorted(seen)
        losses = joint_losses([seen[r] for r in order], order.index(rank), self.config, len(self.batches))
        shown = {field.name: getattr(losses, field.name) for field in fields(LossValues)}
        for name, loss in shown.items():
            watch.look("loss", name, loss)
        # A loss may be infinite and its gradient finite: the pass goes on, the first finding stays.
        losses.to_minimise(self.config.train).backward()
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        for name, gradient in gradients.items():
            watch.look("gradient of a weight", name, gradient)
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.float()) for g in gradients.values()]))
        watch.look("gradient norm", "all weights", norm)
        bad_G = ~output.nll_GC.isfinite().all(1) & (batch.row_G != PADDING)
        return Replay(
            step=self.step,
            rank=rank,
            micro_batch=micro_batch,
            rows=rows_of(batch),
            bad_rows=tuple(batch.row_G[bad_G].tolist()),
            gradient_norm=repr(norm.item()),
            same_losses=False,
            origin=watch.first,
            **{name: repr(loss.item()) for name, loss in shown.items()},
        )

    def _pass(self, rank: int, micro_batch: int, watch: "_Watch | None" = None) -> tuple[Batch, GenSROutput]:
        """The forward pass of a micro-batch, after those before it, whose dropout came first."""
        seed_dropout(self.config.seed, self.step - 1, rank)
        likelihood = self.config.train.likelihood
        *earlier, inputs = [
            self.model.inputs(batch, training=True).to(self.device) for batch in self.batches[rank][: micro_batch + 1]
        ]
        with torch.no_grad():
            for each in earlier:
                self.model(each, likelihood)
        if watch is None:
            return inputs.batch, self.model(inputs, likelihood)
        watch.look("input", "cf_UE", inputs.batch.cf_UE)
        with watch.outputs(self.model):
            return inputs.batch, self.model(inputs, likelihood)


class _Watch:
    """Remembers the first tensor that was not finite."""

    def __init__(self) -> None:
        self.first: FirstNotFinite | None = None

    def look(self, kind: Any, name: str, tensor: Tensor) -> None:
        """Look at a tensor of the pass."""
        if self.first is None and tensor.is_floating_point() and (bad := int((~tensor.detach().isfinite()).sum())):
            shape, elements = tuple(tensor.shape), tensor.numel()
            self.first = FirstNotFinite(kind=kind, name=name, shape=shape, not_finite=bad, elements=elements)

    @contextmanager
    def outputs(self, model: nn.Module) -> Iterator[None]:
        """Look at every module's output when it is computed, and at its gradient in the backward pass."""
        modules = [(name or type(module).__name__, module) for name, module in model.named_modules()]
        handles = [module.register_forward_hook(partial(self._seen, name)) for name, module in modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _seen(self, name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        for tensor in _tensors(output):
            self.look("output", name, tensor)
            if tensor.requires_grad:
                tensor.register_hook(partial(self.look, "gradient of an output", name))


def _tensors(value: Any) -> list[Tensor]:
    """All tensors of what a module returns."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        value = vars(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]
