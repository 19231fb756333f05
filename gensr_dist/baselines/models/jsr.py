"""JSR, joint search and recommendation (Zamani and Croft 2018, DESIRES; 2020, WSDM), in hypersar's form.

Recommendation: s(u, i) = u . e_i, or MLP(u * e_i) with layers. Search: s(q, i) = sum over the words w of q of
log(mu p(w | i) + (1 - mu) p(w | C)), where p(w | i) = softmax_w(w . P e_i); who asks does not matter. Loss: binary
cross entropy of s(u, i), of the rows of both tasks, + lambda times what the positive's words cost: -log p(w | i), a
mean over the words of the query and one over those of the title. With lambda 0 it is matrix factorisation.

Deviations: word vectors are learnt, as no pretrained ones belong to the tokenizer's words; the words of titles are told
too, as in the paper and not in hypersar, whose items tell those of queries alone; p(w | C) counts the words of titles
(plus one each) instead of averaging p(w | i) over the catalogue; terms of negatives are summed, not averaged with the
positive's. Chosen: lambda (theirs is among 0.01 to 0.1 of half this loss), mu, and that a search whose query has no
words is scored as a recommendation.

Dimensions: G groups, A searches with words, C candidates, Q words of a query, D width, K width of a word, U items of
the batch, X distinct items that tell words, P positives, W words of a text, V vocabulary.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gensr_dist.baselines.contract import BOTH, SEARCH, LogFacts, Losses, Need, RowBaseline, Settings
from gensr_dist.baselines.layers.experts import LogitHead
from gensr_dist.baselines.layers.item_input import ItemInput
from gensr_dist.baselines.layers.precision import wide
from gensr_dist.baselines.layers.ranking_losses import binary_cross_entropy
from gensr_dist.baselines.layers.user_table import UserTable
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.model.pooling import masked_mean

_BLOCK = 2_048  # items whose V logits are in memory at a time, when nothing is learnt


@dataclass(frozen=True, kw_only=True)
class JSRSettings(Settings):
    """As hypersar has them where it says so."""

    history: int = 1
    """Not read."""
    batch: int = 1024
    epochs: int = 100
    layers: int = 0
    """Hidden layers of the MLP, each followed by `dropout`; 0 is the dot product."""
    words: float = 0.1
    """Weight lambda of the words."""
    word_width: int = 64
    """Width K of a word."""
    item_share: float = 0.8
    """Mu, the weight of p(w | i); the corpus has the rest."""


class JSR(RowBaseline):
    """Items that users like and that tell their words."""

    tasks = BOTH
    needs = frozenset({Need.QUERIES})
    by_length = False
    corpus_V: Tensor

    def __init__(self, settings: JSRSettings, facts: LogFacts) -> None:
        super().__init__()
        width = settings.width
        self.weight, self.item_share = settings.words, settings.item_share
        self.users = UserTable(facts.users, width)
        self.items = ItemInput(settings.item_input, facts.items, width, facts.cf_width, facts.cf_scale)
        self.head = LogitHead(width, (width,) * settings.layers, dropout=settings.dropout) if settings.layers else None
        self.projection = nn.Linear(width, settings.word_width, bias=False)
        self.words = nn.Embedding(facts.words, settings.word_width)
        nn.init.normal_(self.words.weight, std=settings.word_width**-0.5)
        count_V = 1.0 + np.bincount(np.asarray(facts.title_IT).ravel(), minlength=facts.words)
        count_V[0] = 1.0  # padding
        self.register_buffer("corpus_V", torch.from_numpy(np.log(count_V / count_V.sum())).float(), persistent=False)

    def preference(self, batch: ContextBatch, item_UD: Tensor) -> Tensor:
        """S(u, i), [G, C]."""
        product_GCD = self.users(batch.user_G)[:, None] * item_UD[batch.candidate_GC]
        return product_GCD.sum(2) if self.head is None else self.head(product_GCD)

    def score(self, batch: ContextBatch) -> Tensor:
        """Preference, or the likelihood of a query, [G, C]."""
        item_UD = self.items(batch)
        score_GC = self.preference(batch, item_UD).clone()
        asked_G = (batch.task_G == SEARCH) & (batch.query_GQ > 0).any(1)
        score_GC[asked_G] = self._likelihood(batch.candidate_GC[asked_G], batch.query_GQ[asked_G], item_UD)
        return score_GC

    def forward(self, batch: ContextBatch) -> Losses:
        """Losses of a batch."""
        item_UD, real_G = self.items(batch), batch.row_G >= 0
        score_GC = self.preference(batch, item_UD)
        loss_G = binary_cross_entropy(score_GC[:, 0], score_GC[:, 1:], batch.candidate_GC[:, 1:] > 0)
        parts = {"ranking": (loss_G * real_G).sum()}
        if self.weight:
            positive_P, query_PQ = batch.candidate_GC[real_G, 0], batch.query_GQ[real_G]
            text_PW = torch.cat((query_PQ, batch.title_UT[positive_P]), dim=1)
            log_PW = self._log_words(positive_P[:, None], text_PW, item_UD)[:, 0]
            query_P, title_P = (
                masked_mean(log_PW[:, part, None], text_PW[:, part] > 0).squeeze(1)
                for part in (slice(query_PQ.shape[1]), slice(query_PQ.shape[1], None))
            )
            parts["words"] = -self.weight * (query_P + title_P).sum()
        return Losses({name: part / batch.step_groups for name, part in parts.items()})

    def _likelihood(self, slot_AC: Tensor, word_AQ: Tensor, item_UD: Tensor) -> Tensor:
        """Log likelihood of each query by each item, smoothed by the corpus, [A, C]."""
        log_ACQ = self._log_words(slot_AC, word_AQ, item_UD) + _log(self.item_share)
        corpus_AQ = self.corpus_V[word_AQ] + _log(1 - self.item_share)
        return (torch.logaddexp(log_ACQ, corpus_AQ[:, None]) * (word_AQ > 0)[:, None]).sum(2)

    def _log_words(self, slot_AC: Tensor, word_AQ: Tensor, item_UD: Tensor) -> Tensor:
        """Log p(w | i) of a row's words by its items, [A, C, Q]; the softmax is of each distinct item once."""
        slot_X, place_AC = slot_AC.unique(return_inverse=True)
        item_XK = self.projection(item_UD[slot_X])
        if torch.is_grad_enabled():
            total_X = self._log_total(item_XK)
        else:
            total_X = torch.cat([self._log_total(block_XK) for block_XK in item_XK.split(_BLOCK)])
        logit_ACQ = item_XK[place_AC] @ self.words(word_AQ).transpose(1, 2)
        return wide(logit_ACQ) - total_X[place_AC][..., None]

    def _log_total(self, item_XK: Tensor) -> Tensor:
        """Log of the softmax's denominator, without padding, [X]."""
        return wide(item_XK @ self.words.weight[1:].T).logsumexp(1)


def _log(share: float) -> float:
    return math.log(max(share, 1e-30))
