import numpy as np
import polars as pl
import pytest

from gensr_dist.data.events import EVENT_SCHEMA, Repair
from gensr_dist.data.sources.assembling import References, assemble, drop_repeats
from gensr_dist.data.sources.reading import Rows


def test_the_first_of_equal_events_stays_in_its_place() -> None:
    draw = np.random.default_rng(0)
    events = pl.DataFrame(
        {
            "user": draw.integers(0, 20, 5_000),
            "item": draw.integers(0, 30, 5_000),
            "behaviour": draw.integers(0, 2, 5_000),
            "time": draw.integers(0, 5, 5_000),
            "query": np.full(5_000, -1),
            "positive": draw.random(5_000) < 0.5,
        },
        schema=EVENT_SCHEMA,
    )
    assert drop_repeats(events).rows() == list(dict.fromkeys(events.rows()))
    distinct = drop_repeats(events)
    assert drop_repeats(distinct).equals(distinct)


def interactions(users: list[object], items: list[object]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": users,
            "item_id": items,
            "behaviour": pl.Series([1] * len(users), dtype=pl.UInt8),
            "time": [1_700_000_000_000 + 86_400_000 * row for row in range(len(users))],
            "query": [None, *(["q"] * (len(users) - 1))],
            "positive": [True] * len(users),
        }
    )


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([5, 3, 4, 3], [2, 0, 1, 0]),
        ([10**15, 3, 10**17, 3], [1, 0, 2, 0]),  # too far apart for a table of all numbers
        (["10", "9", "007", "9"], [2, 1, 0, 1]),
        (["10", "9", "b", "9"], [0, 1, 2, 1]),
    ],
)
def test_numbers_follow_the_order_of_ids(ids: list[object], expected: list[int]) -> None:
    items = pl.DataFrame({"item_id": ids[:2], "text": ["x", "y"]})
    log = assemble(Rows(interactions(ids, ids)), Rows(items), Rows(pl.DataFrame()))
    assert log.events["user"].to_list() == log.events["item"].to_list() == expected
    assert log.events["query"].to_list() == [-1, 0, 0, 0]
    assert log.items["text"].to_list()[expected[0]] == "x"
    assert Repair("items of events without features kept with empty text", 1) in log.repairs


def test_what_parts_refer_to_adds_up() -> None:
    rows = interactions([5, 3, 4, 3], [1, 2, 2, 9])
    joined = References.joined([References.of(rows[:1]), References.of(rows[1:3]), References.of(rows[3:])])
    whole = References.of(rows)
    for name in ("user_id", "item_id", "query"):
        assert sorted(getattr(joined, name)) == sorted(getattr(whole, name))
