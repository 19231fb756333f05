"""Rows with histories of like length, read together: most are short, and a padded place costs as much as an entry.

Dimensions: G rows, S sequences, R rows or sequences, L history, C candidates, K queries, U distinct items, X lengths
that histories are cut to.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.sequences import SequenceBatch
from gensr_dist.data.tensors import renumbered

_HALVINGS = 3
_SHORT = 4  # entries to which padding costs next to nothing

Rows = TypeVar("Rows", ContextBatch, SequenceBatch)


def by_length(batch: Rows) -> list[tuple[Tensor, Rows]]:
    """Parts of a batch: a history of at most half, a quarter or an eighth of the longest is padded to no more.

    Returns:
        Of each part the places of its rows in the batch, int64, ascending, and the part, whose tables are the batch's.
    """
    history_RL = batch.item_SL if isinstance(batch, SequenceBatch) else batch.history_GL
    length_R = (history_RL > 0).sum(1)
    longest = max(1, int(length_R.max())) if len(length_R) else 1
    width_X = [longest >> k for k in range(_HALVINGS + 1) if not k or longest >> k >= _SHORT]
    part_R = sum((length_R <= width for width in width_X[1:]), torch.zeros_like(length_R))
    rows = "S" if isinstance(batch, SequenceBatch) else "G"
    places = [(part_R == part).nonzero().flatten() for part in range(len(width_X))]
    return [
        (place, _part(batch, rows, place, width)) for place, width in zip(places, width_X, strict=True) if len(place)
    ]


def read_by_length(read: Callable[[ContextBatch], tuple[Tensor, ...]], batch: ContextBatch) -> tuple[Tensor, ...]:
    """What `read` makes of each row, in the order of the batch, from its parts `by_length` over tables of their own.

    Args:
        read: gives tensors [G, ...] in which a row depends on no other row.
        batch: of G rows, at least one.
    """
    parts = by_length(batch)
    if len(parts) == 1:
        return read(parts[0][1])
    places, results = zip(*((place_G, read(_with_own_tables(part))) for place_G, part in parts), strict=True)
    order_G = torch.cat(places).argsort()
    return tuple(torch.cat(of_parts)[order_G] for of_parts in zip(*results, strict=True))


def _with_own_tables(batch: ContextBatch) -> ContextBatch:
    """The same rows over tables of nothing but what they show, for models that work on all of a table."""
    slot_U, (history_GL, candidate_GC) = renumbered(batch.history_GL, batch.candidate_GC)
    query_K, (history_query_GL,) = renumbered(batch.history_query_GL)
    return replace(
        batch,
        history_GL=history_GL,
        candidate_GC=candidate_GC,
        item_U=batch.item_U[slot_U],
        cf_UE=batch.cf_UE[slot_U],
        title_UT=batch.title_UT[slot_U],
        history_query_GL=history_query_GL,
        query_KQ=batch.query_KQ[query_K],
    )


def _part(batch: Rows, rows: str, place_R: Tensor, width: int) -> Rows:
    """Some rows, and of their histories the first places: the names of tensors say which dimensions these are."""
    changed: dict[str, Any] = {}
    for field in fields(batch):
        dimensions = field.name.rpartition("_")[2]
        if dimensions.startswith(rows):
            value = getattr(batch, field.name)[place_R]
            changed[field.name] = value[:, :width] if dimensions[1:2] == "L" else value
    return replace(batch, **changed)
