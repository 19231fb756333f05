"""Match towers: how well a whole history and a candidate go together, as a product that T5 is told.

Attention in the soft filter says which interaction is nearest to a candidate, never how near, and T5 would have to
learn products of its inputs. The towers' vectors are also trained by a loss of their own, `losses.match_loss`, over the
negatives of all rows, which gives the texts many negatives a row instead of a few.

Dimensions: G groups, C candidates, U distinct items, E width of a CF vector, D width of the backbone, H of the towers.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

WIDTH = 64  # of the towers, whatever the backbone's: vectors of all items are indexed
_FIRST_STD = 0.3  # of the towers' first weights, times sqrt(E + D)


class Match(NamedTuple):
    """The vectors of both towers."""

    user_GH: Tensor
    item_GCH: Tensor


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
        self.item = nn.Linear(cf_width + width, WIDTH, bias=False)
        self.user = nn.Linear(cf_width + width, WIDTH, bias=False)
        self.query = nn.Linear(width, WIDTH, bias=False)
        self.product = nn.Linear(WIDTH, width, bias=False)
        nn.init.normal_(self.item.weight, std=_FIRST_STD * (cf_width + width) ** -0.5)
        with torch.no_grad():
            self.user.weight.copy_(self.item.weight)
            self.query.weight.copy_(self.item.weight[:, cf_width:])

    def users(self, user: tuple[Tensor, Tensor], query_GD: Tensor) -> Tensor:
        """Vectors of the user tower [G, H].

        Args:
            user: mean of the encoded history of the CF view [G, E] and of the semantic view [G, D]; zeros without one.
            query_GD: mean token of what each group asks for, zeros where it asks nothing.
        """
        user_GH: Tensor = self.user(torch.cat(user, dim=1)) + self.query(query_GD)
        return user_GH

    def items(self, item: tuple[Tensor, Tensor]) -> Tensor:
        """Vectors of the item tower [U, H].

        Args:
            item: CF vector [U, E] and pooled text [U, D] of each item.
        """
        item_UH: Tensor = self.item(torch.cat(item, dim=1))
        return item_UH

    def forward(self, user_GH: Tensor, item_UH: Tensor, candidate_GC: Tensor) -> tuple[Match, Tensor]:
        """What T5 is told of the products.

        Args:
            user_GH: of `users`.
            item_UH: of `items`.
            candidate_GC: numbers of the candidates among the items.

        Returns:
            The towers' vectors, and W_m (u * v) [G, C, D].
        """
        item_GCH = item_UH[candidate_GC]
        return Match(user_GH, item_GCH), self.product(user_GH[:, None] * item_GCH)
