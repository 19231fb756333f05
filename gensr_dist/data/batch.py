"""What the model sees in one pass.

Dimensions: G groups (one positive and its negatives share user, history and query), C candidates a group, L history,
Q query tokens, U distinct items of the batch (slot 0 is padding), T title tokens an item, E width of a CF vector.
"""

from dataclasses import dataclass, fields, replace
from typing_extensions import Self

import torch
from torch import Tensor

IGNORED = -100  # label of a padded candidate


@dataclass(frozen=True)
class Batch:
    """A batch of groups over a table of its distinct items, so that each item is looked up and pooled once."""

    row_G: Tensor  # int64, training or evaluation row; -1 for a padded group
    user_G: Tensor  # int64
    task_G: Tensor  # int64, Behaviour
    query_GQ: Tensor  # int64 token ids, 0 is padding; all 0 for recommendation
    history_GL: Tensor  # int64 slots of the item table, oldest first, padded at the end with 0
    behaviour_GL: Tensor  # int64: 0 padding, 1 recommendation, 2 search, 3 both (twin events of one interaction)
    candidate_GC: Tensor  # int64 slots of the item table, padded with 0
    label_GC: Tensor  # int64: 1 Yes, 0 No, IGNORED padding
    item_U: Tensor  # int64 rows of the catalogue; -1 in slot 0
    cf_UE: Tensor  # float32; zeros in slot 0
    title_UT: Tensor  # int64 token ids, 0 is padding
    step_groups: int  # unpadded groups of the whole optimizer step, over all ranks and accumulated batches

    def to(self, device: torch.device | str) -> Self:
        """Copy every tensor to `device` without waiting for it."""
        moved = {
            f.name: value.to(device, non_blocking=True)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def pin_memory(self) -> Self:
        """Page-locked copy, for asynchronous transfer to a GPU."""
        pinned = {
            f.name: value.pin_memory() for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **pinned)
