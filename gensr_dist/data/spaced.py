"""Some of many things in a row, at even distances."""

import numpy as np
from numpy.typing import NDArray


def spaced(count: int, most: int) -> NDArray[np.int64]:
    """Ascending places of at most `most` of `count` things; with two or more the first and the last are among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def thinned(count: int, most: int) -> NDArray[np.int64]:
    """Ascending places of at most `most` of `count` things: the first of each of as many equal parts."""
    return np.unique(np.linspace(0, count, min(most, count), endpoint=False).astype(np.int64))
