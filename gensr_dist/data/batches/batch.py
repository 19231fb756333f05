"""What the model sees in one pass.

Dimensions: G groups (one positive and its negatives share user, history and query), C candidates a group, L history,
Q query tokens, U distinct items of the batch (slot 0 is padding), T title tokens an item, E width of a CF vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from typing_extensions import Self

from gensr_dist.data.tensors import map_tensors

IGNORED = -100  # label of a padded candidate
_ALIGNED = 64  # bytes, at whose multiples tensors begin in a buffer


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
    log_chance_GC: Tensor  # float32: log of how much likelier a negative is drawn than by uniform draws; inf: not so
    step_groups: int  # unpadded groups of the whole optimizer step, over all ranks and micro-batches

    def pin_memory(self) -> Self:
        """Page-locked copy, for asynchronous transfer to a GPU."""
        return map_tensors(self, Tensor.pin_memory)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a buffer."""

    dtype: torch.dtype
    shape: torch.Size
    start: int
    end: int


@dataclass(frozen=True)
class PackedBatches:
    """Batches in one buffer, to be sent by a loader process: each tensor that is sent costs a file descriptor."""

    buffer_B: Tensor  # uint8
    places: tuple[dict[str, _Place], ...]  # of each batch's tensors
    step_groups: tuple[int, ...]

    @classmethod
    def pack(cls, batches: Sequence[Batch]) -> Self:
        """Copy batches into a buffer of their own."""
        places: list[dict[str, _Place]] = []
        end = 0
        for batch in batches:
            place: dict[str, _Place] = {}
            for name, tensor in _tensors(batch).items():
                start = -(-end // _ALIGNED) * _ALIGNED
                end = start + tensor.nbytes
                place[name] = _Place(tensor.dtype, tensor.shape, start, end)
            places.append(place)
        packed = cls(
            buffer_B=torch.empty(end, dtype=torch.uint8),
            places=tuple(places),
            step_groups=tuple(batch.step_groups for batch in batches),
        )
        for batch, views in zip(batches, packed.unpack(), strict=True):
            for name, view in _tensors(views).items():
                view.copy_(getattr(batch, name))
        return packed

    def unpack(self) -> list[Batch]:
        """The batches, as views into the buffer."""
        return [
            Batch(**{name: self._view(place) for name, place in places.items()}, step_groups=groups)
            for places, groups in zip(self.places, self.step_groups, strict=True)
        ]

    def share_memory(self) -> Self:
        """The same, in memory that another process can map: there an allocation that fails can be told of."""
        self.buffer_B.share_memory_()
        return self

    def pin_memory(self) -> Self:
        """Page-locked copy."""
        return replace(self, buffer_B=self.buffer_B.pin_memory())

    def _view(self, place: _Place) -> Tensor:
        return self.buffer_B[place.start : place.end].view(place.dtype).view(place.shape)


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {f.name: value for f in fields(batch) if isinstance(value := getattr(batch, f.name), Tensor)}
