"""What a batch is told of its candidates, counted over the log.

Dimensions as in `batch.py`; Z searching groups, I items.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.data.batches.batch import HISTORY_FEATURES, QUERY_FEATURES
from gensr_dist.data.events import Behaviour
from gensr_dist.data.history_evidence import HistoryEvidence
from gensr_dist.data.query_evidence import OwnSearches, QueryEvidence

Int = NDArray[np.int64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Counts of both kinds; of one that is None candidates are told zeros."""

    queries: QueryEvidence | None = None
    histories: HistoryEvidence | None = None

    @classmethod
    def open(cls, folder: Path, items: int, *, queries: bool, histories: bool) -> Self:
        """Map what `gensr channels` counted.

        Args:
            folder: of the channels.
            items: of the catalogue.
            queries: whether candidates of searches are told of them.
            histories: whether candidates are told of them.

        Raises:
            InputError: the channels are missing or of another catalogue.
        """
        return cls(
            queries=QueryEvidence.open(folder, items) if queries else None,
            histories=HistoryEvidence.open(folder, items) if histories else None,
        )

    def with_items(self, texts: pl.Series, text_II: csr_array) -> "Evidence":
        """The same with items behind the log's.

        Args:
            texts: of the added items.
            text_II: neighbours of all items by words.
        """
        return dataclasses.replace(
            self,
            queries=None if self.queries is None else self.queries.with_items(texts),
            histories=None if self.histories is None else self.histories.with_items(text_II),
        )

    def of_histories(self, history_GL: Int, candidate_GC: Int, time_G: Int | None = None) -> Float32:
        """See `Batch.history_evidence_GCF`.

        Args:
            history_GL: items; -1 pads.
            candidate_GC: items; -1 pads.
            time_G: of training rows.
        """
        if self.histories is None or not (candidate_GC >= 0).any():  # the user tower has no candidates
            return np.zeros((*candidate_GC.shape, HISTORY_FEATURES), dtype=np.float32)
        evidence_GCF = self.histories.features(history_GL, candidate_GC, time_G)
        evidence_GCF[candidate_GC < 0] = 0
        return evidence_GCF

    def of_queries(
        self,
        task_G: Int,
        candidate_GC: Int,
        query_G: Int | Sequence[str],
        user_G: Int | None = None,
    ) -> Float32:
        """See `Batch.query_evidence_GCF`.

        Args:
            task_G: what is asked.
            candidate_GC: items; -1 pads.
            query_G: what is searched for: rows of the log's queries, or texts, none where no group searches.
            user_G: who asks, of training rows, whose queries are of the log: their own searches are left out.
        """
        evidence_GCF = np.zeros((*candidate_GC.shape, QUERY_FEATURES), dtype=np.float32)
        if self.queries is not None and (candidate_GC >= 0).any():
            search_Z = np.flatnonzero(task_G == Behaviour.SEARCH)
            candidate_ZC = candidate_GC[search_Z]
            left_out = None
            if isinstance(query_G, np.ndarray):
                word_ZQ = self.queries.asked(query_G[search_Z])
                left_out = None if user_G is None else OwnSearches(user_G[search_Z], query_G[search_Z])
            else:
                word_ZQ = self.queries.typed([query_G[group] for group in search_Z.tolist()])
            features_ZCF = self.queries.features(word_ZQ, candidate_ZC, left_out)
            evidence_GCF[search_Z] = features_ZCF * (candidate_ZC >= 0)[:, :, None]
        return evidence_GCF
