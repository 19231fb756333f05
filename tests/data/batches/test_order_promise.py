"""The promise of `shards/README.md`: what a step sees depends on neither ranks, nor workers, nor interruptions."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.loader import TrainingLoader
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.config import PROMPT_TOKENS
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.storage.folder import Folder

WORLDS = [1, 2, 3, 4, 8]
WORKERS = [0, 1, 2, 3]
PROCESSES = [(1, 3), (2, 1), (2, 2), (3, 3), (4, 2), (8, 1)]  # ranks and workers of each: every number of both
BATCH = 48  # every number of ranks divides it
MICRO_TOKENS = 1_500  # a step is cut into two or three micro-batches
NEGATIVES = TrainingNegatives(count=3, hard=1, popularity=None)

Content = tuple[np.ndarray, ...]  # of the groups of one micro-batch
Seen = dict[tuple[int, int], Content]  # by step and micro-batch


@pytest.fixture(scope="module")
def collator(prepared: Path) -> Collator:
    """A log of several windows, which steps straddle."""
    shards = Folder.at(prepared)
    store = TimelineStore.open(shards, shuffle_shards=1)
    assert len(store.window_rows) > 2
    return Collator(store, ItemStore.open(shards), ItemVectors(np.ones((store.items, 4), np.float32)), history=5)


def loader(collator: Collator, rank: int, world: int, workers: int = 0) -> TrainingLoader:
    return TrainingLoader(
        collator,
        SampleOrder(collator.store.window_rows, BATCH, seed=9),
        seed=9,
        negatives=NEGATIVES,
        rank=rank,
        world=world,
        micro_tokens=MICRO_TOKENS,
        workers=workers,
    )


def content(batch: Batch) -> Iterator[np.ndarray]:
    """Every array of the groups, with rows of the catalogue in place of slots."""
    for name in ("row_G", "user_G", "task_G", "query_GQ", "behaviour_GL", "label_GC"):
        yield getattr(batch, name).numpy()
    yield batch.item_U[batch.history_GL].numpy()
    yield batch.item_U[batch.candidate_GC].numpy()


def run(collator: Collator, world: int, start: int, stop: int, workers: int = 0) -> Seen:
    """What all ranks together see of the steps [start, stop), by row, each rank with a loader of its own."""
    ranks = [dict(loader(collator, rank, world, workers).batches(start, stop)) for rank in range(world)]
    seen: Seen = {}
    for step in range(start, stop):
        assert len({len(rank[step]) for rank in ranks}) == 1
        for number in range(len(ranks[0][step])):
            parts = [content(rank[step][number]) for rank in ranks]
            arrays = [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
            by_row = np.argsort(arrays[0])
            by_row = by_row[arrays[0][by_row] >= 0]  # how much padding there is depends on the ranks
            seen[step, number] = tuple(array[by_row] for array in arrays)
    return seen


def assert_equal(seen: Seen, expected: Seen) -> None:
    assert seen.keys() == expected.keys()
    for key, arrays in expected.items():
        for array, other in zip(seen[key], arrays, strict=True):
            assert np.array_equal(array, other), key


@pytest.fixture(scope="module")
def steps(collator: Collator) -> int:
    """Steps of an epoch; the last is short."""
    order = loader(collator, 0, 1).order
    assert order.groups_of_step(order.steps_per_epoch - 1) < BATCH
    return order.steps_per_epoch


@pytest.fixture(scope="module")
def expected(collator: Collator, steps: int) -> Seen:
    """Two epochs on one rank without interruption."""
    return run(collator, 1, 0, 2 * steps)


@pytest.mark.parametrize("resumed_world", WORLDS)
@pytest.mark.parametrize("world", WORLDS)
def test_a_run_resumed_on_other_ranks_sees_the_same(
    collator: Collator, steps: int, expected: Seen, world: int, resumed_world: int
) -> None:
    for stop in (1, steps // 2, steps - 1, steps, steps + 1, 2 * steps - 2):
        first, last = max(0, stop - 2), min(2 * steps, stop + 2)
        seen = run(collator, world, first, stop) | run(collator, resumed_world, stop, last)
        assert_equal(seen, {key: arrays for key, arrays in expected.items() if first <= key[0] < last})


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more processes than this machine has cores
@pytest.mark.parametrize(
    ("world", "workers"),
    [
        pytest.param(*pair, marks=() if pair in PROCESSES else pytest.mark.slow)
        for pair in itertools.product(WORLDS, WORKERS)
    ],
)
def test_loader_processes_change_nothing(
    collator: Collator, steps: int, expected: Seen, world: int, workers: int
) -> None:
    """The run stops in its second epoch and goes on with other ranks and other workers."""
    stop, end = steps + 1, steps + 3
    resumed_world = WORLDS[(WORLDS.index(world) + 2) % len(WORLDS)]
    seen = run(collator, world, steps - 2, stop, workers)
    seen |= run(collator, resumed_world, stop, end, WORKERS[(workers + 1) % len(WORKERS)])
    assert_equal(seen, {key: arrays for key, arrays in expected.items() if steps - 2 <= key[0] < end})


@pytest.mark.parametrize("world", WORLDS)
def test_no_rank_waits_for_a_batch_that_another_lacks(collator: Collator, steps: int, world: int) -> None:
    ranks = [dict(loader(collator, rank, world).batches(0, steps + 1)) for rank in range(world)]
    for step in range(steps + 1):
        shapes = {tuple(batch.candidate_GC.shape for batch in rank[step]) for rank in ranks}
        assert len(shapes) == 1
        for number in range(len(shapes.pop())):
            real = [int((rank[step][number].row_G >= 0).sum()) for rank in ranks]
            assert max(real) - min(real) <= 1
            assert ranks[0][step][number].row_G.shape == (max(real),)  # no more padding than that takes


def test_tokens_are_those_of_the_batches_and_keep_the_budget(collator: Collator, steps: int) -> None:
    whole, counts = loader(collator, 0, 1), set()
    for step, batches in whole.batches(0, steps):
        counts.add(len(batches))
        for batch in batches:
            titles_G = (batch.title_UT != 0).sum(1)[batch.history_GL].sum(1)
            token_G = titles_G + PROMPT_TOKENS * batch.candidate_GC.shape[1]
            assert np.array_equal(whole.micro_batches.tokens(batch.row_G.numpy()), token_G.numpy()), step
            assert int(token_G.sum()) <= MICRO_TOKENS
    assert len(counts) > 1  # as many micro-batches as a step's tokens need


def test_every_row_comes_once_an_epoch_and_epochs_differ(collator: Collator, steps: int, expected: Seen) -> None:
    row_E = [
        np.concatenate([arrays[0] for (step, _), arrays in expected.items() if step // steps == epoch])
        for epoch in range(2)
    ]
    for row in row_E:
        assert np.array_equal(np.sort(row), np.arange(sum(collator.store.window_rows)))
    assert np.mean(row_E[0] == row_E[1]) < 0.05
    negatives_of_row = [
        {
            row: tuple(candidates[1:])
            for (step, _), arrays in expected.items()
            if step // steps == epoch
            for row, candidates in zip(arrays[0].tolist(), arrays[-1].tolist(), strict=True)
        }
        for epoch in range(2)
    ]
    same = [negatives_of_row[0][row] == negatives_of_row[1][row] for row in range(len(row_E[0]))]
    assert np.mean(same) < 0.05


# How well an order mixes. Bounds are five standard deviations of the same statistic under uniform permutations of the
# rows of each window, with the expectation known or measured on permutations drawn by numpy.

EPOCHS = 6
WINDOWS = [[24_000], [9_000, 0, 11_000, 4_013]]


def uniform(window_rows: list[int], generator: np.random.Generator) -> np.ndarray:
    """An epoch of a windowed order, all of them equally likely."""
    first = np.cumsum([0, *window_rows])
    windows = generator.permutation(len(window_rows))
    return np.concatenate([first[window] + generator.permutation(window_rows[window]) for window in windows])


def epochs_of(window_rows: list[int]) -> list[np.ndarray]:
    order = SampleOrder(window_rows, 128, seed=4)
    steps = np.arange(EPOCHS * order.steps_per_epoch).reshape(EPOCHS, -1)
    return [np.concatenate([order.rows_of_step(step) for step in epoch]) for epoch in steps.tolist()]


@pytest.mark.parametrize("window_rows", WINDOWS)
def test_users_meet_in_a_batch_as_by_chance(window_rows: list[int]) -> None:
    """Rows of a user lie side by side in the log; counted are pairs of them in a batch, and neighbours in an epoch."""
    draw = np.random.default_rng(0)
    count_V = draw.geometric(1 / 12, size=sum(window_rows))  # a long tail of rows a user
    user_of_row = np.repeat(np.arange(len(count_V)), count_V)[: sum(window_rows)]

    def pairs(epoch: np.ndarray) -> tuple[int, int]:
        user = user_of_row[epoch]
        batches = np.split(user, np.arange(128, len(user), 128))
        counts = [np.unique(batch, return_counts=True)[1] for batch in batches]
        return sum(int((count * (count - 1) // 2).sum()) for count in counts), int((user[1:] == user[:-1]).sum())

    reference = np.array([pairs(uniform(window_rows, draw)) for _ in range(60)])
    ours = np.array([pairs(epoch) for epoch in epochs_of(window_rows)])
    error = reference.std(axis=0, ddof=1) * np.sqrt(1 / len(ours) + 1 / len(reference))
    assert (np.abs(ours.mean(axis=0) - reference.mean(axis=0)) < 5 * error).all()
    in_the_log = pairs(np.arange(len(user_of_row)))
    assert (np.array(in_the_log) > 50 * reference.mean(axis=0)).all()  # the statistic sees an order that is not mixed


@pytest.mark.parametrize("window_rows", WINDOWS)
def test_neighbours_of_the_log_are_no_neighbours_of_an_epoch(window_rows: list[int]) -> None:
    """Of a uniform permutation, about 2 neighbours differ by 1 (Poisson), whatever its length."""
    found = sum(int((np.abs(np.diff(epoch)) == 1).sum()) for epoch in epochs_of(window_rows))
    mean = 2 * EPOCHS * np.count_nonzero(window_rows)
    assert abs(found - mean) < 5 * np.sqrt(mean)


@pytest.mark.parametrize("window_rows", WINDOWS)
def test_the_place_in_an_epoch_says_nothing_about_the_row(window_rows: list[int]) -> None:
    """Nor about its place in the next epoch. The standard deviation of a rank correlation is 1/sqrt(n - 1)."""
    first = np.cumsum([0, *window_rows])
    place_E = []
    for epoch in epochs_of(window_rows):
        place = np.empty(len(epoch), dtype=np.int64)
        place[epoch] = np.arange(len(epoch))
        place_E.append(place)
    for start, end in itertools.pairwise(first.tolist()):
        if start == end:
            continue
        inside = [place[start:end] for place in place_E]
        bound = 5 / np.sqrt(end - start - 1)
        for place, following in zip(inside, inside[1:] + inside[:1], strict=True):
            assert place.max() - place.min() == end - start - 1  # the window is visited in one go
            assert abs(np.corrcoef(place, np.arange(end - start))[0, 1]) < bound
            assert abs(np.corrcoef(place, following)[0, 1]) < bound


@pytest.mark.parametrize("window_rows", WINDOWS)
def test_batches_mix_the_shards_of_their_window(window_rows: list[int]) -> None:
    """Rows of a batch by quarter of their window: the variance is that of drawing without putting back."""
    first = np.cumsum([0, *window_rows])
    squares, freedom = 0.0, 0
    for epoch in epochs_of(window_rows):
        window_of_place = np.searchsorted(first, epoch, side="right") - 1
        for place in range(0, len(epoch) - 127, 128):
            batch, window = epoch[place : place + 128], window_of_place[place]
            if window != window_of_place[place + 127]:
                continue
            start, size = first[window], window_rows[window]
            count = np.bincount((batch - start) * 4 // size, minlength=4)
            assert count.min() > 0
            squares += ((count - 32) ** 2 / 32).sum() * (size - 1) / (size - 128)
            freedom += 3
    assert abs(squares - freedom) < 5 * np.sqrt(2 * freedom)
