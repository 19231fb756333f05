"""The order of training rows: a pure function of (seed, epoch, step).

Rows are numbered in the order of the shards. A window is a run of consecutive shards that is decoded together; an epoch
permutes the windows and then the rows inside each, so that reading it in order needs about one window in memory. The
rows of a window are permuted by a keyed Feistel network over the smallest power of two that holds them, with cycle
walking back into range: computed, not stored, so that reaching any step costs the same.

Dimensions: W windows, P places of an epoch.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.hashing import Hash, hash_key, mix

_ROUNDS = 8
_BLOCK = 4_096  # places that are permuted at a time: numpy's calls cost as much as 1,000 places
_WINDOWS, _ROWS = 1, 2  # name the two uses of random numbers
PADDING = -1  # row of a padded group

Int = NDArray[np.int64]


class SampleOrder:
    """Which training rows each global step sees.

    Every epoch holds each row exactly once; its last step is short where `batch` does not divide the rows.

    Args:
        window_rows: training rows of each window, in the order of the shards; with one window an epoch is a permutation
            of all rows.
        batch: groups of a global step, at least 1.
        seed: of the run.
    """

    def __init__(self, window_rows: Sequence[int], batch: int, seed: int) -> None:
        self.window_rows = tuple(window_rows)
        self.rows = sum(self.window_rows)
        if self.rows < 1 or batch < 1:
            raise ValueError(f"an order needs rows and a batch, not {self.rows} rows in batches of {batch}")
        self.batch = batch
        self.seed = seed
        self.steps_per_epoch = -(-self.rows // batch)
        self._size_W = np.array(self.window_rows, dtype=np.int64)
        self._first_row_W = np.cumsum(self._size_W) - self._size_W
        self._windows_of: tuple[int, Int, Int] | None = None  # epoch, its windows and where they end
        self._newest: tuple[int, int, Int] | None = None  # epoch, block and its rows

    def epoch_of_step(self, step: int) -> int:
        """Epoch that a global step belongs to, from 0."""
        return step // self.steps_per_epoch

    def groups_of_step(self, step: int) -> int:
        """Rows of a global step: `batch`, or fewer in the last step of an epoch."""
        return min(self.batch, self.rows - (step % self.steps_per_epoch) * self.batch)

    def rows_of_step(self, step: int) -> Int:
        """Rows of a global step, int64, without padding."""
        epoch, number = divmod(step, self.steps_per_epoch)
        start = number * self.batch
        end = start + self.groups_of_step(step)
        parts = [
            self._block(epoch, block)[max(0, start - block * _BLOCK) : end - block * _BLOCK]
            for block in range(start // _BLOCK, (end - 1) // _BLOCK + 1)
        ]
        return np.concatenate(parts)

    def _windows(self, epoch: int) -> tuple[Int, Int]:
        """Windows of an epoch in order, and the place where each one's rows end."""
        if self._windows_of is None or self._windows_of[0] != epoch:
            window_W = np.arange(len(self._size_W))
            rank_W = hash_key((self.seed, _WINDOWS, epoch, window_W), len(window_W))
            order_W = np.argsort(rank_W, kind="stable")
            self._windows_of = (epoch, order_W, np.cumsum(self._size_W[order_W]))
        return self._windows_of[1:]

    def _block(self, epoch: int, block: int) -> Int:
        """Rows of the places [block * _BLOCK, (block + 1) * _BLOCK) of an epoch; steps in order compute each once."""
        if self._newest is None or self._newest[:2] != (epoch, block):
            order_W, end_W = self._windows(epoch)
            start, end = block * _BLOCK, min((block + 1) * _BLOCK, self.rows)
            parts = []
            for at in range(int(np.searchsorted(end_W, start, side="right")), len(order_W)):
                window = int(order_W[at])
                size = self.window_rows[window]
                first_place = int(end_W[at]) - size
                if first_place >= end:
                    break
                place_P = np.arange(max(start - first_place, 0), min(end - first_place, size), dtype=np.uint64)
                keys = hash_key((self.seed, _ROWS, epoch, window, np.arange(_ROUNDS)), _ROUNDS)
                parts.append(_permuted(place_P, size, keys) + self._first_row_W[window])
            self._newest = (epoch, block, np.concatenate(parts))
        return self._newest[2]


def _permuted(place_P: Hash, size: int, keys: Hash) -> Int:
    """Where a keyed permutation of [0, size) takes each place."""
    bits = max(2, (size - 1).bit_length())
    row_P = _encrypted(place_P, bits, keys)
    while (outside := np.flatnonzero(row_P >= size)).size:  # fewer than half leave the range each time
        row_P[outside] = _encrypted(row_P[outside], bits, keys)
    return row_P.astype(np.int64)


def _encrypted(value_P: Hash, bits: int, keys: Hash) -> Hash:
    """A bijection of [0, 2**bits): the halves, which may differ by a bit, scramble each other in turn."""
    low_bits = np.uint64(bits // 2)
    low_mask, high_mask = np.uint64((1 << (bits // 2)) - 1), np.uint64((1 << (bits - bits // 2)) - 1)
    low_P, high_P = value_P & low_mask, value_P >> low_bits
    for round_, key in enumerate(keys):
        if round_ % 2:
            low_P = low_P ^ (mix(high_P + key) & low_mask)
        else:
            high_P = high_P ^ (mix(low_P + key) & high_mask)
    return (high_P << low_bits) | low_P
