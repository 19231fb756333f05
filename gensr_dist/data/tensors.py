"""Dataclasses that hold tensors, and tensors of numbers.

Dimensions: X any.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Holder = TypeVar("Holder")


def map_tensors(holder: Holder, change: Callable[[Tensor], Tensor]) -> Holder:
    """The same dataclass with every tensor changed, also those of dataclasses and tuples inside it.

    A tensor that stands in several places is changed once.
    """
    return cast(Holder, _mapped(holder, change, {}))


def renumbered(*number_X: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The distinct numbers of some tensors and 0, ascending; and the tensors as places among them.

    Args:
        number_X: int, 0 or more, so that 0 stays first.
    """
    flat = torch.cat([number_X[0].new_zeros(1), *(each_X.flatten() for each_X in number_X)])
    kept, place = flat.unique(return_inverse=True)
    pieces = place[1:].split([each_X.numel() for each_X in number_X])
    return kept, [piece.view_as(each_X) for piece, each_X in zip(pieces, number_X, strict=True)]


def _mapped(value: Any, change: Callable[[Tensor], Tensor], done: dict[int, Tensor]) -> Any:
    if isinstance(value, Tensor):
        if id(value) not in done:
            done[id(value)] = change(value)
        return done[id(value)]
    if isinstance(value, tuple):
        return tuple(_mapped(part, change, done) for part in value)
    if not is_dataclass(value):
        return value
    changed = {field.name: _mapped(getattr(value, field.name), change, done) for field in fields(value)}
    return replace(cast(Any, value), **changed)
