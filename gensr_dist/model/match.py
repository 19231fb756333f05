"""Match towers: how well a whole history and a candidate go together, as a product that T5 is told.

Attention in the soft filter says which interaction is nearest to a candidate, never how near, and T5 would have to
learn products of its inputs. The towers' vectors are also trained by a loss of their own, `losses.match_loss`, over the
negatives of all rows, which gives the texts many negatives a row instead of a few.

Dimensions: G groups, C candidates, U distinct items, E width of a CF vector, D width of the backbone.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

_FIRST_STD = 0.3  # of the towers' first weights, times sqrt(E + D)


class Match(NamedTuple):
    """The vectors of both towers."""

    user_GD: Tensor
    item_GCD: Tensor


class MatchTowers(nn.Module):
    """u = W_u [means of the encoded views] + W_q query, v = W_v [item's views]; the slot gets W_m (u * v).

    Both towers begin with the same weights, the query as if it were a text, so that u . v is a likeness before anything
    is learnt; afterwards they are free.

    Args:
        cf_width: E.
        width: D.
    """

    def __init__(self, cf_width: int, width: int) -> None:
        super().__init__()
        self.item = nn.Linear(cf_width + width, width, bias=False)
        self.user = nn.Linear(cf_width + width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False)
        self.product = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.item.weight, std=_FIRST_STD * (cf_width + width) ** -0.5)
        with torch.no_grad():
            self.user.weight.copy_(self.item.weight)
            self.query.weight.copy_(self.item.weight[:, cf_width:])

    def forward(
        self, user: tuple[Tensor, Tensor], query_GD: Tensor, item: tuple[Tensor, Tensor], candidate_GC: Tensor
    ) -> tuple[Match, Tensor]:
        """Both towers and what T5 is told of their product.

        Args:
            user: mean of the encoded history of the CF view [G, E] and of the semantic view [G, D]; zeros without one.
            query_GD: mean token of what each group asks for, zeros where it asks nothing.
            item: CF vector [U, E] and pooled text [U, D] of each item of the batch.
            candidate_GC: numbers of the candidates among them.

        Returns:
            The towers' vectors, and W_m (u * v) [G, C, D].
        """
        user_GD = self.user(torch.cat(user, dim=1)) + self.query(query_GD)
        item_GCD = self.item(torch.cat(item, dim=1))[candidate_GC]
        return Match(user_GD, item_GCD), self.product(user_GD[:, None] * item_GCD)
