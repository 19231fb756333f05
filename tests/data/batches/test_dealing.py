from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.batches.dealing import PROMPT_LENGTH, DealtOrder, deal
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.shards.store import TimelineStore

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


def dealt(length: list[int], accumulation: int, world: int) -> list[list[list[int]]]:
    """Places of each micro-batch by rank, without padding, which is checked."""
    parts = deal(np.array(length), accumulation=accumulation, world=world)
    assert len(parts) == accumulation
    found = []
    for place_WG in parts:
        assert place_WG.dtype == np.int64
        real = [place_G[place_G >= 0].tolist() for place_G in place_WG]
        assert place_WG.shape == (world, max(1, *map(len, real)) if world > 1 else max(1, len(real[0])))
        for place_G, places in zip(place_WG.tolist(), real, strict=True):
            assert place_G == places + [-1] * (place_WG.shape[1] - len(places))
            assert places == sorted(places)
        found.append(real)
    return found


@settings(max_examples=200)
@given(length=LENGTHS, accumulation=st.integers(1, 5), world=st.integers(1, 9))
def test_every_row_is_dealt_once_and_tokens_and_rows_are_balanced(
    length: list[int], accumulation: int, world: int
) -> None:
    parts = dealt(length, accumulation, world)
    assert sorted(place for micro in parts for rank in micro for place in rank) == list(range(len(length)))
    tokens = [[sum(length[place] for place in rank) for rank in micro] for micro in parts]
    share, missed = sum(length) / accumulation, 1 + len(length) / (8 * accumulation)
    assert all(abs(sum(ranks) - share) <= missed * max(length) for ranks in tokens)
    for micro, ranks in zip(parts, tokens, strict=True):
        rows = [len(rank) for rank in micro]
        assert max(rows) - min(rows) <= 1
        assert max(ranks) - min(ranks) <= max(length)


@settings(max_examples=100)
@given(length=LENGTHS, accumulation=st.integers(1, 5), world=st.integers(2, 9))
def test_micro_batches_do_not_depend_on_the_ranks(length: list[int], accumulation: int, world: int) -> None:
    alone = [micro[0] for micro in dealt(length, accumulation, 1)]
    together = [sorted(place for rank in micro for place in rank) for micro in dealt(length, accumulation, world)]
    assert together == alone


@settings(max_examples=100)
@given(length=LENGTHS, accumulation=st.integers(1, 5))
def test_micro_batches_hold_rows_of_similar_length(length: list[int], accumulation: int) -> None:
    """The shortest row of one is no shorter than the longest of the next."""
    parts = [[length[place] for place in micro[0]] for micro in dealt(length, accumulation, 1)]
    held = [part for part in parts if part]
    assert all(min(first) >= max(second) for first, second in pairwise(held))


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_rows_of_one_length_are_dealt_evenly_without_padding(accumulation: int, world: int) -> None:
    parts = deal(np.full(48 * 3, 7), accumulation=accumulation, world=world)
    assert [part.shape for part in parts] == [(world, 144 // world // accumulation)] * accumulation
    assert all((part >= 0).all() for part in parts)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_ranks_share_large_micro_batches_evenly(world: int) -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        length_R = draw.integers(10, 31, size=256)
        parts = deal(length_R, accumulation=4, world=world)
        assert all((part >= 0).all() for part in parts)  # as many rows on each rank
        tokens_A = np.array([length_R[part].sum() for part in parts])
        assert tokens_A.max() < 1.15 * tokens_A.mean()


def test_a_row_as_long_as_several_micro_batches_leaves_the_others_padding() -> None:
    parts = dealt([1, 90, 1, 1], accumulation=3, world=2)
    assert sorted(len(rank) for micro in parts for rank in micro) == [0, 0, 0, 1, 1, 2]


def test_a_boustrophedon_is_much_more_even_than_rows_in_their_order() -> None:
    """Of 64 rows on 8 ranks, with lengths as they occur."""
    draw = np.random.default_rng(0)

    def excess(tokens: np.ndarray) -> float:
        return float(tokens.max() / tokens.mean() - 1)

    ordered, ours = [], []
    for _ in range(100):
        length_R = np.minimum(draw.geometric(0.08, size=64), 20) + PROMPT_LENGTH
        ordered.append(excess(length_R.reshape(8, 8).sum(axis=1)))
        ours.append(excess(length_R[deal(length_R, accumulation=1, world=8)[0]].sum(axis=1)))
    assert np.mean(ours) < 0.03
    assert np.mean(ordered) > 5 * np.mean(ours)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("start", [0, 3, 41])
def test_the_global_batch_does_not_depend_on_the_ranks(world: int, accumulation: int, start: int) -> None:
    order = DealtOrder(SampleOrder([400, 603], batch=24, seed=5), lambda row_R: row_R % 11)
    for step in range(start, start + 3):
        parts = order.rows_of_step(step, accumulation=accumulation, world=world)
        row = np.concatenate([part.ravel() for part in parts])
        assert np.array_equal(np.sort(row[row >= 0]), np.sort(order.order.rows_of_step(step)))
    assert order.order.groups_of_step(41) == 1_003 - 41 * 24  # the swept steps include the short one


def test_one_part_keeps_the_order_of_the_step() -> None:
    order = DealtOrder(SampleOrder([100], batch=30, seed=5), lambda row_R: row_R % 11)
    for step in range(5):
        ((row_G,),) = order.rows_of_step(step, accumulation=1, world=1)
        assert np.array_equal(row_G, order.order.rows_of_step(step))


def test_the_store_tells_how_long_histories_are(small_store: TimelineStore) -> None:
    (window,) = small_store.windows()
    row_R = np.random.default_rng(0).permutation(small_store.window_rows[0])
    event_R = window.training_event_R[row_R]
    user_R = window.timelines.user_of(event_R)
    for longest in (1, 5, 1_000):
        item_RL, _ = window.histories.gather(user_R, window.histories.end_of_event_N[event_R], longest)
        assert np.array_equal(small_store.history_lengths(row_R, longest), (item_RL >= 0).sum(axis=1))
