"""ZAM, the zero attention model (Ai et al. 2019, arXiv 1908.11322): AEM whose query may look away from the history.

A zero vector stands before the history: u = sum_l exp(s_l) v_l / (1 + sum_l exp(s_l)), m = (f(q) + u) / 2. Without a
history u = 0, and f(q) alone tells the intent, at half its length. The rest is that of `ProductSearch`.

Not copied: in ProdSearch the projection of keys adds a bias, so that the zero key's logit is not 0; here it has none.

Dimensions: G groups, D width, U items of the batch.
"""

from dataclasses import dataclass

from torch import Tensor

from gensr_dist.baselines.models.aem import AEM, AEMSettings
from gensr_dist.data.batches.batch import ContextBatch


@dataclass(frozen=True, kw_only=True)
class ZAMSettings(AEMSettings):
    """As ProdSearch has them."""


class ZAM(AEM):
    """The query, and what of the history matters for it, if anything."""

    zero_key = True

    def intent(self, batch: ContextBatch, query_GD: Tensor, item_UD: Tensor) -> Tensor:
        """Half query, half history."""
        return (query_GD + self.found(batch, query_GD, item_UD)) / 2
