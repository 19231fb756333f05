"""AEM, the attention based embedding model (Ai et al. 2019, arXiv 1908.11322): the query asks the history.

u = MultiHead(f(q); keys and values e_l), m = (f(q) + u) / 2. The rest is that of `ProductSearch`.

Chosen: without a history there is nothing to attend to, and m = f(q). Projections have no bias, as in ZAM, whose zero
key needs it so. The vectors of the history are those that score candidates, and have no positions: order does not
matter.

Dimensions: G groups, L history, D width, U items of the batch.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gensr_dist.baselines.contract import LogFacts
from gensr_dist.baselines.layers.query_attention import QueryAttention
from gensr_dist.baselines.product_search import ProductSearch, ProductSearchSettings
from gensr_dist.data.batches.batch import ContextBatch


@dataclass(frozen=True, kw_only=True)
class AEMSettings(ProductSearchSettings):
    """As ProdSearch has them."""

    heads: int = 8
    """Attention heads; they divide `width`. `dropout` is of attention's weights, too."""


class AEM(ProductSearch):
    """The query, and what of the history matters for it."""

    zero_key: ClassVar[bool] = False

    def __init__(self, settings: AEMSettings, facts: LogFacts) -> None:
        super().__init__(settings, facts)
        self.attention = QueryAttention(settings.width, settings.heads, self.zero_key, settings.dropout)

    def found(self, batch: ContextBatch, query_GD: Tensor, item_UD: Tensor) -> Tensor:
        """U [G, D], 0 without a history."""
        found_GD: Tensor = self.attention(query_GD, item_UD[batch.history_GL], batch.history_GL > 0)
        return found_GD

    def intent(self, batch: ContextBatch, query_GD: Tensor, item_UD: Tensor) -> Tensor:
        """Half query, half history; the query alone without a history."""
        mixed_GD = (query_GD + self.found(batch, query_GD, item_UD)) / 2
        return torch.where((batch.history_GL > 0).any(1, keepdim=True), mixed_GD, query_GD)
