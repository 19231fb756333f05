"""SASRec (Kang and McAuley 2018, arXiv 1808.09781), eq. 1 to 6.

x_l = drop(e_l + p_l), two causal transformer blocks, score of an item = x_L . e_i; binary cross entropy with one
negative a position. Blocks are those of the form that S3-Rec published figures of on Amazon Beauty: layer norm behind
each residual, GELU in a feed-forward network of 4 D without dropout within, items not scaled by sqrt(D), weights from
N(0, 0.02). `norm` "query" gives the first form, whose queries alone are normalised, with dropout within the
feed-forward network.

Deviation: positions count from the oldest item that is read, where both programs pad on the left, so that the newest
item always has the last position: a place of a training sequence is then exactly what it is as a row to score.

Chosen: other losses than the published one are options, since they matter more than the architecture (Klenitskiy and
Vasilev 2023, Petrov and Macdonald 2023); their negatives are shared by all positions of a step.

Dimensions: S sequences, L positions, D width, U items of the batch, G groups, C candidates.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import LogFacts, Losses, SequenceBaseline, Settings
from gensr_dist.baselines.layers.encoder import Encoder, causal_mask
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.pooling import newest
from gensr_dist.baselines.sequence_losses import LossSettings, SequenceLoss, loss_by_length
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.sequences import SequenceBatch, sequence_of
from gensr_dist.model.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class SASRecSettings(Settings):
    """As S3-Rec trained it on Amazon Beauty."""

    dropout: float = 0.5
    layers: int = 2
    heads: int = 2
    norm: Literal["post", "pre", "query"] = "post"
    loss: SequenceLoss = "bce"
    shared: int = 512
    """Negatives that all positions of a step share, of the losses other than bce and ce."""
    calibration: float = 0.75
    """t of the loss gbce."""


class SASRec(SequenceBaseline):
    """Self-attention over what was chosen before."""

    def __init__(self, settings: SASRecSettings, facts: LogFacts) -> None:
        super().__init__()
        width = settings.width
        self.settings = settings
        self.loss = LossSettings(settings.loss, facts.items, shared=settings.shared, calibration=settings.calibration)
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.position_LD = nn.Parameter(torch.randn(settings.history, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(settings.dropout)
        self.encoder = Encoder(
            width,
            settings.layers,
            settings.heads,
            4 * width,
            settings.dropout,
            settings.norm,
            "gelu",
            inner_dropout=None if settings.norm == "query" else 0.0,
        )

    @property
    def shared_negatives(self) -> int:
        """Those of the loss."""
        return self.loss.shared_negatives

    def states(self, batch: SequenceBatch, item_UD: Tensor) -> Tensor:
        """What each position knows, [S, L, D]."""
        length = batch.item_SL.shape[1]
        input_SLD = self.dropout(self.norm(item_UD[batch.item_SL] + self.position_LD[:length]))
        return self.encoder(input_SLD, causal_mask(length, batch.item_SL.device))

    def forward(self, batch: SequenceBatch) -> Losses:
        """Losses of a batch."""
        item_UD = self.items(batch)
        catalogue_ID = self.items.catalogue() if self.loss.name == "ce" else None
        loss = loss_by_length(self.loss, partial(self.states, item_UD=item_UD), item_UD, batch, catalogue_ID)
        return Losses({"ranking": loss / max(1, batch.step_targets)})

    def score(self, batch: ContextBatch) -> Tensor:
        """State of the newest position . item, [G, C]; 0 without a history."""
        item_UD = self.items(batch)
        state_GLD = self.states(sequence_of(batch), item_UD)
        state_GD = newest(state_GLD, batch.history_GL > 0)
        return torch.einsum("gd,gcd->gc", state_GD, item_UD[batch.candidate_GC])
