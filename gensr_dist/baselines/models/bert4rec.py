"""BERT4Rec (Sun et al. 2019, arXiv 1904.06690).

Some places of a sequence hold a learnt vector [MASK] in place of their item. x_l = drop(LN(e_l + p_l)), bidirectional
transformer blocks with layer norm behind each residual and GELU in a feed-forward network of 4 D without dropout
within, then o = LN(GELU(W x + b)), and the score of an item at a place is o . e_i + b_i. Cross entropy over the
catalogue at the masked places. A history is scored with one [MASK] behind it.

Settings are the authors' for their Amazon Beauty, but for the rate and the length of the training: 1e-4 over 400,000
steps there, about 4,500 of our epochs (Petrov and Macdonald 2022, arXiv 2207.07483, find that shorter ones underfit).

Deviations: the share of masked places is random, where the authors mask exactly round(rho X), at least one; instead of
ten masked copies of a sequence and one with the last item alone masked, each step masks again, a share of the sequences
in the second manner; the rate stays where theirs falls linearly; weight decay reaches layer norms and biases. An
interaction of search alone may be masked, and is no target.

RecBole's form is not followed where it never learns a masked first place and masks int(rho X) places at most.

Chosen: `loss` "sampled" compares with shared negatives, for catalogues whose cross entropy is too expensive and for
items that are not ids alone. The loss is divided by rho times the targets of the step, about as many as are masked.

Dimensions: S sequences, L positions, X = L + 1 places of a sequence, D width, U items of the batch, G groups, C
candidates, I items.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.contract import LogFacts, Losses, SequenceBaseline, Settings
from gensr_dist.baselines.layers.attention import init_linear
from gensr_dist.baselines.layers.encoder import Encoder, padding_mask
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.sequence_losses import LossSettings, sequence_loss
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.like_lengths import by_length
from gensr_dist.data.batches.sequences import SequenceBatch
from gensr_dist.data.events import Behaviour
from gensr_dist.model.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class BERT4RecSettings(Settings):
    """As the authors trained it on Amazon Beauty, but for the rate."""

    dropout: float = 0.5
    attention_dropout: float = 0.2
    """Dropout rate of attention's weights; `dropout` is of all else."""
    weight_decay: float = 0.01
    warmup_steps: int = 100
    layers: int = 2
    heads: int = 2
    rho: float = 0.6
    """Probability that a place is masked."""
    last_share: float = 1 / 11
    """Share of the sequences in which the last place alone is masked, as in scoring."""
    loss: Literal["ce", "sampled"] = "ce"
    shared: int = 512
    """Negatives that all places of a step share, of the sampled loss."""


class BERT4Rec(SequenceBaseline):
    """A bidirectional transformer that guesses masked items."""

    def __init__(self, settings: BERT4RecSettings, facts: LogFacts) -> None:
        super().__init__()
        width, heads, dropout = settings.width, settings.heads, settings.dropout
        self.settings = settings
        self.loss = LossSettings(settings.loss, facts.items, shared=settings.shared)
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.bias_I = nn.Parameter(torch.zeros(facts.items))
        self.mask_D = nn.Parameter(torch.randn(width) * 0.02)
        self.position_XD = nn.Parameter(torch.randn(settings.history + 1, width) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        inside = {"attention_dropout": settings.attention_dropout, "inner_dropout": 0.0}
        self.encoder = Encoder(width, settings.layers, heads, 4 * width, dropout, "post", "gelu", **inside)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        init_linear(self.head)

    @property
    def shared_negatives(self) -> int:
        """Those of the loss."""
        return self.loss.shared_negatives

    def guesses(self, item_UD: Tensor, item_SX: Tensor, masked_SX: Tensor) -> Tensor:
        """What each place makes of the others, and of itself unless it is masked, [S, X, D].

        Args:
            item_UD: vectors of the batch's items.
            item_SX: slots, 0 is padding unless it is masked.
            masked_SX: True where the item is hidden.
        """
        input_SXD = torch.where(masked_SX[:, :, None], self.mask_D, item_UD[item_SX])
        input_SXD = self.dropout(self.norm(input_SXD + self.position_XD[: item_SX.shape[1]]))
        out_SXD: Tensor = self.head(self.encoder(input_SXD, padding_mask((item_SX > 0) | masked_SX)))
        return out_SXD

    def forward(self, batch: SequenceBatch) -> Losses:
        """Losses of a batch."""
        item_UD = self.items(batch)
        catalogue_ID = self.items.catalogue() if self.loss.name == "ce" else None
        losses = [self._loss(part, item_UD, catalogue_ID) for _, part in by_length(batch)]
        return Losses({"ranking": torch.stack(losses).sum() / max(1.0, self.settings.rho * batch.step_targets)})

    def _loss(self, batch: SequenceBatch, item_UD: Tensor, catalogue_ID: Tensor | None) -> Tensor:
        item_SX = torch.cat((batch.item_SL[:, :1], batch.next_SL), dim=1)
        # The first place is nobody's next one; sequences without a target only keep ranks in step.
        first_S1 = (batch.behaviour_SL[:, :1] & Behaviour.RECOMMENDATION.bit > 0) & batch.is_target_SL.any(
            1, keepdim=True
        )
        masked_SX = self._masked(item_SX)
        target_SX = masked_SX & torch.cat((first_S1, batch.is_target_SL), dim=1)
        cloze = replace(batch, next_SL=item_SX, is_target_SL=target_SX)
        guess_SXD = self.guesses(item_UD, item_SX, masked_SX)
        return sequence_loss(self.loss, guess_SXD, item_UD, cloze, catalogue_ID, self.bias_I)

    def _masked(self, item_SX: Tensor) -> Tensor:
        """Which places hide their item, [S, X]."""
        sequences, places = item_SX.shape
        random_SX = torch.rand(sequences, places, device=item_SX.device) < self.settings.rho
        lone_S1 = torch.rand(sequences, 1, device=item_SX.device) < self.settings.last_share
        last_SX = F.one_hot((item_SX > 0).sum(1) - 1, places).bool()
        return torch.where(lone_S1, last_SX, random_SX & (item_SX > 0))

    def score(self, batch: ContextBatch) -> Tensor:
        """Guess at a [MASK] behind the history . item + its bias, [G, C]."""
        item_UD = self.items(batch)
        history_GX = F.pad(batch.history_GL, (0, 1))
        length_G = (history_GX > 0).sum(1)
        masked_GX = F.one_hot(length_G, history_GX.shape[1]).bool()
        guess_GD = self.guesses(item_UD, history_GX, masked_GX)[masked_GX]
        bias_U = self.bias_I[batch.item_U.clamp_min(0)]
        return torch.einsum("gd,gcd->gc", guess_GD, item_UD[batch.candidate_GC]) + bias_U[batch.candidate_GC]
