"""Vectors that tell their words: negative sampling, as in the product search models.

Dimensions: P vectors, W words of a text, N negatives, V vocabulary, D width.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from gensr_dist.baselines.layers.precision import wide

_POWER = 0.75  # as in word2vec: favours rare words


def item_word_loss(vector_PD: Tensor, word_PW: Tensor, table_VD: Tensor, bias_V: Tensor, negative_PN: Tensor) -> Tensor:
    """-mean over a text's words w of [log s(e . w + b_w) + sum over n of log s(-(e . n + b_n))]; [P], 0 without.

    The mean, as in ProdSearch: a sum over the words of a title outweighs the ranking loss by far.

    Args:
        vector_PD: e, of items or users.
        word_PW: words of each; 0 is padding.
        table_VD: vectors of words.
        bias_V: b.
        negative_PN: words drawn against all words of each.
    """
    real_PW = word_PW != 0
    logit_PW = (table_VD[word_PW] @ vector_PD[..., None]).squeeze(-1) + bias_V[word_PW]
    against_PN = torch.einsum("pd,pnd->pn", vector_PD, table_VD[negative_PN]) + bias_V[negative_PN]
    told_P = F.logsigmoid(wide(logit_PW)).masked_fill(~real_PW, 0.0).sum(1)
    words_P = real_PW.sum(1)
    return (words_P > 0) * F.softplus(wide(against_PN)).sum(1) - told_P / words_P.clamp_min(1)


class UnigramSampler:
    """Draws words in proportion to their counts to the power of 0.75, with replacement; never padding (0).

    Args:
        count_V: how often each word occurs.

    Raises:
        ValueError: if no word occurs.
    """

    def __init__(self, count_V: Tensor) -> None:
        self.weight_V = count_V.double().pow(_POWER)
        self.weight_V[0] = 0
        if not self.weight_V.any():
            raise ValueError("no word occurs, so none can be drawn")

    def draw(self, words: int, generator: torch.Generator) -> Tensor:
        """Ids [words]; the generator, of the counts' device, decides alone."""
        if not words:  # which multinomial refuses
            return torch.zeros(0, dtype=torch.int64)
        return torch.multinomial(self.weight_V, words, replacement=True, generator=generator)
