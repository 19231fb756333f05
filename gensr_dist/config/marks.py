"""What a setting is about, beside its bounds: `steps: Annotated[int, Field(ge=1), Mark.OPERATIONAL]`."""

import dataclasses
from enum import Enum
from typing import Any, get_args, get_type_hints


class Mark(Enum):
    """A setting without a mark shapes the result of its stage."""

    OPERATIONAL = "without effect on results: a resumed run may change it"
    PLACE = "where files lie and what becomes of damaged ones"
    BATCHING = "how batches are read from shards: training depends on it, shards do not"


def marked(section: type, mark: Mark, prefix: str = "") -> frozenset[str]:
    """Dotted keys of the fields of a dataclass of dataclasses that carry the mark.

    Args:
        section: the dataclass.
        mark: that is looked for.
        prefix: is put before each key.
    """
    keys: set[str] = set()
    for name, hint in get_type_hints(section, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            keys |= marked(_class_of(hint), mark, f"{prefix}{name}.")
        elif mark in get_args(hint)[1:]:
            keys.add(prefix + name)
    return frozenset(keys)


def _class_of(hint: Any) -> type:
    assert isinstance(hint, type)
    return hint
