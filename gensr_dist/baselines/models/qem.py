"""QEM, the query embedding model (Ai et al. 2019, arXiv 1908.11322, section 4.1): search without a user.

m = f(q) = tanh(W mean(w_j) + b). The rest is that of `ProductSearch`.

Dimensions: G groups, D width, U distinct items of the batch.
"""

from dataclasses import dataclass

from torch import Tensor

from gensr_dist.baselines.product_search import ProductSearch, ProductSearchSettings
from gensr_dist.data.batches.batch import ContextBatch


@dataclass(frozen=True, kw_only=True)
class QEMSettings(ProductSearchSettings):
    """As ProdSearch has it."""


class QEM(ProductSearch):
    """The words of the query against the item."""

    def intent(self, batch: ContextBatch, query_GD: Tensor, item_UD: Tensor) -> Tensor:
        """The query alone."""
        return query_GD
