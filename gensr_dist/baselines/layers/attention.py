"""Multi-head attention that knows what to do where nothing may be seen.

Dimensions: G rows, M queries, N keys, D width, H heads, K width of a head.
"""

from torch import Tensor, nn

from gensr_dist.model.attention import attend, mask_bias

_LINEAR_STD = 0.02


class MultiHeadAttention(nn.Module):
    """W_o [softmax((W_q x) . (W_k y) / sqrt(K)) W_v y], heads concatenated.

    Args:
        width: D.
        heads: H, which divides D.
        dropout: of the weights.
        bias: whether the four projections add one.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, bias: bool = True) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, query_GMD: Tensor, key_GND: Tensor, allowed_GMN: Tensor) -> Tensor:
        """Attend.

        Args:
            query_GMD: what asks.
            key_GND: what answers, keys and values alike.
            allowed_GMN: which key each query may see; any shape that expands to it.

        Returns:
            [G, M, D]; exactly 0 for a query that may see no key.
        """
        split_HK = (self.heads, -1)
        query_GHMK = self.query(query_GMD).unflatten(2, split_HK).transpose(1, 2)
        key_GHNK = self.key(key_GND).unflatten(2, split_HK).transpose(1, 2)
        value_GHNK = self.value(key_GND).unflatten(2, split_HK).transpose(1, 2)
        found_GHMK = attend(
            query_GHMK,
            key_GHNK,
            value_GHNK,
            mask_bias(allowed_GMN, query_GHMK)[:, None],
            scale=query_GHMK.shape[-1] ** -0.5,
            dropout_rate=self.dropout if self.training else 0.0,
        )
        out_GMD: Tensor = self.out(found_GHMK.transpose(1, 2).flatten(2))
        return out_GMD.masked_fill(~allowed_GMN.any(2, keepdim=True), 0.0)


def init_linear(module: nn.Module) -> None:
    """Draws the weights of every linear layer within from N(0, 0.02), and sets their biases to 0."""
    for each in module.modules():
        if isinstance(each, nn.Linear):
            nn.init.normal_(each.weight, std=_LINEAR_STD)
            if each.bias is not None:
                nn.init.zeros_(each.bias)


def xavier_linear(module: nn.Module) -> None:
    """Draws the weights of every linear layer within by Xavier's normal rule, and sets their biases to 0."""
    for each in module.modules():
        if isinstance(each, nn.Linear):
            nn.init.xavier_normal_(each.weight)
            if each.bias is not None:
                nn.init.zeros_(each.bias)
