"""Late interaction of a query's tokens with a title's: which of the asked words the candidate has.

A mean of token embeddings forgets single words, and a search for words is a question about single words. Each token
of the query looks for its nearest token in the title (MaxSim of ColBERT, Khattab and Zaharia 2020); heads weigh the
query's tokens in their own ways, all beginning at the inverse document frequency, and one feature is the worst match of
all tokens.

Dimensions: A distinct tokens of all queries, W distinct tokens of the batch, Z searching groups, Q query tokens, C
candidates, T title tokens, K width of the comparison, H heads, D width of the backbone.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from gensr_dist.model.history_match import APART

HEADS = 4
COMPARED = 64  # K
LEAST_WEIGHT = 1e-3  # of a token, so that one that weighs nothing can be the only one
_FIRST_STD = 0.3  # of what the slot gets, as large as a pooled text


class TermMatch(nn.Module):
    """Likeness is the cosine of projected token embeddings: equal tokens have 1 before anything is learnt."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, COMPARED, bias=False)
        self.importance = nn.Linear(COMPARED, HEADS, bias=False)
        self.out = nn.Linear(HEADS + 1, width, bias=False)
        nn.init.normal_(self.projection.weight, std=width**-0.5)
        nn.init.normal_(self.importance.weight, std=0.1)
        nn.init.normal_(self.out.weight, std=_FIRST_STD)

    def forward(
        self, token_WD: Tensor, weight_W: Tensor, term_A: Tensor, query_ZQ: Tensor, title_ZCT: Tensor
    ) -> Tensor:
        """What the slot of each candidate's text gets.

        Args:
            token_WD: embeddings of the batch's tokens; the first is the padding's.
            weight_W: weights of these tokens in a text, at least 0.
            term_A: int64 numbers of the queries' tokens among them; the first is 0, the padding.
            query_ZQ: int64 numbers among `term_A`, 0 is padding; each group has a token.
            title_ZCT: int64 numbers among the batch's tokens, 0 is padding.

        Returns:
            [Z, C, D].
        """
        unit_WK = F.normalize(self.projection(token_WD), dim=-1)
        unit_AK = unit_WK[term_A]
        like_AW = (unit_AK @ unit_WK.T).index_fill(1, term_A[:1], APART)
        best_ZCQ = self._nearest(like_AW, query_ZQ, title_ZCT)
        asked_Z1Q = (query_ZQ != 0)[:, None]
        prior_A = weight_W[term_A].clamp_min(LEAST_WEIGHT).log().to(unit_AK.dtype)
        logit_AH = self.importance(unit_AK) + prior_A[:, None]
        weight_ZQH = logit_AH[query_ZQ].masked_fill(query_ZQ[..., None] == 0, -torch.inf).softmax(1)
        worst_ZC1 = best_ZCQ.masked_fill(~asked_Z1Q, 1.0).amin(-1, keepdim=True)
        return self.out(torch.cat([best_ZCQ @ weight_ZQH, worst_ZC1], dim=-1))

    @staticmethod
    def _nearest(like_AW: Tensor, query_ZQ: Tensor, title_ZCT: Tensor) -> Tensor:
        """Each query token's likeness to the nearest token of the title [Z, C, Q].

        The nearest one is found without a gradient, so that the backward pass meets one place a token and not T.
        """
        start_ZQ = query_ZQ * like_AW.shape[1]
        with torch.no_grad():
            place_ZCQT = start_ZQ[:, None, :, None] + title_ZCT[:, :, None]
            nearest_ZCQ1 = like_AW.take(place_ZCQT).argmax(-1, keepdim=True)
            place_ZCQ = place_ZCQT.gather(-1, nearest_ZCQ1).squeeze(-1)
        return like_AW.take(place_ZCQ)
