"""What an item is to a baseline: the same choice for all of them, since GenSR reads LightGCN's vectors.

Dimensions: U distinct items of a batch (slot 0 is padding), I items, D width, E width of a CF vector.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from gensr_dist.errors import InputError

ItemKind = Literal["id", "cf", "id+cf"]


class ItemTable(Protocol):
    """The table of distinct items that every batch has."""

    item_U: Tensor
    cf_UE: Tensor


class ItemInput(nn.Module):
    """A learnt vector an item, a projection of its CF vector, or their sum; padding is zero.

    Args:
        kind: which of them.
        items: I.
        width: D.
        cf_width: E.
        cf_scale: that brings CF vectors to a mean square of one.
        std: of the learnt vectors at the beginning.
    """

    def __init__(
        self, kind: ItemKind, items: int, width: int, cf_width: int, cf_scale: float, *, std: float = 0.02
    ) -> None:
        super().__init__()
        self.cf_scale = cf_scale
        self.table = nn.Embedding(items, width) if "id" in kind else None
        self.projection = nn.Linear(cf_width, width) if "cf" in kind else None
        if self.table is not None:
            nn.init.normal_(self.table.weight, std=std)
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, std=std * width**0.5 / cf_width**0.5)
            nn.init.zeros_(self.projection.bias)

    def forward(self, batch: ItemTable) -> Tensor:
        """Vectors [U, D]; 0 in slot 0."""
        parts: list[Tensor] = []
        if self.table is not None:
            parts.append(self.table(batch.item_U.clamp_min(0)))
        if self.projection is not None:
            parts.append(self.projection(batch.cf_UE * self.cf_scale))
        return torch.stack(parts).sum(0) * (batch.item_U >= 0)[:, None]

    def catalogue(self) -> Tensor:
        """Learnt vectors of all items [I, D].

        Raises:
            InputError: items are more than learnt vectors.
        """
        if self.table is None or self.projection is not None:
            problem = (
                "the loss 'ce' needs the vectors of the whole catalogue at every step, which are there for 'id' alone"
            )
            raise InputError("item_input", problem, "set item_input=id, or loss=sampled")
        return self.table.weight
