"""Results as a sentence for people: `users 600, items 1,200, recall at 20 0.31`."""

import dataclasses
from collections.abc import Mapping
from typing import Any


def sentence(result: Any) -> str:
    """The plain values of a dataclass or mapping, those of its mappings in brackets; texts and seconds left out."""
    values = result if isinstance(result, Mapping) else dataclasses.asdict(result)
    parts = []
    for key, value in values.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            parts.append(f"{name} ({sentence(value)})")
        elif isinstance(value, bool) or value is None:
            parts.append(f"{name} {'none' if value is None else 'yes' if value else 'no'}")
        elif isinstance(value, int):
            parts.append(f"{name} {value:,}")
        elif isinstance(value, float) and key != "seconds":
            parts.append(f"{name} {value:.4g}")
    return ", ".join(parts)
