"""HSTU, the hierarchical sequential transduction unit (Zhai et al. 2024, arXiv 2402.17152), eq. 1 to 3.

x_l = drop(sqrt(D) e_l + p_l), blocks of gated pointwise attention (see `HSTUBlock`), score of an item = cos(x_L, e_i) /
tau; 0 without a history. Loss: softmax over the target and sampled negatives.

Settings are those of the authors' program for MovieLens-1M (dropout 0.2, tau 0.05, 128 negatives; D = 50, histories of
200, 2 blocks of 1 head there, 8 of 2 heads in its large form), with the width and length of the other baselines here.

Deviations: no bias of the time between two interactions, which sequences do not hold; all positions of a step share
their negatives, where each has its own there.

Chosen: losses as SASRec has them; `temperature` 0 gives plain products.

Dimensions: S sequences, L positions, N longest history, D width, U items of the batch, X any, G groups, C candidates.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import LogFacts, Losses, SequenceBaseline, Settings
from gensr_dist.baselines.layers.hstu_block import HSTUBlock
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.pooling import newest
from gensr_dist.baselines.sequence_losses import LossSettings, SequenceLoss, loss_by_length
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.sequences import SequenceBatch, sequence_of
from gensr_dist.model.dropout import Dropout

_EPSILON = 1e-6  # least length of a vector


@dataclass(frozen=True, kw_only=True)
class HSTUSettings(Settings):
    """As the authors trained it on MovieLens-1M, but for the sizes."""

    dropout: float = 0.2
    batch: int = 128
    layers: int = 2
    heads: int = 1
    loss: SequenceLoss = "sampled"
    shared: int = 128
    """Negatives that all positions of a step share, of the losses other than bce and ce."""
    calibration: float = 0.75
    """t of the loss gbce."""
    temperature: float = 0.05
    """tau; 0: states and items as they are, not their cosine."""


class HSTU(SequenceBaseline):
    """Gated units over what was chosen before."""

    def __init__(self, settings: HSTUSettings, facts: LogFacts) -> None:
        super().__init__()
        width, length = settings.width, settings.history
        self.settings = settings
        self.loss = LossSettings(settings.loss, facts.items, shared=settings.shared, calibration=settings.calibration)
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.position_ND = nn.Parameter(torch.randn(length, width) * width**-0.5)
        self.dropout = Dropout(settings.dropout)
        self.blocks = nn.ModuleList(
            HSTUBlock(length, width, settings.heads, settings.dropout) for _ in range(settings.layers)
        )

    @property
    def shared_negatives(self) -> int:
        """Those of the loss."""
        return self.loss.shared_negatives

    def states(self, batch: SequenceBatch, item_UD: Tensor) -> Tensor:
        """What each position knows, [S, L, D]."""
        item_SLD = item_UD[batch.item_SL] * self.settings.width**0.5
        x_SLD = self.dropout(item_SLD + self.position_ND[: item_SLD.shape[1]])
        for block in self.blocks:
            x_SLD = block(x_SLD)
        return x_SLD

    def forward(self, batch: SequenceBatch) -> Losses:
        """Losses of a batch."""
        item_UD = self.items(batch)
        catalogue_ID = self._unit(self.items.catalogue()) if self.loss.name == "ce" else None

        def sharpened(part: SequenceBatch) -> Tensor:
            return self._sharpened(self.states(part, item_UD))

        loss = loss_by_length(self.loss, sharpened, self._unit(item_UD), batch, catalogue_ID)
        return Losses({"ranking": loss / max(1, batch.step_targets)})

    def score(self, batch: ContextBatch) -> Tensor:
        """Likeness of the newest position's state and the item, [G, C]; 0 without a history."""
        item_UD = self.items(batch)
        state_GLD = self._sharpened(self.states(sequence_of(batch), item_UD))
        state_GD = newest(state_GLD, batch.history_GL > 0)
        return torch.einsum("gd,gcd->gc", state_GD, self._unit(item_UD)[batch.candidate_GC])

    def _unit(self, vector_XD: Tensor) -> Tensor:
        return F.normalize(vector_XD, dim=-1, eps=_EPSILON) if self.settings.temperature else vector_XD

    def _sharpened(self, state_SLD: Tensor) -> Tensor:
        temperature = self.settings.temperature
        return self._unit(state_SLD) / temperature if temperature else state_SLD
