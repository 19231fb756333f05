"""Vectors of texts from those of their words.

Dimensions: X any leading ones, Q words of a text, D width.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.baselines.layers.attention import xavier_linear
from gensr_dist.model.dropout import Dropout

_EMPTY_STD = 0.02


class TextMean(nn.Module):
    """Mean of the words' vectors.

    Args:
        words: table shared with other layers; row 0 is padding.
    """

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__()
        self.words = words

    def forward(self, word_XQ: Tensor) -> Tensor:
        """Mean over the words that are not padding [X, D]; 0 if all are."""
        *shape_X, Q = word_XQ.shape
        # A bag never forms the vectors of single words.
        mean_XD: Tensor = F.embedding_bag(
            word_XQ.reshape(math.prod(shape_X), Q),
            self.words.weight,
            mode="mean",
            padding_idx=0,
            sparse=self.words.sparse,
        )
        return mean_XD.view(*shape_X, self.words.embedding_dim)


class QueryProjection(nn.Module):
    """f(q) = tanh(W mean(words of q) + b), a learned vector where a query has no words.

    W starts by Xavier's rule and b at 0: words start small, and beside a random b all queries would be much the same.

    Args:
        words: see `TextMean`.
        width: D of f(q).
        dropout: of the mean.
    """

    def __init__(self, words: nn.Embedding, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.mean = TextMean(words)
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(words.embedding_dim, width)
        xavier_linear(self)
        self.empty_D = nn.Parameter(torch.randn(width) * _EMPTY_STD)

    def forward(self, word_XQ: Tensor) -> Tensor:
        """Vectors [X, D] of queries, 0 is padding."""
        has_words_X1 = (word_XQ != 0).any(-1, keepdim=True)
        return torch.where(has_words_X1, self.linear(self.dropout(self.mean(word_XQ))).tanh(), self.empty_D)
