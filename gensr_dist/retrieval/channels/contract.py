"""What a channel of candidates is: it proposes items with scores for requests.

Dimensions: G groups (a user at a moment, perhaps with a query), L newest history, K proposals, I items, W words, Q
query tokens.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Int = NDArray[np.int64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Requests:
    """What is asked for: what next (without words), or what fits a query."""

    user_G: Int
    item_GL: Int  # newest history, oldest first, padded at the end with -1
    word_GW: csr_array | None = None  # float32, 1 for the known words of each group's query; None: nothing was typed
    token_GQ: Int | None = None  # the queries' tokens, padded with 0

    @cached_property
    def age_GL(self) -> Int:
        """0 for the newest interaction, 1 for the one before; negative where `item_GL` is padding."""
        length_G1 = (self.item_GL >= 0).sum(axis=1, keepdims=True)
        return length_G1 - 1 - np.arange(self.item_GL.shape[1])

    def __len__(self) -> int:
        return len(self.user_G)


@dataclass(frozen=True)
class Proposals:
    """Distinct items of each group, best first."""

    item_GK: Int  # padded at the end with -1
    score_GK: Float32  # falling; -inf pads


class Channel(Protocol):
    """One way to find candidates. What it gives a group must not depend on the other groups."""

    @property
    def empty(self) -> str | None:
        """Why this channel never proposes anything; None where it does."""

    def propose(self, requests: Requests, k: int) -> Proposals:
        """Up to k items a group. Items that the user already met may be among them."""


class Ranking:
    """Orders sparse scores of items, a group at a time; equal scores in the order of the catalogue.

    Args:
        prior_I: added to the score of every item that has one; None adds nothing.
        items: I.
    """

    def __init__(self, prior_I: Float32 | None, items: int) -> None:
        self.prior_I, self._extra_I = prior_I, np.zeros(items, dtype=np.float32)

    def best(self, score_GI: csr_array, k: int, *, extra_GI: csr_array | None = None) -> Proposals:
        """The k items of highest score a group, among those that `score_GI` has an entry for.

        Args:
            score_GI: float32.
            k: wanted.
            extra_GI: added to the scores of those items; its other items are left out.
        """
        groups = score_GI.shape[0]
        item_GK = np.full((groups, k), -1, dtype=np.int64)
        score_GK = np.full((groups, k), -np.inf, dtype=np.float32)
        for group in range(groups):
            own = slice(score_GI.indptr[group], score_GI.indptr[group + 1])
            item_M, score_M = score_GI.indices[own].astype(np.int64), score_GI.data[own]
            if self.prior_I is not None:
                score_M = score_M + self.prior_I[item_M]
            if extra_GI is not None:
                also = slice(extra_GI.indptr[group], extra_GI.indptr[group + 1])
                self._extra_I[extra_GI.indices[also]] = extra_GI.data[also]
                score_M = score_M + self._extra_I[item_M]
                self._extra_I[extra_GI.indices[also]] = 0
            if len(item_M) > k:  # only those that can be among the first k are sorted
                chosen_M = score_M >= np.partition(score_M, len(score_M) - k)[-k]
                item_M, score_M = item_M[chosen_M], score_M[chosen_M]
            first_K = np.lexsort((item_M, -score_M))[:k]
            item_GK[group, : len(first_K)], score_GK[group, : len(first_K)] = item_M[first_K], score_M[first_K]
        return Proposals(item_GK, score_GK)
