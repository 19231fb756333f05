"""Words of typed queries as rows over the words of an index.

Dimensions: G queries, W words.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gensr_dist.baselines.untrained.item_words import TextWords

PROBE = "gensr"  # its hash tells whether an index's words can still be looked up


def probe() -> str:
    """Changes with the hash function, which may differ between releases of polars."""
    return str(TextWords.of(pl.Series([PROBE])).hash_M[0])


def query_words(texts: Sequence[str], hash_W: NDArray[np.uint64]) -> csr_array:
    """1 for each word that the index knows, float32 [G, W].

    Args:
        texts: queries as they were typed.
        hash_W: hashes of the known words, ascending.
    """
    words = TextWords.of(pl.Series(list(texts), dtype=pl.String))
    place_M = np.searchsorted(hash_W, words.hash_M)
    known_M = np.zeros(len(place_M), dtype=bool)
    inside_M = place_M < len(hash_W)
    known_M[inside_M] = hash_W[place_M[inside_M]] == words.hash_M[inside_M]
    pair_M = np.unique(words.text_M[known_M] * max(1, len(hash_W)) + place_M[known_M])
    row_M, column_M = np.divmod(pair_M, max(1, len(hash_W)))
    start_G = np.searchsorted(row_M, np.arange(len(texts) + 1)).astype(np.int32)
    ones_M = np.ones(len(pair_M), dtype=np.float32)
    return csr_array((ones_M, column_M.astype(np.int32), start_G), shape=(len(texts), len(hash_W)))
