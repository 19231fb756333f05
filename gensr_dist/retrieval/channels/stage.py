"""The stage `gensr channels`: lists that channels read, counted from the log before any model; and mapping them again.

Dimensions: I items, W words.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.data.history_evidence import FILES as HISTORY_FILES
from gensr_dist.data.history_evidence import HistoryEvidence
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.query_items import ITEMS, STARTS
from gensr_dist.data.query_evidence import FILES as QUERY_FILES
from gensr_dist.data.query_evidence import QueryEvidence
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.sparse_vectors import present
from gensr_dist.data.words import WORDS, probe
from gensr_dist.errors import InputError
from gensr_dist.retrieval.channels.earlier_visits import earlier_visits, users_of_items
from gensr_dist.retrieval.channels.item_neighbours import covisitation, text_neighbours
from gensr_dist.retrieval.channels.lexical import bm25_lists
from gensr_dist.retrieval.channels.query_clicks import FILES as CLICK_FILES
from gensr_dist.retrieval.channels.query_clicks import ClickGraph
from gensr_dist.retrieval.channels.query_lists import query_items
from gensr_dist.retrieval.channels.sessions import FILES as SESSION_FILES
from gensr_dist.retrieval.channels.sessions import Sessions
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.sentences import sentence
from gensr_dist.storage.arrays import open_array
from gensr_dist.storage.checked_files import CheckedFiles, record_files
from gensr_dist.storage.durable import durable_folder
from gensr_dist.storage.records import read_record, write_json
from gensr_dist.storage.sparse_lists import list_files, open_lists, save_lists

FILES = (
    WORDS,
    *list_files("covisitation"),
    *list_files("text"),
    *list_files("bm25"),
    *CLICK_FILES,
    *SESSION_FILES,
    *QUERY_FILES,
    *HISTORY_FILES,
    STARTS,
    ITEMS,
)
RECORD = "channels.json"
REMEDY = "run `gensr channels` again"


@dataclass(frozen=True, kw_only=True)
class ChannelsResult:
    """What the stage counted."""

    items: int
    entries: Mapping[str, int]  # of the lists that channels read; a channel without any stays empty
    bytes: int
    seconds: float
    warnings: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """For people."""
        return (sentence(self), *(f"warning: {line}" for line in self.warnings))


@dataclass(frozen=True, kw_only=True)
class _Contents(CheckedFiles):
    """channels.json."""

    items: int
    word_probe: str  # `words.probe` at the time of writing


def build_channels(store: TimelineStore, items: ItemStore, folder: Path) -> ChannelsResult:
    """Count and write the folder, whole or not at all.

    Args:
        store: of the log.
        items: of the log.
        folder: receives the lists.
    """
    started = time.perf_counter()
    sources = ChannelSources.of(store, items)
    arrays = ChannelArrays.build(sources)
    listed = query_items(present(sources.word_QW), arrays.clicks, arrays.bm25_WI)
    counts = sources.text_IW, sources.word_QW, sources.found_IQ
    queries = QueryEvidence.of(sources.hash_W, *counts, sources.repeated)
    users_I = users_of_items(sources.user_M, sources.item_M, store.items)
    histories = HistoryEvidence(
        close_II=arrays.covisited_II,
        text_II=arrays.text_II,
        users_I=users_I,
        earlier=earlier_visits(sources.user_M, sources.item_M, sources.time_M, users_I),
    )
    with durable_folder(folder) as temporary:
        arrays.save(temporary)
        listed.save(temporary)
        queries.save(temporary)
        histories.save(temporary)
        files = record_files(temporary)
        contents = _Contents(items=store.items, word_probe=probe(), files=files)
        write_json(temporary / RECORD, asdict(contents))
    entries = {
        **arrays.entries(),
        "items of queries": len(listed.item_M),
        "evidence of queries": len(queries.found_key_M),
        "earlier evidence of histories": histories.earlier.close_NI.nnz,
    }
    return ChannelsResult(
        items=store.items,
        entries=entries,
        bytes=sum(record.bytes for record in files),
        seconds=round(time.perf_counter() - started, 2),
        warnings=tuple(f"the log gives nothing to {name!r}, which stays empty" for name, n in entries.items() if not n),
    )


@dataclass(frozen=True, kw_only=True)
class ChannelArrays:
    """Everything that channels read besides FAISS indices; mapped."""

    hash_W: NDArray[np.uint64]  # of the words that can be searched for, ascending
    covisited_II: csr_array
    text_II: csr_array
    bm25_WI: csr_array
    clicks: ClickGraph
    sessions: Sessions

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
            sessions=Sessions.of(sources.user_M, sources.item_M, sources.time_M, items),
        )

    def save(self, folder: Path) -> None:
        """Write FILES into an existing folder."""
        np.save(folder / WORDS, self.hash_W, allow_pickle=False)
        save_lists(folder, "covisitation", self.covisited_II)
        save_lists(folder, "text", self.text_II)
        save_lists(folder, "bm25", self.bm25_WI)
        self.clicks.save(folder)
        self.sessions.save(folder)

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Map what `build_channels` wrote; every file's checksum is looked at.

        Args:
            folder: of the channels.
            items: of the catalogue.

        Raises:
            InputError: the folder is missing, or a file is missing, changed, or of another catalogue.
        """
        path = folder / RECORD
        contents = read_record(path, _Contents, "channels", missing="run `gensr channels` first", wrong=REMEDY)
        if contents.items != items:
            raise InputError(path, f"made for {contents.items} items, the shards hold {items}", REMEDY)
        if contents.word_probe != probe():
            raise InputError(path, "its words were hashed by another release of polars", REMEDY)
        contents.require(path, FILES, REMEDY)
        return cls(
            hash_W=open_array(folder / WORDS, REMEDY),
            covisited_II=open_lists(folder, "covisitation", items, REMEDY),
            text_II=open_lists(folder, "text", items, REMEDY),
            bm25_WI=open_lists(folder, "bm25", items, REMEDY),
            clicks=ClickGraph.open(folder, items),
            sessions=Sessions.open(folder),
        )

    def entries(self) -> dict[str, int]:
        """Number of entries by list, for the record of the stage."""
        return {
            "covisitation": self.covisited_II.nnz,
            "text": self.text_II.nnz,
            "bm25": self.bm25_WI.nnz,
            "clicks": self.clicks.found_WI.nnz,
            "sessions": len(self.sessions.item_M),
        }
