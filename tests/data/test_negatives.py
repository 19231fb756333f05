from collections.abc import Callable

import numpy as np
import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.negatives import Met, sample_unmet
from gensr_dist.data.preparation.splitting import assign_splits, find_moments
from gensr_dist.data.timelines import build_timelines
from gensr_dist.errors import InputError


def met_of(make_rows_log: Callable[..., EventLog], pairs: list[tuple[int, int]], users: int, items: int) -> Met:
    log = make_rows_log(
        [(user, item, 0, 3, -1, False) for user, item in pairs] + [(0, 0, 0, 4, -1, True)], users, items
    )
    events = assign_splits(
        log.events, find_moments(log.events, DataConfig(split="time", valid_share=0.1, test_share=0.1))
    )
    return Met.from_timelines(build_timelines(log, events), users, items)


def test_met_counts_exposures_without_a_click(make_rows_log: Callable[..., EventLog]) -> None:
    met = met_of(make_rows_log, [(0, 4), (2, 1), (2, 1), (2, 3)], 4, 5)
    assert met.of_user(0).tolist() == [0, 4]
    assert met.of_user(1).tolist() == []
    assert met.of_user(2).tolist() == [1, 3]
    table = met.contains(np.arange(4)[:, None], np.arange(5))
    assert np.argwhere(table).tolist() == [[0, 0], [0, 4], [2, 1], [2, 3]]


def test_all_but_the_last_few_items_met(make_rows_log: Callable[..., EventLog]) -> None:
    """Rejection would need hundreds of rounds; the list gives exactly what is left, in the row's own order."""
    items = 500
    met = met_of(make_rows_log, [(0, item) for item in range(items - 3)], 1, items)
    drawn = sample_unmet(met, np.zeros(200, dtype=np.int64), 3, items=items, key=(0, np.arange(200)))
    assert (np.sort(drawn, axis=1) == [497, 498, 499]).all()
    assert len(np.unique(drawn, axis=0)) == 6
    with pytest.raises(InputError, match=r"met 497 of 500 items, .* fewer than the 4 negatives .*; lower data\."):
        sample_unmet(met, np.zeros(1, dtype=np.int64), 4, items=items, key=(0,))


def test_every_unmet_item_is_equally_likely(make_rows_log: Callable[..., EventLog]) -> None:
    met = met_of(make_rows_log, [(0, 2)], 1, 12)
    rows = np.arange(40_000)
    drawn = sample_unmet(met, np.zeros_like(rows), 2, items=12, key=(5, rows))
    count = np.bincount(drawn.ravel(), minlength=12)
    assert count[0] == count[2] == 0
    expected = 8_000.0
    assert ((np.delete(count, [0, 2]) - expected) ** 2 / expected).sum() < 33.7  # chi-square, 9 degrees, p = 1e-4
    pair = np.bincount(drawn[:, 0].astype(int) * 12 + drawn[:, 1], minlength=144)
    assert pair.max() < 600  # 444 expected


def test_keys_change_the_draws(make_rows_log: Callable[..., EventLog]) -> None:
    met = met_of(make_rows_log, [], 1, 100_000)
    rows = np.arange(50)
    users = np.zeros_like(rows)
    draws = [sample_unmet(met, users, 4, items=100_000, key=(seed, epoch, rows)) for seed in (0, 1) for epoch in (0, 1)]
    for left in range(4):
        for right in range(left):
            assert (draws[left] == draws[right]).mean() < 0.02


def test_no_rows(make_rows_log: Callable[..., EventLog]) -> None:
    met = met_of(make_rows_log, [], 1, 5)
    assert sample_unmet(met, np.zeros(0, dtype=np.int64), 3, items=5, key=(0,)).shape == (0, 3)
