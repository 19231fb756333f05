"""GRU4Rec (Hidasi et al. 2016, arXiv 1511.06939; Hidasi and Karatzoglou 2018, arXiv 1706.03847).

h_l = GRU(h_{l-1}, drop(e_l)), score of an item = (W h_L + c) . e_i + b_i; without a history b_i.

Settings are those of RecBole (GRU of width 128 without biases, projected to D = 64, dropout 0.3), which trains with
`loss` "ce". The default is "bce" with one negative, the loss of S3-Rec's harness, whose row on Amazon Beauty with 99
negatives (HR@10 .411, NDCG@10 .258) can be checked; which settings that row had is not published. The authors' own
losses are "bpr_max" and "sampled"; in an example set of theirs for bpr_max: width 224, batch 80, dropout 0.5 of the
items, rate 0.05, regularisation 1.95, 2,048 shared negatives.

Deviations from the authors' program: histories are read whole, where it cuts sessions into parallel streams; shared
negatives are uniform, where it draws by popularity^alpha and takes the targets of the batch as well; scores have no
last activation (elu); the optimizer is that of all baselines, not Adagrad with momentum. From RecBole: items have a
bias, as in the authors' program; items and the projection start from N(0, 0.02), recurrent weights orthogonal.

Dimensions: S sequences, L positions, D width, U items of the batch, G groups, C candidates, I items.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import LogFacts, Losses, SequenceBaseline, Settings
from gensr_dist.baselines.layers.attention import init_linear
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.pooling import newest
from gensr_dist.baselines.sequence_losses import LossSettings, SequenceLoss, loss_by_length
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.sequences import SequenceBatch, sequence_of
from gensr_dist.model.dropout import Dropout


@dataclass(frozen=True, kw_only=True)
class GRU4RecSettings(Settings):
    """As RecBole has them, but for the loss."""

    dropout: float = 0.3
    hidden: int = 128
    """Width of the GRU."""
    layers: int = 1
    loss: SequenceLoss = "bce"
    shared: int = 512
    """Negatives that all positions of a step share, of the losses other than bce and ce."""
    calibration: float = 0.75
    """t of the loss gbce."""
    regularisation: float = 1.0
    """Weight of the negatives' squares in the loss bpr_max."""


class GRU4Rec(SequenceBaseline):
    """A recurrent network over what was chosen before."""

    def __init__(self, settings: GRU4RecSettings, facts: LogFacts) -> None:
        super().__init__()
        self.settings = settings
        self.loss = LossSettings(
            settings.loss,
            facts.items,
            shared=settings.shared,
            calibration=settings.calibration,
            regularisation=settings.regularisation,
        )
        self.items = ItemInput(settings.item_input, facts.items, settings.width, facts.cf_width, facts.cf_scale)
        self.bias_I = nn.Parameter(torch.zeros(facts.items))
        self.dropout = Dropout(settings.dropout)
        self.gru = nn.GRU(settings.width, settings.hidden, settings.layers, bias=False, batch_first=True)
        self.projection = nn.Linear(settings.hidden, settings.width)
        for name, weight in self.gru.named_parameters():
            (nn.init.orthogonal_ if "_hh_" in name else nn.init.xavier_uniform_)(weight)
        init_linear(self.projection)

    @property
    def shared_negatives(self) -> int:
        """Those of the loss."""
        return self.loss.shared_negatives

    def states(self, batch: SequenceBatch, item_UD: Tensor) -> Tensor:
        """What each position knows, [S, L, D]; of padding, nothing that means anything."""
        state_SLH, _ = self.gru(self.dropout(item_UD[batch.item_SL]))
        state_SLD: Tensor = self.projection(state_SLH)
        return state_SLD

    def forward(self, batch: SequenceBatch) -> Losses:
        """Losses of a batch."""
        item_UD = self.items(batch)
        catalogue_ID = self.items.catalogue() if self.loss.name == "ce" else None
        states = partial(self.states, item_UD=item_UD)
        loss = loss_by_length(self.loss, states, item_UD, batch, catalogue_ID, self.bias_I)
        return Losses({"ranking": loss / max(1, batch.step_targets)})

    def score(self, batch: ContextBatch) -> Tensor:
        """State of the newest position . item + its bias, [G, C]."""
        item_UD = self.items(batch)
        state_GLD = self.states(sequence_of(batch), item_UD)
        state_GD = newest(state_GLD, batch.history_GL > 0)
        bias_U = self.bias_I[batch.item_U.clamp_min(0)]
        return torch.einsum("gd,gcd->gc", state_GD, item_UD[batch.candidate_GC]) + bias_U[batch.candidate_GC]
