"""QEM, the query embedding model (Ai et al. 2019, arXiv 1908.11322, section 4.1; ProdSearch): search without a user.

f(q) = tanh(W mean(w_j) + b), score = f(q) . e_i; binary cross entropy with 5 negatives, and each item predicts the
words of its text (NCE with negatives ~ count^.75).

Deviations: words of items are those of their titles, as there are no reviews; Adam in mini-batches of 256.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import ONLY_SEARCH, LogFacts, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.queries import QueryProjection
from gensr_dist.data.batches.batch import ContextBatch


@dataclass(frozen=True, kw_only=True)
class QEMSettings(Settings):
    """As ProdSearch has it."""

    width: int = 128
    history: int = 20
    negatives: int = 5
    learning_rate: float = 2e-3
    epochs: int = 20


class QEM(RowBaseline):
    """The words of the query against the item."""

    tasks = ONLY_SEARCH
    needs = frozenset({Need.QUERIES})

    def __init__(self, settings: QEMSettings, facts: LogFacts) -> None:
        super().__init__()
        self.items = ItemInput(settings.item_input, facts.items, settings.width, facts.cf_width, facts.cf_scale)
        self.words = nn.Embedding(facts.words, settings.width)
        self.query = QueryProjection(self.words, settings.width)

    def score(self, batch: ContextBatch) -> Tensor:
        """f(q) . e_i, [G, C]."""
        return torch.einsum("gd,gcd->gc", self.query(batch.query_GQ), self.items(batch)[batch.candidate_GC])

    def auxiliary(self, batch: ContextBatch, score_GC: Tensor) -> Mapping[str, Tensor]:
        """Words of the positives."""
        return {}
