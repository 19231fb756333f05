"""Vectors of texts from those of their words.

Dimensions: X any leading ones, Q words of a text, D width.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

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

    Args:
        words: see `TextMean`.
        width: D of f(q).
    """

    def __init__(self, words: nn.Embedding, width: int) -> None:
        super().__init__()
        self.mean = TextMean(words)
        self.linear = nn.Linear(words.embedding_dim, width)
        self.empty_D = nn.Parameter(torch.randn(width) * _EMPTY_STD)

    def forward(self, word_XQ: Tensor) -> Tensor:
        """Vectors [X, D] of queries, 0 is padding."""
        has_words_X1 = (word_XQ != 0).any(-1, keepdim=True)
        return torch.where(has_words_X1, self.linear(self.mean(word_XQ)).tanh(), self.empty_D)
