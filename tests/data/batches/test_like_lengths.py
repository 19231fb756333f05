"""Parts of a batch by length: every row once, nothing of a history lost, and what is read of a row stays the same."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.like_lengths import by_length, read_by_length
from tests.baselines.models.hand_made import ITEMS, hand_rows, hand_sequences

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def batch_with(lengths: list[int], width: int = 40) -> ContextBatch:
    """Rows with so many entries, each with a query of three."""
    histories = [[1 + (row + place) % ITEMS for place in range(length)] for row, length in enumerate(lengths)]
    candidates = [[1 + row % ITEMS, 1 + (row + 5) % ITEMS] for row in range(len(lengths))]
    batch = hand_rows(histories, candidates, width)
    query_GL = (batch.history_GL % 4) * (batch.history_GL > 0)
    return replace(batch, query_KQ=torch.tensor([[0, 0], [3, 1], [2, 0], [5, 7]]), history_query_GL=query_GL)


@given(LENGTHS)
def test_parts_hold_every_row_once_and_its_whole_history(lengths: list[int]) -> None:
    batch = batch_with(lengths)
    places = []
    for place_G, part in by_length(batch):
        places += place_G.tolist()
        width = part.history_GL.shape[1]
        for field in fields(batch):
            whole, taken = getattr(batch, field.name), getattr(part, field.name)
            dimensions = field.name.rpartition("_")[2]
            if not isinstance(whole, Tensor) or dimensions[0] != "G":
                assert taken is whole
            elif dimensions == "GL":
                assert torch.equal(taken, whole[place_G, :width])
                assert not whole[place_G, width:].any()
            else:
                assert torch.equal(taken, whole[place_G])
    assert sorted(places) == list(range(len(lengths)))


def test_short_histories_are_not_padded_to_long_ones() -> None:
    lengths = [40, 20, 21, 10, 9, 5, 4, 0]
    parts = [(place_G.tolist(), part.history_GL.shape[1]) for place_G, part in by_length(batch_with(lengths))]
    assert parts == [([0, 2], 40), ([1], 20), ([3, 4], 10), ([5, 6, 7], 5)]
    assert len(by_length(batch_with([5, 2, 1]))) == 1  # nothing to gain


@given(LENGTHS)
def test_rows_are_read_in_their_own_order(lengths: list[int]) -> None:
    batch = batch_with(lengths)

    def read(part: ContextBatch) -> tuple[Tensor, Tensor]:
        """Catalogue rows and queries, through the tables of the part."""
        item_GL, query_GLQ = part.item_U[part.history_GL], part.query_KQ[part.history_query_GL]
        weight_L = torch.arange(1, item_GL.shape[1] + 1)
        asked_G = (query_GLQ.sum(2) * (part.history_GL > 0) * weight_L).sum(1)
        return ((item_GL * (part.history_GL > 0)) * weight_L).sum(1), asked_G + part.item_U[part.candidate_GC].sum(1)

    for found_G, expected_G in zip(read_by_length(read, batch), read(batch), strict=True):
        assert torch.equal(found_G, expected_G)


def test_parts_of_sequences_hold_every_target() -> None:
    batch = hand_sequences([list(np.arange(length) % 9 + 1) for length in (30, 3, 9, 2, 16)], 30, shared=[2, 3])
    targets = 0
    for place_S, part in by_length(batch):
        assert torch.equal(part.next_SL[part.is_target_SL], batch.next_SL[place_S][batch.is_target_SL[place_S]])
        assert part.shared_B is batch.shared_B
        targets += int(part.is_target_SL.sum())
    assert targets == int(batch.is_target_SL.sum()) == 29 + 2 + 8 + 1 + 15


@pytest.mark.parametrize("rows", [1, 3])
def test_histories_without_an_entry_are_read(rows: int) -> None:
    (total_G,) = read_by_length(lambda part: (part.history_GL.sum(1),), batch_with([0] * rows))
    assert total_G.tolist() == [0] * rows
