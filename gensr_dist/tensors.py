"""Dataclasses that hold tensors."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from torch import Tensor

Holder = TypeVar("Holder")


def map_tensors(holder: Holder, change: Callable[[Tensor], Tensor]) -> Holder:
    """The same dataclass with every tensor changed, also those of dataclasses and tuples inside it."""
    changed = {field.name: _mapped(getattr(holder, field.name), change) for field in fields(cast(Any, holder))}
    return cast(Holder, replace(cast(Any, holder), **changed))


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple):
        return tuple(_mapped(part, change) for part in value)
    return map_tensors(value, change) if is_dataclass(value) else value
