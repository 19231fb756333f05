import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.order import SampleOrder


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 700),
    batch=st.integers(1, 90),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 5),
)
def test_every_row_is_seen_exactly_once_an_epoch(rows: int, batch: int, seed: int, epoch: int) -> None:
    order = SampleOrder(rows, batch, seed)
    steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
    seen = [order.rows_of_step(step) for step in steps]
    assert np.array_equal(np.sort(np.concatenate(seen)), np.arange(rows))
    assert [len(rows_of_step) for rows_of_step in seen] == [order.groups_of_step(step) for step in steps]
    assert all(len(rows_of_step) == batch for rows_of_step in seen[:-1])
    assert len(seen[-1]) == rows - batch * (order.steps_per_epoch - 1)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("start", [0, 3, 41])
def test_the_global_batch_does_not_depend_on_the_ranks(world: int, accumulation: int, start: int) -> None:
    order = SampleOrder(rows=1_003, batch=24, seed=5)
    for step in range(start, start + 3):
        parts = [order.slices_of_step(step, rank=rank, world=world, accumulation=accumulation) for rank in range(world)]
        assert all(part.shape == (accumulation, 24 // (world * accumulation)) for part in parts)
        joined = np.concatenate(parts, axis=1).ravel()
        rows = order.rows_of_step(step)
        assert np.array_equal(joined[: len(rows)], rows)
        assert (joined[len(rows) :] == -1).all()
    assert order.groups_of_step(41) == 1_003 - 41 * 24  # the swept steps include the short one


def test_order_differs_by_epoch_and_seed_and_repeats_itself() -> None:
    order = SampleOrder(5_000, 5_000, seed=1)
    first = order.rows_of_step(0)
    assert np.array_equal(first, SampleOrder(5_000, 5_000, seed=1).rows_of_step(0))
    for other in (order.rows_of_step(1), SampleOrder(5_000, 5_000, seed=2).rows_of_step(0)):
        assert np.mean(first == other) < 0.01


@pytest.mark.parametrize("rows", [4_096, 5_000, 70_001])
def test_order_mixes_like_a_random_permutation(rows: int) -> None:
    """Bounds are five standard deviations of the same statistic of a uniformly random permutation."""
    permutation = SampleOrder(rows, rows, seed=11).rows_of_step(0).astype(np.float64)
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
    order = SampleOrder(4, 4, seed=0)
    seen = [tuple(order.rows_of_step(epoch)) for epoch in range(2_400)]
    counts = np.unique(np.array(seen), axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert counts.max() < 300


def test_an_order_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="0 rows"):
        SampleOrder(0, 4, seed=0)
