"""Scores of channels that compare vectors: inner products, their best found through FAISS.

Dimensions: G groups, K proposals, C candidates, D width, I items, J of them in an index, S groups with a vector, A
allowed of the J.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gensr_dist.retrieval.channels.contract import Float32, Int, Proposals

Bool = NDArray[np.bool_]


class DenseItems(Protocol):
    """Gives vectors of items; an array does."""

    def __getitem__(self, item_C: Int) -> Float32:
        """[C, D]."""


@dataclass(frozen=True)
class VectorIndex:
    """A FAISS index by inner product, over the items that have a vector."""

    faiss: Any  # faiss.Index
    item_J: Int

    def search(self, query_GD: Float32, k: int, allowed_I: Bool | None = None) -> Proposals:
        """The nearest items, approximately where the index is; none where a vector is zero.

        Args:
            query_GD: vectors.
            k: wanted.
            allowed_I: what may be found; None: everything.
        """
        item_GK = np.full((len(query_GD), k), -1, dtype=np.int64)
        score_GK = np.full((len(query_GD), k), -np.inf, dtype=np.float32)
        (some_S,) = np.nonzero(np.any(query_GD != 0, axis=1))
        found = min(k, len(self.item_J))
        if not found or not len(some_S):
            return Proposals(item_GK, score_GK)
        query_SD = np.ascontiguousarray(query_GD[some_S], dtype=np.float32)
        score_SK, place_SK = self.faiss.search(query_SD, found, params=self._parameters(allowed_I))
        item_GK[some_S, :found] = np.where(place_SK >= 0, self.item_J[place_SK], -1)
        score_GK[some_S, :found] = np.where(place_SK >= 0, score_SK, -np.inf)
        return Proposals(item_GK, score_GK)

    def _parameters(self, allowed_I: Bool | None) -> Any:
        if allowed_I is None:
            return None
        import faiss

        kinds: Any = faiss  # its stubs know no selectors
        (place_A,) = np.nonzero(allowed_I[self.item_J])
        chosen = kinds.IDSelectorBatch(place_A)
        wider = len(self.item_J) / max(1, len(place_A))  # the fewer are allowed, the farther off they lie
        if isinstance(self.faiss, faiss.IndexIVF):
            search_width = min(self.faiss.nlist, math.ceil(wider * self.faiss.nprobe))
            return kinds.SearchParametersIVF(sel=chosen, nprobe=search_width)
        if isinstance(self.faiss, faiss.IndexHNSW):
            search_width = min(len(self.item_J), math.ceil(wider * self.faiss.hnsw.efSearch))
            return kinds.SearchParametersHNSW(sel=chosen, efSearch=search_width)
        return kinds.SearchParameters(sel=chosen)


class DenseScores:
    """Inner products.

    Args:
        index: of the items' vectors.
        vectors: the same, by item.
        query_GD: of the groups; a zero vector proposes nothing.
        allowed_I: what may be proposed; None: everything.
    """

    def __init__(
        self, index: VectorIndex, vectors: DenseItems, query_GD: Float32, allowed_I: Bool | None = None
    ) -> None:
        self.index, self.vectors, self.query_GD, self.allowed_I = index, vectors, query_GD, allowed_I

    def best(self, k: int) -> Proposals:
        """See `Scores`."""
        return self.index.search(self.query_GD, k, self.allowed_I)

    def of(self, item_GC: Int) -> Float32:
        """See `Scores`."""
        item_GC = np.maximum(item_GC, 0)
        score_GC = np.empty(item_GC.shape, dtype=np.float32)
        for group, query_D in enumerate(self.query_GD):  # vectors of all groups would not fit beside each other
            score_GC[group] = np.asarray(self.vectors[item_GC[group]]) @ query_D
        return score_GC
