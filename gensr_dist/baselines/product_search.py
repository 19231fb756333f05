"""What QEM, AEM, ZAM and TEM share (Ai et al. 2019, arXiv 1908.11322; Bi et al. 2020, arXiv 2005.08936; ProdSearch).

An intent m is made of the query, and in the personalised ones of the history; an item scores m . e_i + b_i. The loss is
binary cross entropy with negatives, and that of the positives' words (see `layers.words`).

The bias b_i is an option of ProdSearch, whose default is none.

Deviations: an item's words are those of its title, as the logs have no reviews; items and words start from N(0, .02),
ProdSearch's from N(0, 1), where it takes no pretrained ones: with that QEM has .266 NDCG@10 in validation after 600
steps of 64 rows of the quickstart's log, and .585 without.

Dimensions: G groups, C candidates, D width, P positives, W words of a title, V vocabulary, U distinct items of the
batch.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import ONLY_SEARCH, LogFacts, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.queries import QueryProjection
from gensr_dist.baselines.layers.words import UnigramSampler, item_word_loss
from gensr_dist.data.batches.batch import ContextBatch


@dataclass(frozen=True, kw_only=True)
class ProductSearchSettings(Settings):
    """As ProdSearch has them."""

    width: int = 128
    history: int = 20
    negatives: int = 5
    dropout: float = 0.1
    """Of the mean of a query's words, and as each model says."""
    learning_rate: float = 2e-3
    batch: int = 32
    epochs: int = 20
    word_negatives: int = 5
    """Against each word of an item; 0 leaves the words out."""


class ProductSearch(RowBaseline):
    """An intent against items, whose vectors also tell the words of their titles."""

    tasks = ONLY_SEARCH
    needs = frozenset({Need.QUERIES})

    def __init__(self, settings: ProductSearchSettings, facts: LogFacts) -> None:
        super().__init__()
        width = settings.width
        self.word_negatives = settings.word_negatives
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.bias_I = nn.Parameter(torch.zeros(facts.items))
        self.words = nn.Embedding(facts.words, width, padding_idx=0)
        self.query = QueryProjection(self.words, width, settings.dropout)
        nn.init.normal_(self.words.weight, std=0.02)
        if self.word_negatives:
            count_V = np.bincount(np.asarray(facts.title_IT).ravel(), minlength=facts.words)
            count_V[0] = 0
            self.word_bias_V = nn.Parameter(torch.zeros(facts.words))
            self.sampler = UnigramSampler(torch.from_numpy(count_V)) if count_V.any() else None

    @abstractmethod
    def intent(self, batch: ContextBatch, query_GD: Tensor, item_UD: Tensor) -> Tensor:
        """What is looked for, [G, D].

        Args:
            batch: of the rows.
            query_GD: f(q).
            item_UD: vectors of the batch's items.
        """

    def score(self, batch: ContextBatch) -> Tensor:
        """M . e_i + b_i, [G, C]."""
        item_UD = self.items(batch)
        intent_GD = self.intent(batch, self.query(batch.query_GQ), item_UD)
        bias_U = self.bias_I[batch.item_U.clamp_min(0)]
        return torch.einsum("gd,gcd->gc", intent_GD, item_UD[batch.candidate_GC]) + bias_U[batch.candidate_GC]

    def auxiliary(self, batch: ContextBatch, score_GC: Tensor) -> Mapping[str, Tensor]:
        """The words of the positives."""
        if not self.word_negatives or self.sampler is None:
            return {}
        positive_P = batch.candidate_GC[batch.row_G >= 0, 0]
        drawn = self.sampler.draw(len(positive_P) * self.word_negatives, torch.default_generator)
        loss_P = item_word_loss(
            self.items(batch)[positive_P],
            batch.title_UT[positive_P],
            self.words.weight,
            self.word_bias_V,
            drawn.view(-1, self.word_negatives).to(score_GC.device),
        )
        return {"words": loss_P.sum()}
