from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.batches.micro_batches import MicroBatchOrder, RowTokens, split_step
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.config import PROMPT_TOKENS
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore

TOKENS = st.lists(st.integers(1, 60), min_size=1, max_size=80)
BUDGETS = st.one_of(st.just(0), st.integers(1, 700))


def parts_of(token: list[int], budget: int, world: int) -> list[list[list[int]]]:
    """Places of each micro-batch by rank, without padding, which is checked. The budget holds the longest row."""
    found = []
    budget = max(budget, *token) if budget else 0
    for place_WG in split_step(np.array(token), budget=budget, world=world):
        assert place_WG.dtype == np.int64
        real = [place_G[place_G >= 0].tolist() for place_G in place_WG]
        assert place_WG.shape == (world, max(map(len, real)))
        for place_G, places in zip(place_WG.tolist(), real, strict=True):
            assert place_G == places + [-1] * (place_WG.shape[1] - len(places))
            assert places == sorted(places)
        found.append(real)
    return found


@settings(max_examples=300)
@given(token=TOKENS, budget=BUDGETS, world=st.integers(1, 9))
def test_every_row_is_there_once_within_the_budget_and_evenly(token: list[int], budget: int, world: int) -> None:
    parts = parts_of(token, budget, world)
    assert sorted(place for micro in parts for rank in micro for place in rank) == list(range(len(token)))
    for micro in parts:
        ranks = [sum(token[place] for place in rank) for rank in micro]
        rows = [len(rank) for rank in micro]
        assert sum(rows) > 0
        assert sum(ranks) <= max(budget, *token) or not budget
        assert max(rows) - min(rows) <= 1
        assert max(ranks) - min(ranks) <= max(token)
    assert budget or len(parts) == 1


@settings(max_examples=100)
@given(token=TOKENS, budget=BUDGETS, world=st.integers(2, 9))
def test_micro_batches_do_not_depend_on_the_ranks(token: list[int], budget: int, world: int) -> None:
    alone = [micro[0] for micro in parts_of(token, budget, 1)]
    together = [sorted(place for rank in micro for place in rank) for micro in parts_of(token, budget, world)]
    assert together == alone


@settings(max_examples=100)
@given(token=TOKENS, budget=BUDGETS)
def test_micro_batches_hold_rows_of_similar_length(token: list[int], budget: int) -> None:
    """The shortest row of one is no shorter than the longest of the next."""
    parts = [[token[place] for place in micro[0]] for micro in parts_of(token, budget, 1)]
    assert all(min(first) >= max(second) for first, second in pairwise(parts))


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("micro_batches", [1, 2, 4])
def test_rows_of_one_length_are_split_evenly_without_padding(micro_batches: int, world: int) -> None:
    parts = split_step(np.full(48 * 3, 7), budget=7 * 144 // micro_batches, world=world)
    assert [part.shape for part in parts] == [(world, 144 // world // micro_batches)] * micro_batches
    assert all((part >= 0).all() for part in parts)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_ranks_share_large_micro_batches_evenly(world: int) -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        token_R = draw.integers(10, 31, size=256)
        parts = split_step(token_R, budget=int(token_R.sum() // 3.5), world=world)
        assert len(parts) == 4
        assert all((part >= 0).all() for part in parts)  # as many rows on each rank
        tokens_A = np.array([token_R[part].sum() for part in parts])
        assert tokens_A.max() < 1.15 * tokens_A.mean()


def test_hardly_one_micro_batch_is_needless() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        token_R = draw.integers(10, 31, size=256)
        budget = int(token_R.sum() // draw.uniform(2, 6))
        parts = split_step(token_R, budget=budget, world=1)
        tokens_A = np.array([token_R[part].sum() for part in parts])
        assert tokens_A.max() <= budget
        assert len(parts) <= -(-token_R.sum() // budget) + 1


def test_a_budget_of_one_long_row_is_kept_with_little_more_than_greedy_cuts() -> None:
    token_R = np.random.default_rng(0).integers(50, 371, size=4_096)
    cuts, left = 0, 0
    for token in sorted(token_R.tolist(), reverse=True):
        cuts, left = (cuts, left - token) if token <= left else (cuts + 1, 370 - token)
    parts = split_step(token_R, budget=370, world=1)
    assert max(token_R[part].sum() for part in parts) <= 370
    assert len(parts) < 1.5 * cuts
    with pytest.raises(AssertionError, match="a row of 370 tokens, a budget of 369"):
        split_step(token_R, budget=369, world=1)


def test_a_boustrophedon_is_much_more_even_than_rows_in_their_order() -> None:
    """Of 64 rows on 8 ranks, with lengths as they occur."""
    draw = np.random.default_rng(0)

    def excess(tokens: np.ndarray) -> float:
        return float(tokens.max() / tokens.mean() - 1)

    ordered, ours = [], []
    for _ in range(100):
        token_R = 5 * np.minimum(draw.geometric(0.08, size=64), 20) + 50
        ordered.append(excess(token_R.reshape(8, 8).sum(axis=1)))
        ours.append(excess(token_R[split_step(token_R, budget=0, world=8)[0]].sum(axis=1)))
    assert np.mean(ours) < 0.03
    assert np.mean(ordered) > 5 * np.mean(ours)


@pytest.mark.parametrize("micro_tokens", [0, 60])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("start", [0, 3, 41])
def test_the_global_batch_does_not_depend_on_the_ranks(world: int, micro_tokens: int, start: int) -> None:
    order = MicroBatchOrder(SampleOrder([400, 603], batch=24, seed=5), lambda row_R: row_R % 11 + 1, micro_tokens)
    for step in range(start, start + 3):
        parts = order.rows_of_step(step, world)
        row = np.concatenate([part.ravel() for part in parts])
        assert np.array_equal(np.sort(row[row >= 0]), np.sort(order.order.rows_of_step(step)))
    assert order.order.groups_of_step(41) == 1_003 - 41 * 24  # the swept steps include the short one


def test_one_part_keeps_the_order_of_the_step_and_needs_no_lengths() -> None:
    order = MicroBatchOrder(SampleOrder([100], batch=30, seed=5), lambda row_R: pytest.fail("lengths"), micro_tokens=0)
    for step in range(5):
        ((row_G,),) = order.rows_of_step(step, 1)
        assert np.array_equal(row_G, order.order.rows_of_step(step))


@pytest.mark.parametrize("history", [1, 5, 1_000])
def test_tokens_of_a_row_are_those_of_the_titles_its_history_shows_and_five_a_candidate(
    small_store: TimelineStore, small_items: ItemStore, history: int
) -> None:
    (window,) = small_store.windows()
    row_R = np.random.default_rng(0).permutation(small_store.window_rows[0])
    event_R = window.training_event_R[row_R]
    user_R = window.timelines.user_of(event_R)
    item_RL, _ = window.histories.gather(user_R, window.histories.end_of_event_N[event_R], history)
    titles = [sum(int((small_items.title_IT[item] != 0).sum()) for item in item_L if item >= 0) for item_L in item_RL]
    found = RowTokens(small_store, small_items, history, candidates=3)(row_R)
    assert found.tolist() == [tokens + 3 * PROMPT_TOKENS for tokens in titles]
    assert len(set(titles)) > 1
