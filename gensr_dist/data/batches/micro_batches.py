"""How the rows of a global step are shared out: micro-batches of so many tokens, and equal parts of them for the ranks.

Dimensions: R rows of a step, A micro-batches, W ranks, G rows of a rank's part of one micro-batch, L history.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gensr_dist.data.batches.order import PADDING, Int, SampleOrder
from gensr_dist.data.config import PROMPT_TOKENS
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore


def split_step(token_R: Int, *, budget: int, world: int) -> list[Int]:
    """Cut rows into micro-batches of equal tokens, few enough for the budget, and share each of those out to the ranks.

    Rows are sorted by length, the longest first, and cut where their running sum passes each micro-batch's share of all
    tokens, or a few rows off, at a multiple of the largest power of two up to R / 8A: that many ranks share each
    micro-batch evenly. So micro-batches hold rows of similar length, and which ones depends on lengths and budget
    alone. Ranks take rows of a micro-batch in turns, from the first rank to the last and back (boustrophedon): parts
    differ by one row at most, and their tokens by the longest row.

    Args:
        token_R: tokens of each row, at least 1; at least one row.
        budget: most tokens of a micro-batch, all ranks together, at least the longest row's. 0 sets no limit.
        world: W, at least 1.

    Returns:
        Of each micro-batch, places in `token_R`, int64 [W, G], ascending for each rank and then padded with -1. G is
        the largest part of any rank.
    """
    rows = len(token_R)
    sorted_R = np.argsort(-token_R, kind="stable")
    first_A = _cuts(token_R[sorted_R], budget)
    micro_R = np.repeat(np.arange(len(first_A)), np.diff(first_A, append=rows))
    turn_R, at_R = np.divmod(np.arange(rows) - first_A[micro_R], world)
    part_R = np.empty(rows, dtype=np.int64)
    part_R[sorted_R] = micro_R * world + np.where(turn_R % 2, world - 1 - at_R, at_R)

    count_AW = np.bincount(part_R, minlength=len(first_A) * world)
    place_R = np.argsort(part_R, kind="stable")
    column_R = np.arange(rows) - np.repeat(np.cumsum(count_AW) - count_AW, count_AW)
    count_AW = count_AW.reshape(-1, world)
    place_AWG = np.full((len(first_A), world, count_AW.max()), PADDING, dtype=np.int64)
    place_AWG.reshape(-1, place_AWG.shape[2])[part_R[place_R], column_R] = place_R
    return [place_WG[:, : count_W.max()] for place_WG, count_W in zip(place_AWG, count_AW, strict=True)]


def _cuts(token_R: Int, budget: int) -> Int:
    """Where each micro-batch of rows in descending order of length begins, int64 [A]."""
    if not budget:
        return np.zeros(1, dtype=np.int64)
    rows = len(token_R)
    end_R = np.cumsum(token_R)
    assert budget >= token_R[0], f"a row of {token_R[0]} tokens, a budget of {budget}"
    micro_batches = -(-int(end_R[-1]) // budget)
    while True:  # ends: with a share as small as the shortest row, each row is alone
        share_R = (2 * end_R - token_R) * micro_batches // (2 * end_R[-1])  # where the middle of a row falls
        unit = 1 << (max(1, rows // (8 * micro_batches)).bit_length() - 1)
        first_A = np.unique((np.searchsorted(share_R, np.arange(micro_batches)) + unit // 2) // unit * unit)
        first_A = first_A[first_A < rows]
        if np.add.reduceat(token_R, first_A).max() <= budget:
            return first_A
        micro_batches += 1 + micro_batches // 16  # rows too long for equal shares: a few more, in a few tries


@dataclass(frozen=True)
class RowTokens:
    """Tokens of training rows: of the titles that their histories show, and about five a candidate for its prompt."""

    store: TimelineStore
    items: ItemStore
    history: int  # L
    candidates: int

    def __call__(self, row_R: Int) -> Int:
        """Tokens of each row, int64 [R]."""
        titles_R = self.store.history_tokens(row_R, self.history, self.items.title_length_I)
        return titles_R + PROMPT_TOKENS * self.candidates


@dataclass(frozen=True)
class MicroBatchOrder:
    """Which rows each rank sees in each micro-batch of a global step: a function of the order and the lengths."""

    order: SampleOrder
    tokens: Callable[[Int], Int]  # of training rows
    micro_tokens: int  # see `split_step`

    def rows_of_step(self, step: int, world: int) -> list[Int]:
        """Rows of each micro-batch by rank, int64 [W, G], padded with -1; G differs between micro-batches."""
        row_R = self.order.rows_of_step(step)
        if world == 1 and not self.micro_tokens:
            return [row_R[None]]
        parts = split_step(self.tokens(row_R), budget=self.micro_tokens, world=world)
        return [np.where(place_WG == PADDING, PADDING, row_R[place_WG]) for place_WG in parts]
