"""IDGenRec with fixed ids (Tan et al. 2024, arXiv 2403.19021): an item's id is a few words, and T5 spells the next one.

The input is the ids of the newest items of the history; the target is the id w_1 ... w_K of the next item, with

    log p(i | history) = sum_k log p(w_k | w_1 ... w_(k-1), history),

and cross entropy is minimised. A candidate's score is this very sum: the history is encoded once, and the decoder reads
all candidates, so that no beam leaves any out.

Deviations: the generator of ids, a second T5 that is trained in turns with the first, is dropped: an id is the most
telling words of the title by tf-idf, made unique, see `textual_ids`, and stays. T5 starts from random weights unless
`backbone` names a pretrained one. The rate stays after the warm-up instead of falling linearly. Ids are kept apart by
the end token instead of a template.

Not copied from the public code: the user's own id, which is made of all of the user's items, the test item among them.

Chosen: by default the sum is not divided by the number of tokens, since it is the logarithm of the item's probability.

Dimensions: G groups, C candidates, L history, U items of the batch, K tokens of an id with its end, N places, I items.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field
from torch import Tensor

from gensr_dist.baselines.contract import ONLY_REC, LogFacts, Losses, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.t5_reader import T5Reader, gathered, in_parts
from gensr_dist.baselines.layers.t5_sequence import log_likelihood
from gensr_dist.baselines.layers.textual_ids import textual_ids
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.like_lengths import read_by_length
from gensr_dist.model.backbone import Memory


@dataclass(frozen=True, kw_only=True)
class IDGenRecSettings(Settings):
    """As published for the recommender; its warm-up of 5% of the steps is a number of steps here."""

    item_input: Literal["id"] = "id"
    history: int = 20
    negatives: int = 0
    dropout: float = 0.1
    weight_decay: float = 0.01
    warmup_steps: int = 200
    batch: int = 64
    epochs: int = 30
    backbone: str = "nano"
    """Size of T5: `nano`, `mini`, `small`, `base` with random weights; else a Hub name or a folder. `width` is not
    read."""
    words: Annotated[int, Field(ge=0)] = 3
    """Words of a title in an id."""
    length_power: float = 0.0
    """The power of an id's length that divides its score: 0 for the probability, 1 for the mean of a token."""


class IDGenRec(RowBaseline):
    """The probability of an item's id after the ids of the history."""

    tasks = ONLY_REC
    needs = frozenset({Need.TITLES})
    candidates_a_pass = 4_000

    def __init__(self, settings: IDGenRecSettings, facts: LogFacts) -> None:
        super().__init__()
        self.length_power = settings.length_power
        self.t5 = T5Reader(settings.backbone, facts.words, settings.dropout, one_step=False)
        id_IK = torch.from_numpy(textual_ids(facts.title_IT, facts.tokenizer, settings.words, self.t5.end))
        self.id_IK: Tensor
        self.register_buffer("id_IK", id_IK, persistent=False)

    def ids(self, batch: ContextBatch) -> Tensor:
        """Tokens of the ids of the batch's items, with their ends [U, K]; 0 is padding, also all of slot 0."""
        id_UK = self.id_IK[batch.item_U.clamp_min(0)] * (batch.item_U >= 0)[:, None]
        return id_UK[:, : max(1, int((id_UK != 0).sum(1).max()))]

    def read(self, batch: ContextBatch, id_UK: Tensor) -> Memory:
        """What is made of the histories: the end token and then the ids, each with its end."""
        text_GN = F.pad(gathered(id_UK[batch.history_GL].flatten(1)), (1, 0), value=self.t5.end)
        return self.t5.encode(self.t5.embed(text_GN), text_GN != 0)

    def score(self, batch: ContextBatch) -> Tensor:
        """Log-probabilities of the candidates' ids, [G, C]."""
        id_UK = self.ids(batch)
        memory = self.read(batch, id_UK)

        def of_some(candidate_GC: Tensor) -> Tensor:
            id_GCK = id_UK[candidate_GC]
            length_GC = (id_GCK != 0).sum(2).clamp_min(1)
            return log_likelihood(self.t5.backbone, memory, id_GCK).sum(2) / length_GC**self.length_power

        return in_parts(of_some, batch.candidate_GC, self.candidates_a_pass)

    def forward(self, batch: ContextBatch) -> Losses:
        """Cross entropy of the positives' ids, summed over their tokens."""

        def log_likelihoods(part: ContextBatch) -> tuple[Tensor]:
            id_UK = self.ids(part)
            log_G1K = log_likelihood(self.t5.backbone, self.read(part, id_UK), id_UK[part.candidate_GC[:, :1]])
            return (log_G1K.sum((1, 2)),)

        (log_G,) = read_by_length(log_likelihoods, batch)
        return Losses({"ranking": -(log_G * (batch.row_G >= 0)).sum() / batch.step_groups})
