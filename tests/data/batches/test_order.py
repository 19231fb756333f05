import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.batches.order import SampleOrder


@settings(max_examples=60)
@given(
    window_rows=st.lists(st.integers(0, 300), min_size=1, max_size=6).filter(any),
    batch=st.integers(1, 90),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 5),
)
def test_every_row_is_seen_exactly_once_an_epoch(window_rows: list[int], batch: int, seed: int, epoch: int) -> None:
    order, rows = SampleOrder(window_rows, batch, seed), sum(window_rows)
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    seen = [order.rows_of_step(step) for step in steps]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(rows))
    assert [len(rows_of_step) for rows_of_step in seen] == [order.groups_of_step(step) for step in steps]
    assert all(len(rows_of_step) == batch for rows_of_step in seen[:-1])
    assert len(seen[-1]) == rows - batch * (order.steps_per_epoch - 1)


@pytest.mark.parametrize("window_rows", [[20_000], [7_000, 0, 6_001, 6_999]])
def test_steps_can_be_asked_for_in_any_order(window_rows: list[int]) -> None:
    """Steps of 100 rows begin and end anywhere in the blocks that the order computes at a time."""
    in_order = SampleOrder(window_rows, batch=100, seed=3)
    expected = [in_order.rows_of_step(step) for step in range(2 * in_order.steps_per_epoch)]
    jumping = SampleOrder(window_rows, batch=100, seed=3)
    for step in np.random.default_rng(0).permutation(len(expected)).tolist():
        assert np.array_equal(jumping.rows_of_step(step), expected[step])
    whole = SampleOrder(window_rows, batch=20_000, seed=3)  # one step an epoch: the batch does not change the order
    assert np.array_equal(np.concatenate(expected[: in_order.steps_per_epoch]), whole.rows_of_step(0))


@given(window_rows=st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any), epoch=st.integers(0, 9))
def test_an_epoch_finishes_a_window_before_the_next(window_rows: list[int], epoch: int) -> None:
    order = SampleOrder(window_rows, batch=sum(window_rows), seed=2)
    window_of_row = np.repeat(np.arange(len(window_rows)), window_rows)
    visited = window_of_row[order.rows_of_step(epoch)]
    changes = np.flatnonzero(np.diff(visited, prepend=-1))
    assert len(changes) == len(set(visited.tolist())) == np.count_nonzero(window_rows)


def test_epochs_visit_windows_in_all_orders() -> None:
    order = SampleOrder([3, 2, 4], batch=9, seed=8)
    windows = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    visits = [tuple(dict.fromkeys(windows[order.rows_of_step(epoch)].tolist())) for epoch in range(600)]
    counts = [visits.count(visit) for visit in set(visits)]
    assert len(counts) == 6
    assert max(abs(count - 100) for count in counts) < 5 * np.sqrt(600 * 1 / 6 * 5 / 6)


def test_windows_of_one_size_are_permuted_differently() -> None:
    order = SampleOrder([1_000, 1_000], batch=2_000, seed=0)
    first, second = np.split(order.rows_of_step(0) % 1_000, 2)
    assert np.mean(first == second) < 0.02


def test_order_differs_by_epoch_and_seed_and_repeats_itself() -> None:
    order = SampleOrder([5_000], 5_000, seed=1)
    first = order.rows_of_step(0)
    assert np.array_equal(first, SampleOrder([5_000], 5_000, seed=1).rows_of_step(0))
    for other in (order.rows_of_step(1), SampleOrder([5_000], 5_000, seed=2).rows_of_step(0)):
        assert np.mean(first == other) < 0.01


@pytest.mark.parametrize("rows", [4_096, 5_000, 70_001])
def test_order_mixes_like_a_random_permutation(rows: int) -> None:
    """Bounds are five standard deviations of the same statistic of a uniformly random permutation."""
    permutation = SampleOrder([rows], rows, seed=11).rows_of_step(0).astype(np.float64)
    place = np.arange(rows)
    bound = 5 / np.sqrt(rows)
    assert abs(np.corrcoef(place, permutation)[0, 1]) < bound
    assert abs(np.corrcoef(permutation[:-1], permutation[1:])[0, 1]) < bound
    assert abs(np.mean(np.abs(np.diff(permutation))) / rows - 1 / 3) < bound
    cells = np.histogram2d(place, permutation, bins=16, range=[[0, rows], [0, rows]])[0]
    chi_square = ((cells - rows / 256) ** 2 / (rows / 256)).sum()
    assert abs(chi_square - 225) < 5 * np.sqrt(2 * 225)  # 15 x 15 degrees of freedom


def test_small_permutations_all_occur() -> None:
    """Every order of four rows turns up among many epochs, none much too often."""
    order = SampleOrder([4], 4, seed=0)
    seen = [tuple(order.rows_of_step(epoch)) for epoch in range(2_400)]
    counts = np.unique(np.array(seen), axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert counts.max() < 300


@pytest.mark.parametrize("window_rows", [[], [0, 0]])
def test_an_order_without_rows_is_refused(window_rows: list[int]) -> None:
    with pytest.raises(ValueError, match="0 rows"):
        SampleOrder(window_rows, 4, seed=0)
