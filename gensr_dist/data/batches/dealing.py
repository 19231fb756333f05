"""How the rows of a global step are shared out: micro-batches of equal tokens, and equal parts of them for the ranks.

Dimensions: R rows of a step, A accumulated micro-batches, W ranks, G rows of a rank's part of one micro-batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gensr_dist.data.batches.order import PADDING, Int, SampleOrder

PROMPT_LENGTH = 10  # of a group besides its history: five candidates' prompts have as many tokens as about ten titles


def deal(length_R: Int, *, accumulation: int, world: int) -> list[Int]:
    """Cut rows into micro-batches of equal tokens and deal each of those to the ranks.

    Rows are sorted by length, the longest first, and cut where their running sum passes each micro-batch's share of all
    tokens, or a few rows off, at a multiple of the largest power of two up to R / 8A: that many ranks share each
    micro-batch evenly, and it misses its share by R / 8A + 1 of the longest rows at most. So micro-batches hold rows of
    similar length, and which ones depends on lengths and `accumulation` alone. A micro-batch is dealt like cards, in
    turns from the first rank to the last and back (boustrophedon): parts differ by one row at most, and their tokens
    by the longest row.

    Args:
        length_R: tokens of each row, in any unit, at least 1; at least one row.
        accumulation: A, at least 1.
        world: W, at least 1.

    Returns:
        Of each micro-batch, places in `length_R`, int64 [W, G], ascending for each rank and then padded with -1. G is
        the largest part of any rank, at least 1, whatever the micro-batch holds.
    """
    rows = len(length_R)
    sorted_R = np.argsort(-length_R, kind="stable")
    end_R = np.cumsum(length_R[sorted_R])
    share_R = (2 * end_R - length_R[sorted_R]) * accumulation // (2 * end_R[-1])  # where the middle of a row falls
    unit = 1 << (max(1, rows // (8 * accumulation)).bit_length() - 1)
    first_A = (np.searchsorted(share_R, np.arange(accumulation)) + unit // 2) // unit * unit
    micro_R = np.searchsorted(first_A, np.arange(rows), side="right") - 1
    turn_R, at_R = np.divmod(np.arange(rows) - first_A[micro_R], world)
    part_R = np.empty(rows, dtype=np.int64)
    part_R[sorted_R] = micro_R * world + np.where(turn_R % 2, world - 1 - at_R, at_R)

    count_AW = np.bincount(part_R, minlength=accumulation * world)
    place_R = np.argsort(part_R, kind="stable")
    column_R = np.arange(rows) - np.repeat(np.cumsum(count_AW) - count_AW, count_AW)
    count_AW = count_AW.reshape(accumulation, world)
    place_AWG = np.full((accumulation, world, max(1, count_AW.max())), PADDING, dtype=np.int64)
    place_AWG.reshape(accumulation * world, -1)[part_R[place_R], column_R] = place_R
    return [place_AWG[micro, :, : max(1, count_AW[micro].max())] for micro in range(accumulation)]


@dataclass(frozen=True)
class DealtOrder:
    """Which rows each rank sees at each accumulation of a global step: a function of the order and the lengths."""

    order: SampleOrder
    history_lengths: Callable[[Int], Int]  # interactions that each training row shows

    def rows_of_step(self, step: int, *, accumulation: int, world: int) -> list[Int]:
        """Rows of each micro-batch by rank, int64 [W, G], padded with -1; G differs between micro-batches."""
        row_R = self.order.rows_of_step(step)
        length_R = self.history_lengths(row_R) + PROMPT_LENGTH
        parts = deal(length_R, accumulation=accumulation, world=world)
        return [np.where(place_WG == PADDING, PADDING, row_R[place_WG]) for place_WG in parts]
