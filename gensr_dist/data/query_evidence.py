"""Exact evidence of how well items answer a query: the words of their texts, and what training searches ended at.

Token embeddings know what is alike, not what is the same; and a text cannot tell what people ask for when they want
its item. Both can be counted. A training row is told nothing of its own user's searches that ended at its target.

Dimensions: I items, W words, N queries of the log, K (query, word) pairs, M (item, word) pairs, Z searching groups, Q
words of the longest query, C candidates, F features, X words of own searches, P pairs of a user and an item, R searches
of these pairs, S own searches of groups.
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

from gensr_dist.data.repeated_searches import RepeatedSearches
from gensr_dist.data.sorted_keys import places
from gensr_dist.data.sparse_vectors import present
from gensr_dist.data.words import WORDS, query_words
from gensr_dist.errors import InputError
from gensr_dist.storage.arrays import open_array

_COUNTED = ("idf", "query_starts", "query_words", "text_keys", "found_keys", "found_weights", "lengths", "searches")
_ARRAYS = (*_COUNTED, "repeated_pairs", "repeated_starts", "repeated_queries")
FILES = tuple(f"evidence_{array}.npy" for array in _ARRAYS)
_REMEDY = "run `gensr channels`"
_TINY = 1e-12
_ROUNDING = 1e-3  # what fp32 leaves of a sum when all of it is taken away

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]
Float = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class OwnSearches:
    """Who searched in training rows, and with which query of the log; rows of query -1 have none."""

    user_Z: Int
    query_Z: Int


@dataclass(frozen=True, kw_only=True)
class QueryEvidence:
    """Words of items, and for each item the sum of its searches' queries as unit vectors over words; usually mapped."""

    hash_W: NDArray[np.uint64]  # of the words of texts and queries, ascending
    idf_W: Float32  # log(1 + I / items that have the word in their text or were found with it); 0 without any
    start_N: Int  # [N + 1] into word_K
    word_K: NDArray[np.int32]
    text_key_M: Int  # item x W + word of its text, ascending
    found_key_M: Int  # item x W + word of its searches, ascending
    found_weight_M: Float32
    length_I: Float32  # squared Euclidean length of an item's sum
    searches_I: NDArray[np.uint32]
    repeated: RepeatedSearches

    @classmethod
    def of(
        cls,
        hash_W: NDArray[np.uint64],
        text_IW: csr_array,
        word_NW: csr_array,
        found_IN: csr_array,
        repeated: RepeatedSearches,
    ) -> Self:
        """Count.

        Args:
            hash_W: of the words, ascending.
            text_IW: entries where an item's text has a word.
            word_NW: entries where a query has a word.
            found_IN: training searches that ended at the item, by query.
            repeated: of these searches.
        """
        items, words = text_IW.shape
        text_key_M, found_key_M = _keys(text_IW), _keys(csr_array(present(found_IN) @ present(word_NW)))
        only_found_M = found_key_M[places(text_key_M, found_key_M) < 0]
        held_M = np.concatenate([text_key_M, only_found_M]) % max(1, words)
        holders_W = np.bincount(held_M, minlength=words)
        idf_W = np.where(holders_W > 0, np.log1p(items / np.maximum(holders_W, 1)), 0).astype(np.float32)

        asked_N = np.repeat(np.arange(word_NW.shape[0]), np.diff(word_NW.indptr))
        length_N = np.sqrt(np.bincount(asked_N, idf_W[word_NW.indices] ** 2, minlength=word_NW.shape[0]))
        unit_K = idf_W[word_NW.indices] / np.maximum(length_N, _TINY)[asked_N]
        sum_IW = csr_array(found_IN @ csr_array((unit_K, word_NW.indices, word_NW.indptr), shape=word_NW.shape))
        sum_IW.sort_indices()
        item_M = np.repeat(np.arange(items), np.diff(sum_IW.indptr))
        return cls(
            hash_W=hash_W,
            idf_W=idf_W,
            start_N=word_NW.indptr.astype(np.int64),
            word_K=word_NW.indices.astype(np.int32),
            text_key_M=text_key_M,
            found_key_M=found_key_M,
            found_weight_M=sum_IW.data.astype(np.float32),
            length_I=np.bincount(item_M, sum_IW.data**2, minlength=items).astype(np.float32),
            searches_I=np.asarray(found_IN.sum(axis=1)).ravel().astype(np.uint32),
            repeated=repeated,
        )

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Map what `save` wrote beside the channels' `words.npy`.

        Args:
            folder: of the channels.
            items: of the catalogue.

        Raises:
            InputError: a file is missing, or of another catalogue.
        """
        hash_W, *arrays = (open_array(folder / name, _REMEDY) for name in (WORDS, *FILES))
        counted, (pair_P, start_P, query_R) = arrays[: len(_COUNTED)], arrays[len(_COUNTED) :]
        names = [field.name for field in dataclasses.fields(cls)][1:-1]
        repeated = RepeatedSearches(pair_P=pair_P, start_P=start_P, query_R=query_R)
        opened = cls(hash_W=hash_W, repeated=repeated, **dict(zip(names, counted, strict=True)))
        if len(opened.searches_I) != items or len(opened.idf_W) != len(opened.hash_W):
            path = folder / FILES[len(_COUNTED) - 1]
            raise InputError(path, f"not the evidence of a catalogue of {items} items", _REMEDY)
        return opened

    def save(self, folder: Path) -> None:
        """Write FILES into an existing folder; the channels keep the words themselves."""
        _, *counted, _ = dataclasses.fields(self)
        arrays = [getattr(self, field.name) for field in counted]
        arrays += [self.repeated.pair_P, self.repeated.start_P, self.repeated.query_R]
        for name, array in zip(FILES, arrays, strict=True):
            np.save(folder / name, array, allow_pickle=False)

    def with_items(self, texts: pl.Series) -> "QueryEvidence":
        """The same with items behind the log's, which nobody has searched for yet."""
        words, items = len(self.idf_W), len(self.searches_I)
        added_key_M = _keys(query_words(texts.to_list(), self.hash_W)) + items * words
        return dataclasses.replace(
            self,
            text_key_M=np.concatenate([self.text_key_M, added_key_M]),
            length_I=np.pad(self.length_I, (0, len(texts))),
            searches_I=np.pad(self.searches_I, (0, len(texts))),
        )

    def asked(self, query_Z: NDArray[np.integer]) -> Int:
        """Words of queries of the log, -1 at the end of shorter ones; [Z, Q]."""
        start_Z = np.asarray(self.start_N[query_Z])
        return _padded(start_Z, np.asarray(self.start_N[query_Z + 1]) - start_Z, self.word_K)

    def typed(self, texts: Sequence[str]) -> Int:
        """The same of queries as they were typed; words that the log does not know are left out."""
        word_ZW = query_words(texts, self.hash_W)
        return _padded(word_ZW.indptr[:-1].astype(np.int64), np.diff(word_ZW.indptr), word_ZW.indices)

    def features(self, word_ZQ: Int, item_ZC: Int, own: OwnSearches | None = None) -> Float32:
        """What is known of candidates, [Z, C, F].

        The share of the query's IDF whose words stand in the text or in a query that found the item; the cosine of the
        query with the item's sum; log(1 + their dot product); log(1 + searches that ended at the item).

        Args:
            word_ZQ: of `asked` or `typed`.
            item_ZC: candidates; anything is returned for one of -1.
            own: of training rows, whose first candidate is the target.
        """
        asked_ZQ = word_ZQ >= 0
        idf_ZQ, unit_ZQ = self._vectors(word_ZQ)
        item_ZC = np.maximum(item_ZC, 0)
        key_ZCQ = item_ZC[:, :, None] * len(self.idf_W) + word_ZQ[:, None, :]
        asked_ZCQ = np.broadcast_to(asked_ZQ[:, None, :], key_ZCQ.shape)
        key_X = key_ZCQ[asked_ZCQ]

        weight_ZCQ = np.zeros(key_ZCQ.shape)
        weight_ZCQ[asked_ZCQ] = _looked_up(self.found_key_M, self.found_weight_M, key_X)
        length_ZC = self.length_I[item_ZC].astype(np.float64)
        searches_ZC = self.searches_I[item_ZC].astype(np.int64)
        if own is not None and len(self.idf_W):
            self._leave_out(own, word_ZQ, item_ZC[:, 0], weight_ZCQ, length_ZC, searches_ZC)
        weight_ZCQ[weight_ZCQ < _ROUNDING] = 0
        dot_ZC = np.einsum("zcq,zq->zc", weight_ZCQ, unit_ZQ)
        cosine_ZC = np.where(dot_ZC > 0, dot_ZC / np.sqrt(np.maximum(length_ZC, np.maximum(dot_ZC**2, _TINY))), 0)

        has_ZCQ = weight_ZCQ > 0
        has_ZCQ[asked_ZCQ] |= places(self.text_key_M, key_X) >= 0
        share_ZC = np.einsum("zcq,zq->zc", has_ZCQ, idf_ZQ) / np.maximum(idf_ZQ.sum(axis=1, keepdims=True), _TINY)
        return np.stack([share_ZC, cosine_ZC, np.log1p(dot_ZC), np.log1p(searches_ZC)], axis=-1).astype(np.float32)

    def _leave_out(
        self, own: OwnSearches, word_ZQ: Int, item_Z: Int, weight_ZCQ: Float, length_ZC: Float, searches_ZC: Int
    ) -> None:
        """Take the user's own searches v from the sums s of the first candidates, in place.

        Of the words of the query s - v is left, and |s - v|^2 = |s|^2 - 2 s v + |v|^2.
        """
        row_S, query_S = self.repeated.queries_of(own.user_Z * len(self.searches_I) + item_Z, own.query_Z)
        word_SQ = self.asked(query_S)
        _, unit_SQ = self._vectors(word_SQ)
        words = len(self.idf_W)
        key_X, place_X = np.unique((row_S[:, None] * words + word_SQ)[word_SQ >= 0], return_inverse=True)
        own_X = np.bincount(place_X, unit_SQ[word_SQ >= 0], minlength=len(key_X)).astype(np.float64)
        row_X, word_X = np.divmod(key_X, words)
        sum_X = _looked_up(self.found_key_M, self.found_weight_M, item_Z[row_X] * words + word_X)
        length_ZC[:, 0] -= np.bincount(row_X, own_X * (2 * sum_X - own_X), minlength=len(item_Z))
        searches_ZC[:, 0] -= np.bincount(row_S, minlength=len(item_Z))
        key_ZQ = np.arange(len(item_Z))[:, None] * words + word_ZQ
        taken_ZQ = np.zeros(word_ZQ.shape)
        taken_ZQ[word_ZQ >= 0] = _looked_up(key_X, own_X, key_ZQ[word_ZQ >= 0])
        weight_ZCQ[:, 0] -= taken_ZQ

    def _vectors(self, word_ZQ: Int) -> tuple[Float32, Float32]:
        """IDF of each word, 0 at padding, and the same divided by a row's length; [Z, Q] each."""
        idf_ZQ = np.zeros(word_ZQ.shape, dtype=np.float32)
        idf_ZQ[word_ZQ >= 0] = self.idf_W[word_ZQ[word_ZQ >= 0]]
        return idf_ZQ, idf_ZQ / np.maximum(np.linalg.norm(idf_ZQ, axis=1, keepdims=True), np.float32(_TINY))


def _keys(matrix_NK: csr_array) -> Int:
    """Row x K + column of each entry, ascending."""
    row_M = np.repeat(np.arange(matrix_NK.shape[0]), np.diff(matrix_NK.indptr))
    return np.sort(row_M * matrix_NK.shape[1] + matrix_NK.indices)


def _padded(start_Z: Int, count_Z: NDArray[np.integer], word_K: NDArray[np.integer]) -> Int:
    """Runs of `word_K`, one a row, -1 behind their end."""
    place_Q = np.arange(int(count_Z.max(initial=0)))
    there_ZQ = place_Q < count_Z[:, None]
    word_ZQ = np.full(there_ZQ.shape, -1, dtype=np.int64)
    word_ZQ[there_ZQ] = word_K[(start_Z[:, None] + place_Q)[there_ZQ]]
    return word_ZQ


def _looked_up(key_M: Int, value_M: NDArray[np.floating], key_X: Int) -> Float:
    """The value of each key among ascending ones, 0 where it is not there."""
    place_X = places(key_M, key_X)
    value_X = np.zeros(len(key_X))
    value_X[place_X >= 0] = value_M[place_X[place_X >= 0]]
    return value_X
