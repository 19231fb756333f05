"""What a training leaves of a step whose loss or gradient is not finite, in `RUN/not_finite`, for `gensr replay`.

`record.json`, the config, the weights before the update as a `save_pretrained` folder, and the step's micro-batches of
every rank.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.order import PADDING
from gensr_dist.errors import InputError
from gensr_dist.storage.durable import durable_file
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.objective import LossValues

RECORD = "record.json"
MODEL = "model"
CONFIG = "config.yaml"
REMEDY = "replay a run that stopped because its loss or gradient was not finite"
_SHOWN_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class NotFinite:
    """`RUN/not_finite/record.json`: what was not finite, and where."""

    what: Literal["loss", "gradient"]
    step: int  # as the log counts: the first step is 1, and `step - 1` updates came before it
    ranks: int
    seed: int
    rows: tuple[int, ...]  # global training rows of the micro-batch, or of the whole step
    rank: int | None = None  # whose micro-batch it was; None if no rank's own gradient has it
    micro_batch: int | None = None  # of the step's, from 0
    task: str = ""  # losses of that micro-batch: `nan` and `inf` are no JSON
    contrastive: str = ""
    match: str = ""

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

    def of_micro_batch(self, rank: int, micro_batch: int, batch: Batch, losses: LossValues) -> "NotFinite":
        """The same of a micro-batch and its losses."""
        shown: dict[str, Any] = {name: repr(loss) for name, loss in vars(losses).items()}
        return replace(self, rank=rank, micro_batch=micro_batch, rows=rows_of(batch), **shown)

    def first_of(self, found: Sequence["NotFinite | None"]) -> "NotFinite":
        """The first of the micro-batches that the ranks found; the whole step where they found none.

        A loss that compares rows is every rank's: the rank whose own rows are at fault has a bad task loss, too.
        """
        bad = [each for each in found if each is not None]
        return min(bad, key=lambda each: (each.micro_batch, math.isfinite(float(each.task)), each.rank), default=self)


def save_batches(folder: Path, rank: int, batches: Sequence[Batch]) -> None:
    """Keep a rank's micro-batches of a step; its file is there as a whole or not at all."""
    tensors = {}
    for number, batch in enumerate(batches):
        for field in fields(Batch):
            # A loader's batches share memory, which safetensors does not write.
            tensors[f"{number}.{field.name}"] = torch.as_tensor(getattr(batch, field.name)).clone().contiguous()
    with durable_file(_batches_file(folder, rank)) as temporary:
        save_file(tensors, temporary)


def load_batches(folder: Path, rank: int) -> list[Batch]:
    """What `save_batches` kept.

    Raises:
        InputError: the file is missing, damaged or of another version.
    """
    file = _batches_file(folder, rank)
    try:
        tensors: dict[str, Any] = load_file(file)
        count = 1 + max(int(name.split(".")[0]) for name in tensors)
        found = [{field.name: tensors[f"{number}.{field.name}"] for field in fields(Batch)} for number in range(count)]
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise InputError(file, f"not the micro-batches of a rank ({error})", REMEDY) from None
    return [Batch(**{**batch, "step_groups": int(batch["step_groups"])}) for batch in found]


def rows_of(batch: Batch) -> tuple[int, ...]:
    """Its training rows."""
    return tuple(batch.row_G[batch.row_G != PADDING].tolist())


def _batches_file(folder: Path, rank: int) -> Path:
    return folder / f"rank_{rank:05d}.safetensors"
