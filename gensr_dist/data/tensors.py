"""Dataclasses that hold tensors."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from torch import Tensor

Holder = TypeVar("Holder")


def map_tensors(holder: Holder, change: Callable[[Tensor], Tensor]) -> Holder:
    """The same dataclass with every tensor changed, also those of dataclasses and tuples inside it.

    A tensor that stands in several places is changed once.
    """
    return cast(Holder, _mapped(holder, change, {}))


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
