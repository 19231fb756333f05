"""TEM, the transformer based embedding model (Bi et al. 2020, arXiv 2005.08936): query and history see each other.

x = [f(q); e_1; ...; e_L] + sinusoidal positions, a transformer encoder over x, m = its output at the query's place. The
rest is that of `ProductSearch`.

Chosen: without layers m = f(q) and there are no positions, which is QEM; the query is at position 0, the oldest item
shown at 1; vectors are multiplied by sqrt(D) before positions are added, as usual where learnt vectors are small. On
the quickstart's log one layer has .507 NDCG@10 in validation after 456 steps of 64 rows, and .111 without that.

Not copied: ProdSearch runs its encoder once a candidate, though no candidate goes into it; its first attention reads
vectors that are not normalised, those of the others are; layer norms start from random gains.

Dimensions: G groups, L history, D width, U items of the batch, K half the width, M = 1 + L places, the query first.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gensr_dist.baselines.contract import LogFacts
from gensr_dist.baselines.layers.attention import xavier_linear
from gensr_dist.baselines.layers.encoder import Encoder, padding_mask
from gensr_dist.baselines.layers.positions import sinusoids
from gensr_dist.baselines.product_search import ProductSearch, ProductSearchSettings
from gensr_dist.data.batches.batch import ContextBatch


@dataclass(frozen=True, kw_only=True)
class TEMSettings(ProductSearchSettings):
    """As ProdSearch's own example of TEM has them. `dropout` is of the encoder, too."""

    learning_rate: float = 5e-4
    batch: int = 384
    layers: int = 1
    heads: int = 8
    inner: int = 512
    """Width within the feed-forward networks."""


class TEM(ProductSearch):
    """The query as the history changes it."""

    def __init__(self, settings: TEMSettings, facts: LogFacts) -> None:
        super().__init__(settings, facts)
        self.layers = settings.layers
        self.encoder = Encoder(
            settings.width, settings.layers, settings.heads, settings.inner, settings.dropout, "pre", "gelu"
        )
        xavier_linear(self.encoder)

    def intent(self, batch: ContextBatch, query_GD: Tensor, item_UD: Tensor) -> Tensor:
        """What becomes of the query."""
        return self.encoded(query_GD, item_UD[batch.history_GL], batch.history_GL > 0)

    def encoded(self, query_GD: Tensor, item_GLD: Tensor, seen_GL: Tensor) -> Tensor:
        """The encoder's output at the query's place, [G, D].

        Args:
            query_GD: what stands before the items.
            item_GLD: of the history.
            seen_GL: which of them may be seen.
        """
        if not self.layers:
            return query_GD
        input_GMD = torch.cat((query_GD[:, None], item_GLD), dim=1)
        position_MD = sinusoids(input_GMD.shape[1], input_GMD.shape[2], input_GMD.device).to(input_GMD)
        seen_GM = torch.cat((torch.ones_like(seen_GL[:, :1]), seen_GL), dim=1)
        input_GMD = input_GMD * math.sqrt(input_GMD.shape[2]) + position_MD
        out_GMD: Tensor = self.encoder(input_GMD, padding_mask(seen_GM))
        return out_GMD[:, 0]
