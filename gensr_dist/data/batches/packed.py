"""Batches in one buffer, to be sent from one process to another."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor
from typing_extensions import Self

_ALIGNED = 64  # bytes, at whose multiples tensors begin in a buffer

Packable = TypeVar("Packable")  # a dataclass of tensors and plain values


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a buffer."""

    dtype: torch.dtype
    shape: torch.Size
    start: int
    end: int


@dataclass(frozen=True)
class Packed(Generic[Packable]):
    """Dataclasses of tensors in one buffer, to be sent by a loader process: each tensor costs a file descriptor."""

    buffer_B: Tensor  # uint8
    kind: type[Packable]
    places: tuple[dict[str, _Place], ...]  # of each one's tensors
    rest: tuple[dict[str, Any], ...]  # its other fields

    @classmethod
    def pack(cls, batches: Sequence[Packable]) -> "Packed[Packable]":
        """Copy batches of one class into a buffer of their own."""
        places: list[dict[str, _Place]] = []
        end = 0
        for batch in batches:
            place: dict[str, _Place] = {}
            for name, tensor in _tensors(batch).items():
                start = -(-end // _ALIGNED) * _ALIGNED
                end = start + tensor.nbytes
                place[name] = _Place(tensor.dtype, tensor.shape, start, end)
            places.append(place)
        packed = Packed(
            buffer_B=torch.empty(end, dtype=torch.uint8),
            kind=type(batches[0]),
            places=tuple(places),
            rest=tuple(
                {f.name: getattr(batch, f.name) for f in fields(cast(Any, batch)) if f.name not in place}
                for batch, place in zip(batches, places, strict=True)
            ),
        )
        for batch, views in zip(batches, packed.unpack(), strict=True):
            for name, view in _tensors(views).items():
                view.copy_(getattr(batch, name))
        return packed

    def unpack(self) -> list[Packable]:
        """The batches, as views into the buffer."""
        return [
            self.kind(**{name: self._view(place) for name, place in places.items()}, **rest)
            for places, rest in zip(self.places, self.rest, strict=True)
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


def _tensors(batch: Any) -> dict[str, Tensor]:
    return {f.name: value for f in fields(batch) if isinstance(value := getattr(batch, f.name), Tensor)}
