"""A history as two: what was recommended, and what was searched for. Twin events of one interaction stand in both.

Dimensions: G groups, L history, D width, K distinct queries of the batch (row 0 is none), U items of the batch (slot 0
is padding), P pairs of a query and an item that it found.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from gensr_dist.baselines.layers.contrast import BilinearContrast
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.events import Behaviour


@dataclass(frozen=True)
class Behaviours:
    """Vectors of a history, and to which of the two each entry belongs."""

    item_GLD: Tensor
    query_GLD: Tensor  # of no query where there was none
    rec_GL: Tensor  # bool
    search_GL: Tensor  # bool
    asked_GL: Tensor  # bool: there was a query

    @classmethod
    def of(cls, batch: ContextBatch, item_UD: Tensor, query_KD: Tensor) -> Self:
        """Read the histories of a batch.

        Args:
            batch: of the rows.
            item_UD: vectors of its items.
            query_KD: vectors of its histories' queries.
        """
        real_GL = batch.history_GL > 0
        return cls(
            item_GLD=item_UD[batch.history_GL],
            query_GLD=query_KD[batch.history_query_GL],
            rec_GL=real_GL & ((batch.behaviour_GL & Behaviour.RECOMMENDATION.bit) > 0),
            search_GL=real_GL & ((batch.behaviour_GL & Behaviour.SEARCH.bit) > 0),
            asked_GL=real_GL & (batch.history_query_GL > 0),
        )


def places(mask_GL: Tensor) -> Tensor:
    """How many entries of the mask stand before each of its entries, int64 [G, L]; of others without a meaning."""
    return (mask_GL.cumsum(1) - 1).clamp_min(0)


def query_item_pairs(batch: ContextBatch, most: int) -> tuple[Tensor, Tensor]:
    """Distinct pairs of the batch's histories.

    Args:
        batch: of the rows.
        most: pairs; of more, some are drawn.

    Returns:
        Rows of query_KQ [P] and slots of the items [P].
    """
    found_GL = (batch.history_query_GL > 0) & (batch.history_GL > 0)
    items = len(batch.item_U)
    pair_P = (batch.history_query_GL[found_GL] * items + batch.history_GL[found_GL]).unique()
    if len(pair_P) > most:
        pair_P = pair_P[torch.randperm(len(pair_P), device=pair_P.device)[:most]]
    return pair_P // items, pair_P % items


def alignment(
    contrast: BilinearContrast, batch: ContextBatch, item_UD: Tensor, query_KD: Tensor, *, most: int
) -> Tensor:
    """Contrast of past queries and the items that they found: the mean over pairs, times the groups of the batch.

    Pairs that share a query or an item are no negatives of each other.

    Args:
        contrast: of queries (left) and items.
        batch: of the rows.
        item_UD: vectors of its items.
        query_KD: vectors of its histories' queries.
        most: see `query_item_pairs`.
    """
    query_P, slot_P = query_item_pairs(batch, most)
    item_P = batch.item_U[slot_P]
    same_PP = (query_P[:, None] == query_P) | (item_P[:, None] == item_P)
    loss: Tensor = contrast(query_KD[query_P], item_UD[slot_P], same_PP)
    return loss * (batch.row_G >= 0).sum()
