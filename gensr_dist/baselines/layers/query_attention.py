"""Which items of a history matter for a query (AEM), and whether any does (ZAM).

Dimensions: G rows, L history, D width.
"""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.layers.attention import MultiHeadAttention


class QueryAttention(nn.Module):
    """Multi-head attention of one query vector over items; projections have no bias.

    Args:
        width: D.
        heads: of attention.
        zero_key: a zero vector stands before the items. Without biases its logit and value are exactly 0, so that a
            head's weights are exp(s_l) / (1 + sum exp(s)): a query may look away from the history.
        dropout: of the weights.
    """

    def __init__(self, width: int, heads: int, zero_key: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.zero_key = zero_key
        self.attention = MultiHeadAttention(width, heads, dropout, bias=False)
        for weight in self.attention.parameters():
            nn.init.xavier_uniform_(weight)

    def forward(self, query_GD: Tensor, item_GLD: Tensor, mask_GL: Tensor) -> Tensor:
        """Attend; [G, D], 0 for an empty history.

        Args:
            query_GD: one query a row.
            item_GLD: keys and values.
            mask_GL: True where there is an item.
        """
        if self.zero_key:
            item_GLD = F.pad(item_GLD, (0, 0, 1, 0))
            mask_GL = F.pad(mask_GL, (1, 0), value=True)
        found_GMD: Tensor = self.attention(query_GD[:, None], item_GLD, mask_GL[:, None])
        return found_GMD[:, 0]
