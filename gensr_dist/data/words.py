"""Words of texts, and those of typed queries among known ones.

Dimensions: N texts, M (text, word) pairs, G queries, W words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.data.sorted_keys import places

_BLOCK = 1 << 17  # texts that are split at a time
WORDS = "words.npy"  # hashes of a log's words, in the folder of the channels
PROBE = "gensr"  # its hash tells whether an index's words can still be looked up


@dataclass(frozen=True, kw_only=True)
class TextWords:
    """Which words each of N texts has."""

    text_M: NDArray[np.int64]  # ascending
    hash_M: NDArray[np.uint64]  # of the word; a word that a text repeats is here as often
    texts: int  # N

    @classmethod
    def of(cls, texts: pl.Series) -> Self:
        """Split lower-cased texts into runs of letters, digits and underscores.

        64-bit hashes stand for the words: millions of texts have no room for strings, and even ten million different
        words collide with a probability of three in a million.
        """
        text_parts, hash_parts = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint64)]
        for start in range(0, len(texts), _BLOCK):
            words = texts[start : start + _BLOCK].str.to_lowercase().str.extract_all(r"\w+")
            count_N = words.list.len()
            text_parts.append(np.repeat(start + np.arange(len(words)), count_N.to_numpy().astype(np.int64)))
            hash_parts.append(words.filter(count_N > 0).explode().hash().to_numpy())
        return cls(text_M=np.concatenate(text_parts), hash_M=np.concatenate(hash_parts), texts=len(texts))


def probe() -> str:
    """Changes with the hash function, which may differ between releases of polars."""
    return str(TextWords.of(pl.Series([PROBE])).hash_M[0])


def query_words(texts: Sequence[str], hash_W: NDArray[np.uint64]) -> csr_array:
    """1 for each word that the index knows, float32 [G, W].

    Args:
        texts: queries as they were typed.
        hash_W: hashes of the known words, ascending.
    """
    words = _words_of_queries(tuple(texts))
    place_M = places(hash_W, words.hash_M)
    known_M = place_M >= 0
    pair_M = np.unique(words.text_M[known_M] * max(1, len(hash_W)) + place_M[known_M])
    row_M, column_M = np.divmod(pair_M, max(1, len(hash_W)))
    start_G = np.searchsorted(row_M, np.arange(len(texts) + 1)).astype(np.int32)
    ones_M = np.ones(len(pair_M), dtype=np.float32)
    return csr_array((ones_M, column_M.astype(np.int32), start_G), shape=(len(texts), len(hash_W)))


@lru_cache(maxsize=2)  # every channel of words asks for those of one request, and so does the model's evidence
def _words_of_queries(texts: tuple[str, ...]) -> TextWords:
    return TextWords.of(pl.Series(texts, dtype=pl.String))
