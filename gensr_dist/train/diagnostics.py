"""What a step says of each task apart: loss, log-odds of positives and negatives, gradient at the answers; and MFU.

Dimensions: G groups, C candidates, K tasks, S statistics.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gensr_dist.data.batches.batch import IGNORED, Batch
from gensr_dist.data.events import Behaviour
from gensr_dist.model.gensr import GenSROutput
from gensr_dist.model.inputs import ModelInput
from gensr_dist.model.t5_modules import T5

# Dense bf16 FLOP/s of a whole GPU, from the vendor's data sheets, by a part of its name.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A10": 125e12, "4090": 165e12}


@dataclass(frozen=True, kw_only=True)
class TaskDiagnosis:
    """Means over the prompts of one task since the last reading, over all ranks."""

    loss: float  # -log P(answer) of a prompt (eq. 9)
    positive_log_odds: float  # log P(Yes) - log P(No) where Yes is right
    negative_log_odds: float  # where No is right
    # Euclidean norm of P(Yes) - label over the prompts, by the root of their number: the part of the gradient that
    # this task sends into the model, before any layer.
    answer_gradient: float


@dataclass(frozen=True, kw_only=True)
class T5Work:
    """How much T5 did since the last reading, on all ranks."""

    encoded: int  # tokens
    decoded: int  # prompts: the decoder sees one position of each


class Diagnostics:
    """Adds up what micro-batches say, without waiting for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._begin()

    def _begin(self) -> None:
        self._sum_KS = torch.zeros(len(Behaviour), 7, dtype=torch.float64, device=self.device)
        self._tokens = 0

    def see(self, output: GenSROutput, inputs: ModelInput) -> None:
        """Count a micro-batch."""
        self._sum_KS += task_sums(output, inputs.batch)
        layout = inputs.layout
        self._tokens += layout.own.tokens + (layout.contexts.tokens if layout.contexts is not None else 0)

    def read(self) -> tuple[Mapping[Behaviour, TaskDiagnosis], T5Work]:
        """What all ranks saw since the last reading, and what T5 did for it. Every rank must call it."""
        sums_X = torch.cat([self._sum_KS.flatten(), self._sum_KS.new_tensor([float(self._tokens)])])
        dist.all_reduce(sums_X)
        *values, tokens = sums_X.tolist()
        self._begin()
        width = self._sum_KS.shape[1]
        tasks, decoded = {}, 0.0
        for place, task in enumerate(Behaviour):
            loss, prompts, yes, positives, no, negatives, squares = values[place * width : (place + 1) * width]
            decoded += prompts
            if prompts:
                tasks[task] = TaskDiagnosis(
                    loss=loss / prompts,
                    positive_log_odds=yes / max(positives, 1.0),
                    negative_log_odds=no / max(negatives, 1.0),
                    answer_gradient=(squares / prompts) ** 0.5,
                )
        return tasks, T5Work(encoded=int(tokens), decoded=int(decoded))


def task_sums(output: GenSROutput, batch: Batch) -> Tensor:
    """Sums over the prompts of each task, float64 [K, 7]: loss, prompts, log-odds and number of positives and of
    negatives, squares of P(Yes) - label.
    """
    log_odds_GC = output.yes_log_odds_GC.detach().double()
    yes_GC, no_GC = batch.label_GC == 1, batch.label_GC == 0
    error_GC = torch.where(batch.label_GC != IGNORED, log_odds_GC.sigmoid() - yes_GC.double(), 0.0)
    nothing = log_odds_GC.new_zeros(())
    statistic_GS = torch.stack(
        [
            output.nll_GC.detach().double().sum(1),
            (yes_GC | no_GC).double().sum(1),
            torch.where(yes_GC, log_odds_GC, nothing).sum(1),
            yes_GC.double().sum(1),
            torch.where(no_GC, log_odds_GC, nothing).sum(1),
            no_GC.double().sum(1),
            error_GC.square().sum(1),
        ],
        dim=1,
    )
    sum_KS = statistic_GS.new_zeros(len(Behaviour), statistic_GS.shape[1])
    return sum_KS.index_add(0, batch.task_G, statistic_GS)


def t5_flops(t5: T5, work: T5Work) -> int:
    """Operations of T5's blocks, forward and backward: 6 a weight and position that it sees; none of the head."""
    return 6 * (_weights(t5.encoder.block) * work.encoded + _weights(t5.decoder.block) * work.decoded)


def _weights(blocks: Any) -> int:
    """Of all ranks, where they are sharded."""
    return sum(getattr(weight, "ds_numel", weight.numel()) for weight in blocks.parameters())


def flops_utilisation(flops: int, seconds: float, devices: int, name: str) -> float | None:
    """Share of GPUs' bf16 operations (MFU).

    Args:
        flops: operations of all ranks.
        seconds: for them.
        devices: ranks.
        name: of the GPU.

    Returns:
        None for a device whose peak is not known, as a CPU's.
    """
    # A letter more is another GPU: an A10G is no A10.
    peak = next((most for part, most in PEAK_FLOPS.items() if re.search(rf"{part}(?![0-9A-Z])", name)), None)
    return flops / (seconds * devices * peak) if peak and seconds else None
