from collections.abc import Callable

import polars as pl
import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.preparation.splitting import assign_splits, find_moments
from gensr_dist.data.sources.times import DAY_MS
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError

HOUR = DAY_MS // 24


def split_of(log: EventLog, method: str, valid: float = 0.1, test: float = 0.1) -> list[int]:
    result = assign_splits(
        log.events, find_moments(log.events, DataConfig(split=method, valid_share=valid, test_share=test))
    )
    assert result.drop("split").equals(log.events)
    assert result.schema["split"] == pl.UInt8
    return result["split"].to_list()


def test_days_take_the_last_two_with_events(make_rows_log: Callable[..., EventLog]) -> None:
    times = [5 * DAY_MS, 5 * DAY_MS - 1, 3 * DAY_MS, 3 * DAY_MS - 1, 0, 5 * DAY_MS + HOUR]
    log = make_rows_log([(0, 0, 0, time, -1, index != 0) for index, time in enumerate(times)], 1, 1)
    assert split_of(log, "days") == [2, 1, 0, 0, 0, 2]


def test_two_days_are_not_enough(make_rows_log: Callable[..., EventLog]) -> None:
    log = make_rows_log([(0, 0, 0, 0, -1, True), (0, 0, 0, DAY_MS, -1, True)], 1, 1)
    with pytest.raises(InputError, match=r"data\.split: .* at least 3 days .* has 2; set"):
        split_of(log, "days")


def test_leave_one_out_by_interaction(make_rows_log: Callable[..., EventLog]) -> None:
    rows = [
        (0, 3, 1, 9, 0, True),  # twin of the last interaction, first in the file
        (0, 1, 0, 1, -1, True),
        (0, 2, 0, 4, -1, True),
        (0, 3, 0, 9, -1, True),
        (0, 4, 0, 3, -1, False),  # shown before the validation interaction
        (0, 4, 0, 5, -1, False),  # between
        (0, 5, 0, 9, -1, False),  # with the test interaction
        (1, 1, 0, 1, -1, True),  # two interactions only
        (1, 2, 0, 2, -1, True),
        (1, 2, 0, 9, -1, False),
    ]
    assert split_of(make_rows_log(rows, 2, 6), "leave_one_out") == [2, 0, 1, 2, 0, 1, 2, 0, 0, 0]


def test_leave_one_out_breaks_ties_by_first_appearance(make_rows_log: Callable[..., EventLog]) -> None:
    rows = [(0, item, 0, 1, -1, True) for item in (5, 3, 4)]
    assert split_of(make_rows_log(rows, 1, 6), "leave_one_out") == [0, 1, 2]


def test_time_cuts_at_moments(make_rows_log: Callable[..., EventLog]) -> None:
    rows = [(index % 3, 0, 0, index, -1, True) for index in range(20)] + [(0, 0, 0, 99, -1, False)]
    assert split_of(make_rows_log(rows, 3, 1), "time", 0.2, 0.1) == [0] * 14 + [1] * 4 + [2] * 2 + [2]
    tied = [(index, 0, 0, 0 if index < 5 else 7, -1, True) for index in range(10)]
    assert split_of(make_rows_log(tied, 10, 1), "time", 0.1, 0.1) == [0] * 5 + [2] * 5


@pytest.mark.parametrize("method", ["days", "leave_one_out", "time"])
def test_no_user_trains_after_being_tested(make_log: Callable[..., EventLog], method: str) -> None:
    log = make_log(seed=3)
    events = assign_splits(
        log.events, find_moments(log.events, DataConfig(split=method, valid_share=0.1, test_share=0.1))
    )
    assert set(events["split"]) == set(Split)
    spans = (
        events.filter("positive")
        .group_by("user", "split")
        .agg(pl.col("time").min().alias("first"), pl.col("time").max().alias("last"))
    )
    for early, late in ((0, 1), (1, 2), (0, 2)):
        both = spans.filter(split=early).join(spans.filter(split=late), on="user")
        assert (both["last"] <= both["first_right"]).all()
