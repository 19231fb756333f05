"""The lists of channels over the items of the log and added ones: what no event can tell stays mapped as it was.

Dimensions: I items, W words, Q queries, N rows of a list.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.untrained.item_words import word_counts
from gensr_dist.data.sparse_vectors import present
from gensr_dist.data.words import TextWords
from gensr_dist.retrieval.channels.item_neighbours import text_neighbours
from gensr_dist.retrieval.channels.lexical import bm25_lists
from gensr_dist.retrieval.channels.query_clicks import ClickGraph
from gensr_dist.retrieval.channels.stage import ChannelArrays
from gensr_dist.storage.arrays import open_array
from gensr_dist.storage.sparse_lists import enlarged, list_files, open_lists, save_lists

REMEDY = "add the items again with `gensr index CONFIG --add ITEMS`"
FILES = ("words.npy", *list_files("text"), *list_files("bm25"))


@dataclass(frozen=True, kw_only=True)
class TextLists:
    """Lists that depend on texts alone, over all items; mapped."""

    hash_W: NDArray[np.uint64]  # of the words of all texts and of the log's queries, ascending
    text_II: csr_array
    bm25_WI: csr_array

    @classmethod
    def build(cls, hash_W: NDArray[np.uint64], count_IW: csr_array) -> Self:
        """Compare all items.

        Args:
            hash_W: of `words_of`.
            count_IW: of `words_of`.
        """
        return cls(hash_W=hash_W, text_II=text_neighbours(present(count_IW)), bm25_WI=bm25_lists(count_IW))

    def save(self, folder: Path) -> None:
        """Write FILES into an existing folder."""
        np.save(folder / "words.npy", self.hash_W, allow_pickle=False)
        save_lists(folder, "text", self.text_II)
        save_lists(folder, "bm25", self.bm25_WI)

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Map what `save` wrote for so many items."""
        return cls(
            hash_W=open_array(folder / "words.npy", REMEDY),
            text_II=open_lists(folder, "text", items, REMEDY),
            bm25_WI=open_lists(folder, "bm25", items, REMEDY),
        )

    def joined(self, arrays: ChannelArrays) -> ChannelArrays:
        """These in place of the log's, beside the log's counts of events, which no added item has.

        Args:
            arrays: of the log's items; their words are among the words of these lists.
        """
        items, words, clicks = self.text_II.shape[0], len(self.hash_W), arrays.clicks
        place_W = np.searchsorted(self.hash_W, arrays.hash_W)
        idf_W = np.zeros(words, dtype=np.float32)
        idf_W[place_W] = clicks.idf_W
        return ChannelArrays(
            hash_W=self.hash_W,
            covisited_II=enlarged(arrays.covisited_II, (items, items)),
            text_II=self.text_II,
            bm25_WI=self.bm25_WI,
            clicks=ClickGraph(
                idf_W=idf_W,
                found_WI=_spread(clicks.found_WI, place_W, (words, items)),
                query_WQ=_spread(clicks.query_WQ, place_W, (words, clicks.query_WQ.shape[1])),
                found_QI=enlarged(clicks.found_QI, (clicks.found_QI.shape[0], items)),
            ),
            sessions=arrays.sessions.with_more_items(items),
        )


def words_of(texts: pl.Series, queries: pl.Series) -> tuple[NDArray[np.uint64], csr_array]:
    """Hashes of the words of texts and queries, ascending [W], and how often each text has each [I, W]."""
    hash_W, (count_IW, _) = word_counts(TextWords.of(texts), TextWords.of(queries))
    return hash_W, count_IW


def _spread(list_NK: csr_array, place_N: NDArray[np.integer], shape: tuple[int, int]) -> csr_array:
    """The same rows at ascending places among more, which are empty; entries are not copied."""
    length = np.zeros(shape[0] + 1, dtype=list_NK.indptr.dtype)
    length[place_N + 1] = np.diff(list_NK.indptr)
    start = np.cumsum(length, dtype=list_NK.indptr.dtype)
    return csr_array((list_NK.data, list_NK.indices, start), shape=shape)
