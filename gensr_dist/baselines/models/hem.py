"""HEM, the hierarchical embedding model (Ai et al. 2017, SIGIR): every user looks for things in a way of their own.

m = lambda f(q) + (1 - lambda) u, u learnt a user. Users, like items, tell words: those that they wrote. The rest is
that of `ProductSearch`.

Deviations: the logs have no reviews, so that a user's words are those of the titles of the history that a row shows;
the mean over words stands for the authors' step a word, in which search, item and user weigh alike. Adam in place of
SGD with a falling rate, small random vectors of users and items in place of zeros, no weight decay (theirs is .005
under SGD), and no subsampling of frequent words. A step's negatives, which the authors share among all, are shared
among its users' words alone.

Dimensions: G groups, P rows that are not padding, L history, W words of a title, D width, U items of the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gensr_dist.baselines.contract import LogFacts
from gensr_dist.baselines.layers.user_table import UserTable
from gensr_dist.baselines.layers.words import item_word_loss
from gensr_dist.baselines.product_search import ProductSearch, ProductSearchSettings
from gensr_dist.data.batches.batch import ContextBatch


@dataclass(frozen=True, kw_only=True)
class HEMSettings(ProductSearchSettings):
    """As the authors have them where Adam allows it; those of the optimizer are QEM's."""

    width: int = 100
    batch: int = 64
    dropout: float = 0.0
    """Nothing is dropped."""
    query_share: float = 0.5
    """Weight lambda of the query beside the user."""


class HEM(ProductSearch):
    """The query and who asks."""

    def __init__(self, settings: HEMSettings, facts: LogFacts) -> None:
        super().__init__(settings, facts)
        self.query_share = settings.query_share
        self.users = UserTable(facts.users, settings.width)

    def intent(self, batch: ContextBatch, query_GD: Tensor, item_UD: Tensor) -> Tensor:
        """A mixture of query and user."""
        return self.query_share * query_GD + (1 - self.query_share) * self.users(batch.user_G)

    def auxiliary(self, batch: ContextBatch, score_GC: Tensor) -> Mapping[str, Tensor]:
        """The words of the positives, and those of the users."""
        parts = super().auxiliary(batch, score_GC)
        if not self.word_negatives or self.sampler is None:
            return parts
        real_G = batch.row_G >= 0
        history_PL = batch.history_GL[real_G]
        negative_N = self.sampler.draw(self.word_negatives, torch.default_generator).to(score_GC.device)
        loss_P = item_word_loss(
            self.users(batch.user_G[real_G]),
            batch.title_UT[history_PL].flatten(1),
            self.words.weight,
            self.word_bias_V,
            negative_N.expand(len(history_PL), -1),
        )
        return {**parts, "user_words": loss_P.sum()}
