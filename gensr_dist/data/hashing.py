"""Random numbers that are a function of a key, so that neither batches nor ranks nor workers change them.

Dimensions: R rows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hash = NDArray[np.uint64]
Key = Sequence[int | NDArray[Any]]  # integers and int arrays [R] that together name each row


def hash_key(key: Key, rows: int) -> Hash:
    """One number a row from all parts of the key, uint64 [R]."""
    state_R = np.zeros(rows, dtype=np.uint64)
    for part in key:
        value = np.uint64(part & 0xFFFFFFFFFFFFFFFF) if isinstance(part, int) else np.asarray(part).astype(np.uint64)
        state_R = mix((state_R + np.uint64(0x9E3779B97F4A7C15)) ^ value)
    return state_R


def mix(value: Hash) -> Hash:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a bijection of 64 bits with good avalanche; a new array."""
    value = value ^ (value >> np.uint64(30))
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value
