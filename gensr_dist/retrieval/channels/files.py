"""The arrays of all channels in an index folder: building, and mapping them again.

Dimensions: I items, W words.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.baselines.sparse_vectors import present
from gensr_dist.retrieval.channels.item_neighbours import covisitation, text_neighbours
from gensr_dist.retrieval.channels.lexical import bm25_lists
from gensr_dist.retrieval.channels.query_clicks import FILES as CLICK_FILES
from gensr_dist.retrieval.channels.query_clicks import ClickGraph
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.channels.sparse_lists import list_files, map_array, open_lists, save_lists

FILES = (
    "words.npy",
    *list_files("covisitation"),
    *list_files("text"),
    *list_files("bm25"),
    *CLICK_FILES,
)


@dataclass(frozen=True, kw_only=True)
class ChannelArrays:
    """Everything that channels read besides the FAISS indices; mapped."""

    hash_W: NDArray[np.uint64]  # of the words that can be searched for, ascending
    covisited_II: csr_array
    text_II: csr_array
    bm25_WI: csr_array
    clicks: ClickGraph

    @classmethod
    def build(cls, sources: ChannelSources) -> Self:
        """Count and compare; see each channel."""
        items = sources.text_IW.shape[0]
        return cls(
            hash_W=sources.hash_W,
            covisited_II=covisitation(sources.user_M, sources.item_M, items),
            text_II=text_neighbours(present(sources.text_IW)),
            bm25_WI=bm25_lists(sources.text_IW),
            clicks=ClickGraph.of(present(sources.word_QW), sources.found_IQ),
        )

    def save(self, folder: Path) -> None:
        """Write FILES into an existing folder."""
        np.save(folder / "words.npy", self.hash_W, allow_pickle=False)
        save_lists(folder, "covisitation", self.covisited_II)
        save_lists(folder, "text", self.text_II)
        save_lists(folder, "bm25", self.bm25_WI)
        self.clicks.save(folder)

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Map what `save` wrote; the files must be whole, as the record of the index says."""
        return cls(
            hash_W=map_array(folder / "words.npy"),
            covisited_II=open_lists(folder, "covisitation", items),
            text_II=open_lists(folder, "text", items),
            bm25_WI=open_lists(folder, "bm25", items),
            clicks=ClickGraph.open(folder, items),
        )

    def entries(self) -> dict[str, int]:
        """Number of entries by list, for the record of the stage."""
        return {
            "covisitation": self.covisited_II.nnz,
            "text": self.text_II.nnz,
            "bm25": self.bm25_WI.nnz,
            "clicks": self.clicks.found_WI.nnz,
        }
