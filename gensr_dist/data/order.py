"""The order of training rows: a pure function of (seed, epoch, step).

Each epoch visits a permutation of all rows that is computed, not stored: a keyed Feistel network over the smallest
power of two that holds all rows, with cycle walking back into range. Reaching any step costs the same.
"""

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 8
PADDING = -1  # row of a padded group


class SampleOrder:
    """Which training rows each global step sees.

    Every epoch holds each row exactly once; its last step is short where `batch` does not divide `rows`.

    Args:
        rows: training rows, at least 1.
        batch: groups of a global step, at least 1.
        seed: of the run.
    """

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        if rows < 1 or batch < 1:
            raise ValueError(f"an order needs rows and a batch, not {rows} rows in batches of {batch}")
        self.rows = rows
        self.batch = batch
        self.seed = seed
        self.steps_per_epoch = -(-rows // batch)
        bits = max(2, (rows - 1).bit_length())
        self._low_bits = np.uint64(bits // 2)
        self._low_mask = np.uint64((1 << (bits // 2)) - 1)
        self._high_mask = np.uint64((1 << (bits - bits // 2)) - 1)

    def epoch_of_step(self, step: int) -> int:
        """Epoch that a global step belongs to, from 0."""
        return step // self.steps_per_epoch

    def groups_of_step(self, step: int) -> int:
        """Rows of a global step: `batch`, or fewer in the last step of an epoch."""
        return min(self.batch, self.rows - (step % self.steps_per_epoch) * self.batch)

    def rows_of_step(self, step: int) -> NDArray[np.int64]:
        """Rows of a global step, int64, without padding."""
        epoch, place = divmod(step, self.steps_per_epoch)
        start = place * self.batch
        return self._permute(np.arange(start, start + self.groups_of_step(step), dtype=np.uint64), epoch)

    def slices_of_step(self, step: int, *, rank: int, world: int, accumulation: int) -> NDArray[np.int64]:
        """A rank's part of a global step, int64 [accumulation, batch / (world * accumulation)], padded with -1.

        The padded step is cut into `accumulation` contiguous parts and each of them into one contiguous part a rank, so
        that what all ranks see together at one accumulation does not depend on how many they are.
        """
        assert self.batch % (world * accumulation) == 0
        padded = np.full(self.batch, PADDING, dtype=np.int64)
        rows = self.rows_of_step(step)
        padded[: len(rows)] = rows
        return padded.reshape(accumulation, world, -1)[:, rank]

    def _permute(self, place: NDArray[np.uint64], epoch: int) -> NDArray[np.int64]:
        keys = np.random.SeedSequence([self.seed, epoch]).generate_state(_ROUNDS, np.uint64).astype(np.uint64)
        row = self._encrypt(place, keys)
        while (outside := np.flatnonzero(row >= self.rows)).size:  # fewer than half leave the range each time
            row[outside] = self._encrypt(row[outside], keys)
        return row.astype(np.int64)

    def _encrypt(self, value: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """A bijection of [0, 2**bits): the halves, which may differ by a bit, scramble each other in turn."""
        low, high = value & self._low_mask, value >> self._low_bits
        for round_, key in enumerate(keys):
            if round_ % 2:
                low = low ^ (_mix(high + key) & self._low_mask)
            else:
                high = high ^ (_mix(low + key) & self._high_mask)
        return (high << self._low_bits) | low


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al. 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
