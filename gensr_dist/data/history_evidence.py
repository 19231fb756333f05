"""Exact evidence of how well items go with a history: who met both, and the words of both texts.

Vectors know what is alike and blur what goes together; that can be counted. A training row is told what was known
before its moment, or else the counts would hold its own event, and more of what came after it than a row to be
answered will ever find: a model that is trained on that trusts counts too much.

Dimensions: I items, G groups, L history, C candidates, F features, K moments, X pairs of an item of a history and a
candidate, N rows of a list.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.errors import InputError
from gensr_dist.storage.arrays import open_array
from gensr_dist.storage.sparse_lists import enlarged, list_files, open_lists, save_lists

VISITS, EARLIER, TEXTS = "covisitation", "earlier", "text"  # lists in the folder of the channels
_ARRAYS = ("earlier_moments.npy", "earlier_parts.npy", "earlier_users.npy", "users.npy")
FILES = (*list_files(EARLIER), *_ARRAYS)
LEAST_PART = 0.01  # of all visits: of fewer nothing is said
DECAY = 0.85  # of an interaction's weight from one to the next older one
LATEST = 0.3  # the same, where the last few interactions are to count
_REMEDY = "run `gensr channels`"

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class EarlierVisits:
    """What was known of visits before each of some moments of the training."""

    moment_K: Int  # milliseconds, ascending
    part_K: Float  # of all visits of the training that were before it
    close_NI: csr_array  # row k x I + item: its neighbours before moment k
    users_KI: NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True)
class HistoryEvidence:
    """Neighbours of items in training, and who met them; usually mapped."""

    close_II: csr_array  # by visits: `item_neighbours.covisitation`
    text_II: csr_array  # by words: `item_neighbours.text_neighbours`
    users_I: NDArray[np.uint32]  # training users who met the item
    earlier: EarlierVisits

    @classmethod
    def open(cls, folder: Path, items: int) -> Self:
        """Map what `save` wrote beside the channels' own lists.

        Args:
            folder: of the channels.
            items: of the catalogue.

        Raises:
            InputError: a file is missing, or of another catalogue.
        """
        names = (EARLIER, VISITS, TEXTS)
        moment_K, part_K, users_KI, users_I = (open_array(folder / name, _REMEDY) for name in _ARRAYS)
        close_NI, close_II, text_II = (open_lists(folder, name, items, _REMEDY) for name in names)
        rows = (len(moment_K) * items, items, items)
        if users_I.shape != (items,) or rows != (close_NI.shape[0], close_II.shape[0], text_II.shape[0]):
            raise InputError(folder / _ARRAYS[-1], f"not the evidence of a catalogue of {items} items", _REMEDY)
        earlier = EarlierVisits(moment_K=moment_K, part_K=part_K, close_NI=close_NI, users_KI=users_KI)
        return cls(close_II=close_II, text_II=text_II, users_I=users_I, earlier=earlier)

    def save(self, folder: Path) -> None:
        """Write FILES into an existing folder; the channels keep the lists of the whole log themselves."""
        save_lists(folder, EARLIER, self.earlier.close_NI)
        earlier = self.earlier
        arrays: tuple[NDArray[Any], ...] = (earlier.moment_K, earlier.part_K, earlier.users_KI, self.users_I)
        for name, array in zip(_ARRAYS, arrays, strict=True):
            np.save(folder / name, array, allow_pickle=False)

    def with_items(self, text_II: csr_array) -> "HistoryEvidence":
        """The same with items behind the log's, which nobody has met yet.

        Args:
            text_II: neighbours of all items by words.
        """
        return dataclasses.replace(
            self,
            close_II=enlarged(self.close_II, text_II.shape),
            text_II=text_II,
            users_I=np.pad(self.users_I, (0, text_II.shape[0] - len(self.users_I))),
        )

    def features(self, history_GL: Int, item_GC: Int, time_G: Int | None = None) -> Float32:
        """What is known of candidates, [G, C, F].

        By visits, square roots of: the sums over the history of decay^age x closeness, for both decays, and the
        greatest closeness. By words, the same three without roots. Last log(1 + users who met the item), in proportion
        to the whole log where less is known. Where no training row is told of any of it, for most events are of one
        time, no row is.

        Args:
            history_GL: items, oldest first; -1 pads at the end.
            item_GC: candidates; anything is returned for one of -1.
            time_G: of training rows, milliseconds: what was known before the last moment that is not after it.
        """
        there_GL = history_GL >= 0
        longest = int(there_GL.sum(axis=1).max(initial=0))
        history_GL, there_GL = history_GL[:, :longest], there_GL[:, :longest]
        age_GL = np.maximum(there_GL.sum(axis=1, keepdims=True) - 1 - np.arange(history_GL.shape[1]), 0)
        weights = [there_GL * decay**age_GL for decay in (DECAY, LATEST)]
        history_GL, item_GC = np.maximum(history_GL, 0), np.maximum(item_GC, 0)
        if time_G is None:
            visited_GLC, users_GC = _at(self.close_II, history_GL, item_GC), self.users_I[item_GC].astype(np.float64)
        else:
            visited_GLC, users_GC = self._before(history_GL, item_GC, time_G)
        # A model that was never told of them could not read them.
        users_told = self.earlier.part_K.max(initial=0) >= LEAST_PART
        visits_told = users_told and self.earlier.close_NI.nnz > 0

        def pooled(close_GLC: Float) -> list[Float]:
            close_GLC = close_GLC * there_GL[:, :, None]
            sums = [np.einsum("glc,gl->gc", close_GLC, weight_GL) for weight_GL in weights]
            return [*sums, close_GLC.max(axis=1, initial=0)]

        by_visits = map(np.sqrt, pooled(visited_GLC * visits_told))
        by_words = pooled(_at(self.text_II, history_GL, item_GC))
        return np.stack([*by_visits, *by_words, np.log1p(users_GC * users_told)], axis=-1).astype(np.float32)

    def _before(self, history_GL: Int, item_GC: Int, time_G: Int) -> tuple[Float, Float]:
        """Closeness [G, L, C] by visits, and users [G, C], as they were known before each group's moment."""
        earlier = self.earlier
        number_G1 = np.searchsorted(earlier.moment_K, time_G, side="right")[:, None] - 1
        known_G1, number_G1 = number_G1 >= 0, np.maximum(number_G1, 0)
        known_G1 = known_G1 & (earlier.part_K[number_G1] >= LEAST_PART)
        visited_GLC = _at(earlier.close_NI, number_G1 * earlier.users_KI.shape[1] + history_GL, item_GC)
        users_GC = earlier.users_KI[number_G1, item_GC] / np.maximum(earlier.part_K[number_G1], LEAST_PART)
        return visited_GLC * known_G1[:, :, None], users_GC * known_G1


def _at(list_NK: csr_array, row_GL: Int, column_GC: Int) -> Float:
    """Entries [G, L, C] of lists whose columns ascend, 0 where there is none, by one binary search for all."""
    shape = (*row_GL.shape, column_GC.shape[1])
    if not list_NK.nnz:
        return np.zeros(shape)
    column_X = np.broadcast_to(column_GC[:, None, :], shape).ravel()
    low_X, end_X = (
        np.broadcast_to(list_NK.indptr[row_GL + one].astype(np.int64)[:, :, None], shape).ravel() for one in (0, 1)
    )
    high_X, last = end_X, list_NK.nnz - 1
    for _ in range(int((end_X - low_X).max(initial=0)).bit_length()):
        middle_X = (low_X + high_X) >> 1
        less_X = (list_NK.indices[np.minimum(middle_X, last)] < column_X) & (middle_X < high_X)
        low_X, high_X = np.where(less_X, middle_X + 1, low_X), np.where(less_X, high_X, middle_X)
    place_X = np.minimum(low_X, last)
    found_X = (low_X < end_X) & (list_NK.indices[place_X] == column_X)
    return np.where(found_X, list_NK.data[place_X], 0).astype(np.float64).reshape(shape)
