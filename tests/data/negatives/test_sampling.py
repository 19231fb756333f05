"""Draws against exact chances, and what must never be drawn."""

from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gensr_dist.data.config import DataConfig
from gensr_dist.data.negatives.exposures import Exposures
from gensr_dist.data.negatives.popularity import PopularitySampler
from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.data.negatives.sampling import SeenPairs, TrainingNegatives, sample_unseen
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from tests.data.negatives.offers import offers_of
from tests.timelines import timelines_of_columns

CHI_SQUARE = {3: 21.1, 5: 25.7, 9: 33.7, 14: 42.6, 19: 50.8}  # exceeded by chance once in 10,000; by degrees of freedom


def timelines_of(pairs: Sequence[tuple[int, int]], users: int, positive: Sequence[bool] | None = None) -> Timelines:
    """Recommendation events of one minute each, in the order given within a user; all of the training split."""
    order = sorted(range(len(pairs)), key=lambda at: pairs[at][0])
    user = [pairs[at][0] for at in order]
    clicked = [False if positive is None else positive[at] for at in order]
    item, time = [pairs[at][1] for at in order], np.arange(len(pairs)) * 60_000
    return timelines_of_columns(users, user, item_N=item, time_N=time, positive_N=clicked)


def seen_pairs_of(pairs: Sequence[tuple[int, int]], users: int, items: int) -> SeenPairs:
    return SeenPairs.from_timelines(timelines_of(pairs, users), items)


def chances_of_sets(weight: dict[int, int], count: int) -> dict[frozenset[int], float]:
    """Chance of every set of `count` items, drawn one after the other in proportion to weight, without putting back."""
    chances: dict[frozenset[int], float] = {}
    for drawn in permutations(weight, count):
        chance, left = 1.0, float(sum(weight.values()))
        for item in drawn:
            chance *= weight[item] / left
            left -= weight[item]
        chances[frozenset(drawn)] = chances.get(frozenset(drawn), 0.0) + chance
    return chances


def test_met_counts_exposures_without_a_click() -> None:
    seen = seen_pairs_of([(0, 4), (2, 1), (2, 1), (2, 3), (0, 0)], 4, 5)
    assert seen.of_user(0).tolist() == [0, 4]
    assert seen.of_user(1).tolist() == []
    assert seen.of_user(2).tolist() == [1, 3]
    table = seen.contains(np.arange(4)[:, None], np.arange(5))
    assert np.argwhere(table).tolist() == [[0, 0], [0, 4], [2, 1], [2, 3]]


@settings(max_examples=60)
@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=300), spread=st.integers(1, 10**7))
def test_the_filter_before_the_search_hides_no_pair(pairs: list[tuple[int, int]], spread: int) -> None:
    pairs = [(user, item * spread) for user, item in pairs]
    seen = seen_pairs_of(pairs, 6, 401 * spread)
    table = seen.contains(np.arange(6)[:, None], np.arange(401) * spread)
    assert {(user, item * spread) for user, item in np.argwhere(table).tolist()} == set(pairs)
    stored = seen.key_K
    assert seen.contains(stored // seen.items, stored % seen.items).all()


def test_the_filter_lets_few_other_pairs_through() -> None:
    random = np.random.default_rng(0)
    key_K = np.unique(random.integers(0, 100 * 50_000, 20_000))
    seen = SeenPairs(key_K=key_K, user_start_V=np.searchsorted(key_K, np.arange(101) * 50_000), items=50_000)
    assert len(seen.filter_B) <= 4 * len(key_K)
    assert np.unpackbits(seen.filter_B).mean() < 0.07


def test_all_but_the_last_few_items_met() -> None:
    """Rejection would need hundreds of rounds; the list gives exactly what is left, in the row's own order."""
    items = 500
    seen = seen_pairs_of([(0, item) for item in range(items - 3)], 1, items)
    drawn = sample_unseen(seen, np.zeros(200, dtype=np.int64), 3, key=(0, np.arange(200)))
    assert (np.sort(drawn, axis=1) == [497, 498, 499]).all()
    assert len(np.unique(drawn, axis=0)) == 6
    with pytest.raises(InputError, match=r"seen 497 of 500 items, .* fewer than the 4 negatives .*; lower data\."):
        sample_unseen(seen, np.zeros(1, dtype=np.int64), 4, key=(0,))


def test_every_unmet_item_is_equally_likely() -> None:
    seen = seen_pairs_of([(0, 2), (0, 0)], 1, 12)
    rows = np.arange(40_000)
    drawn = sample_unseen(seen, np.zeros_like(rows), 2, key=(5, rows))
    count = np.bincount(drawn.ravel(), minlength=12)
    assert count[0] == count[2] == 0
    expected = 8_000.0
    assert ((np.delete(count, [0, 2]) - expected) ** 2 / expected).sum() < CHI_SQUARE[9]
    pair = np.bincount(drawn[:, 0].astype(int) * 12 + drawn[:, 1], minlength=144)
    assert pair.max() < 600  # 444 expected


@pytest.mark.parametrize("power", [0.0, 0.75, 1.0])
@pytest.mark.parametrize("seen_count", [0, 300, 10**8], ids=["rejection", "both ways", "list"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_draws_follow_the_weights(power: float, seen_count: int, count: int) -> None:
    """The seen items 1 and 4 weigh so much that rejection seldom, sometimes or always gives up."""
    count_I = np.array([0, seen_count, 3, 9, seen_count, 3, 40, 1])
    unseen = [0, 2, 3, 5, 6, 7]
    seen = seen_pairs_of([(0, 1), (0, 4)], 1, len(count_I))
    rows = np.arange(20_000)
    drawn = sample_unseen(
        seen,
        np.zeros_like(rows),
        count,
        key=(seen_count, rows),
        popularity=PopularitySampler.from_counts(count_I, power),
    )
    seen = Counter(frozenset(row) for row in drawn.tolist())
    weight = {item: round((int(count_I[item]) + 1) ** power * 2**20) for item in unseen}
    chances = chances_of_sets(weight, count)
    assert set(seen) <= set(chances)
    statistic = sum(
        (seen[chosen] - len(rows) * chance) ** 2 / (len(rows) * chance) for chosen, chance in chances.items()
    )
    assert statistic < CHI_SQUARE[len(chances) - 1]


def test_keys_change_the_draws() -> None:
    seen = seen_pairs_of([], 1, 100_000)
    rows = np.arange(50)
    users = np.zeros_like(rows)
    draws = [sample_unseen(seen, users, 4, key=(seed, epoch, rows)) for seed in (0, 1) for epoch in (0, 1)]
    for left in range(4):
        for right in range(left):
            assert (draws[left] == draws[right]).mean() < 0.02


def test_rejection_alone_serves_users_who_met_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list costs time in proportion to the catalogue, so it must stay the exception."""
    monkeypatch.setattr("gensr_dist.data.negatives.sampling._choose", None)
    seen = seen_pairs_of([(0, item) for item in range(500)], 1, 1_000)
    rows = np.arange(2_000)
    for popularity in (None, PopularitySampler.from_counts(np.arange(1_000)[::-1], 0.75)):
        drawn = sample_unseen(seen, np.zeros_like(rows), 4, key=(0, rows), popularity=popularity)
        assert drawn.min() >= 500


def test_no_rows() -> None:
    seen = seen_pairs_of([], 1, 5)
    assert sample_unseen(seen, np.zeros(0, dtype=np.int64), 3, key=(0,)).shape == (0, 3)


def test_more_rows_than_are_drawn_at_a_time() -> None:
    seen = seen_pairs_of([(0, 1), (1, 5)], 2, 9)
    rows = np.arange(30_000)
    whole = sample_unseen(seen, rows % 2, 4, key=(3, rows))
    tail = rows[29_000:]
    assert np.array_equal(sample_unseen(seen, tail % 2, 4, key=(3, tail)), whole[tail])


USERS, ITEMS = 4, 14
events = st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.booleans()), max_size=40)


@settings(max_examples=150)
@given(
    rows=events,
    count=st.integers(1, 5),
    weighted=st.booleans(),
    seed=st.integers(0, 2**40),
    data=st.data(),
)
def test_training_negatives(
    rows: list[tuple[int, int, bool]], count: int, weighted: bool, seed: int, data: st.DataObject
) -> None:
    hard = data.draw(st.integers(0, count))
    timelines = timelines_of([row[:2] for row in rows], USERS, [row[2] for row in rows])
    event_R = np.flatnonzero(timelines.positive_N)
    user_R = timelines.user_N[event_R]
    seen = SeenPairs.from_timelines(timelines, ITEMS, Split.TRAIN)
    assume(ITEMS - np.diff(seen.user_start_V).max() >= count)
    exposures = Exposures.from_timelines(timelines)
    negatives = TrainingNegatives.from_config(
        DataConfig(
            negatives="popularity" if weighted else "uniform",
            popularity_power=0.5,
            train_negatives=count,
            hard_negatives=hard,
        ),
        np.bincount(timelines.item_N[event_R], minlength=ITEMS),
    )
    key, no_R = (seed, 9, 2, event_R + 100), np.full(len(event_R), -1)
    drawn = negatives.draw(seen, exposures if hard else None, event_R, user_R, no_R, key=key)
    assert not drawn.fits_query_RC.any()
    item_RC = drawn.item_RC
    assert item_RC.dtype == np.int64
    assert item_RC.shape == (len(event_R), count)
    for event, user, row in zip(event_R.tolist(), user_R.tolist(), item_RC.tolist(), strict=True):
        assert len(set(row)) == count
        offered = set(offers_of(exposures, event))
        shown = min(hard, len(offered))
        assert set(row[:shown]) <= offered
        clicked = {item for other, item, positive in rows if other == user and positive}
        assert not set(row) & clicked
        assert not set(row[shown:]) & set(seen.of_user(user).tolist())
        assert set(row) <= set(range(ITEMS))
    part = np.array(data.draw(st.lists(st.sampled_from(range(len(event_R))))) if len(event_R) else [], dtype=np.int64)
    again = negatives.draw(
        seen,
        exposures if hard else None,
        event_R[part],
        user_R[part],
        no_R[part],
        key=(seed, 9, 2, event_R[part] + 100),
    )
    assert np.array_equal(again.item_RC, item_RC[part])


def test_hard_negatives_need_no_unmet_item_of_their_own() -> None:
    """Two offers and one unseen item make three negatives, but not four."""
    timelines = timelines_of([(0, item) for item in range(4)], 1, [True, True, False, False])
    seen = SeenPairs.from_timelines(timelines, 5)
    exposures = Exposures.from_timelines(timelines)
    event_R, user_R = np.arange(2), np.zeros(2, dtype=np.int64)
    rows, key = (event_R, user_R, np.full(2, -1)), (0, event_R)
    enough = TrainingNegatives(count=3, hard=2, popularity=None)
    assert np.sort(enough.draw(seen, exposures, *rows, key=key).item_RC, axis=1).tolist() == [[2, 3, 4]] * 2
    with pytest.raises(InputError, match="seen 4 of 5 items"):
        TrainingNegatives(count=4, hard=2, popularity=None).draw(seen, exposures, *rows, key=key)


def test_hard_negatives_change_with_every_part_of_the_key() -> None:
    timelines = timelines_of([(0, item) for item in range(30)], 1, [item == 0 for item in range(30)])
    seen = SeenPairs.from_timelines(timelines, 50)
    exposures = Exposures.from_timelines(timelines)
    negatives = TrainingNegatives(count=2, hard=2, popularity=None)
    row_R = np.arange(100)
    event_R = np.zeros_like(row_R)
    first, *others = (
        negatives.draw(seen, exposures, event_R, event_R, np.full(100, -1), key=key).item_RC
        for key in ((0, 7, 0, row_R), (1, 7, 0, row_R), (0, 8, 0, row_R), (0, 7, 1, row_R), (0, 7, 0, row_R + 100))
    )
    for other in others:
        assert (first == other).mean() < 0.15  # 1 in 29 by chance


@settings(max_examples=60)
@given(
    lists=st.lists(st.lists(st.integers(0, ITEMS - 1), max_size=6, unique=True), min_size=1, max_size=4),
    rows=st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), min_size=1, max_size=12),
    count=st.integers(1, 4),
    seed=st.integers(0, 2**40),
    data=st.data(),
)
def test_negatives_that_fit_the_query(
    lists: list[list[int]], rows: list[tuple[int, int]], count: int, seed: int, data: st.DataObject
) -> None:
    """They come last, are unseen and distinct, and a row without any is as without the setting."""
    fitting = data.draw(st.integers(1, count))
    query_R = np.array(data.draw(st.lists(st.integers(-1, len(lists) - 1), min_size=len(rows), max_size=len(rows))))
    timelines = timelines_of(rows, USERS)
    event_R, user_R = np.arange(len(rows)), timelines.user_N
    seen = SeenPairs.from_timelines(timelines, ITEMS, Split.TRAIN)
    assume(ITEMS - np.diff(seen.user_start_V).max() >= count)
    start_Q = np.cumsum([0, *map(len, lists)])
    listed = QueryItems(start_Q, np.array([item for own in lists for item in own], dtype=np.uint32))
    config = DataConfig(train_negatives=count, query_negatives=fitting)
    negatives = TrainingNegatives.from_config(config, np.zeros(ITEMS), listed)
    key = (seed, event_R)
    drawn = negatives.draw(seen, None, event_R, user_R, query_R, key=key)
    without = TrainingNegatives(count=count, hard=0, popularity=None).draw(
        seen, None, event_R, user_R, query_R, key=key
    )
    for row, (user, query) in enumerate(zip(user_R.tolist(), query_R.tolist(), strict=True)):
        item_C, fits_C = drawn.item_RC[row].tolist(), drawn.fits_query_RC[row].tolist()
        assert len(set(item_C)) == count
        assert not set(item_C) & set(seen.of_user(user).tolist())
        assert not any(fits_C[: count - fitting])
        own = set(lists[query]) if query >= 0 else set()
        assert {item for item, fits in zip(item_C, fits_C, strict=True) if fits} <= own
        if not own - set(seen.of_user(user).tolist()):
            assert not any(fits_C)
            assert item_C == without.item_RC[row].tolist()
    log_RC = negatives.log_chance(drawn)
    assert np.array_equal(np.isinf(log_RC), drawn.fits_query_RC)
    assert not log_RC[~drawn.fits_query_RC].any()
    part = np.flatnonzero(np.arange(len(rows)) % 2)
    again = negatives.draw(seen, None, event_R[part], user_R[part], query_R[part], key=(seed, event_R[part]))
    assert np.array_equal(again.item_RC, drawn.item_RC[part])


def test_every_item_of_a_list_is_drawn_alike() -> None:
    listed = QueryItems(np.array([0, 0, 5]), np.array([3, 1, 4, 7, 6], dtype=np.uint32))
    rows = 20_000
    item_RCA = listed.sample(np.full(rows, 1), 2, (5, np.arange(rows)))
    for item_R in item_RCA.reshape(rows, -1).T:
        share = np.bincount(item_R, minlength=8)[[3, 1, 4, 7, 6]] / rows
        assert np.abs(share - 0.2).max() < 0.02
    assert np.corrcoef(item_RCA[:, 0, 0], item_RCA[:, 1, 0])[0, 1] < 0.05
    assert (listed.sample(np.array([0, -1]), 2, (5, np.arange(2))) == -1).all()


def test_lists_of_queries_on_disk(tmp_path: Path) -> None:
    listed = QueryItems(np.array([0, 2, 2, 300]), np.arange(300, dtype=np.uint32) % 9)
    listed.save(tmp_path)
    found = QueryItems.open(tmp_path, 3, 9)
    assert np.array_equal(found.start_Q, listed.start_Q)
    assert np.array_equal(found.item_M, listed.item_M)
    for queries, items in ((2, 9), (3, 8)):
        with pytest.raises(InputError, match=f"not the lists of {queries} queries over {items} items; run `gensr chan"):
            QueryItems.open(tmp_path, queries, items)
    (tmp_path / "query_items.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"query_items\.npy: expected an npy array"):
        QueryItems.open(tmp_path, 3, 9)
    (tmp_path / "query_items.npy").unlink()
    with pytest.raises(InputError, match="does not exist; run `gensr channels`"):
        QueryItems.open(tmp_path, 3, 9)


def test_more_hard_negatives_than_negatives() -> None:
    with pytest.raises(InputError, match=r"data\.query_negatives: 5 hard negatives of 4"):
        TrainingNegatives.from_config(DataConfig(train_negatives=4, query_negatives=5), np.zeros(3, dtype=np.int64))
    both = DataConfig(train_negatives=4, query_negatives=3, hard_negatives=3)
    with pytest.raises(InputError, match=r"data\.hard_negatives: 6 hard negatives of 4"):
        TrainingNegatives.from_config(both, np.zeros(3, dtype=np.int64))
    with pytest.raises(InputError, match=r"data\.hard_negatives: 5 hard negatives of 4"):
        TrainingNegatives.from_config(DataConfig(train_negatives=4, hard_negatives=5), np.zeros(3, dtype=np.int64))
