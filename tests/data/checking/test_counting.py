from collections.abc import Sequence

import polars as pl
import pytest

from gensr_dist.data.checking import counting

DAY = 86_400_000
START = 1_684_713_600_000

Row = tuple[str, str, int, int, str | None, bool]


def events_of(rows: Sequence[Row]) -> pl.DataFrame:
    names = ("user_id", "item_id", "behaviour", "time", "query", "positive")
    types = (pl.String, pl.String, pl.UInt8, pl.Int64, pl.String, pl.Boolean)
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


def at(*days: float) -> pl.DataFrame:
    return events_of([("u", "i", 0, START + int(day * DAY), None, True) for day in days])


def test_behaviours() -> None:
    events = events_of(
        [("a", "x", 0, START, None, True), ("a", "y", 0, START, None, False), ("b", "x", 1, 1, "", True)]
    )
    rows = [(c.behaviour, c.events, c.positives, c.users, c.items) for c in counting.count_behaviours(events)]
    assert rows == [("recommendation", 2, 1, 1, 2), ("search", 1, 1, 1, 1)]
    assert [(c.first_ms, c.last_ms) for c in counting.count_behaviours(events)] == [(START, START), (1, 1)]
    assert [c.first_ms for c in counting.count_behaviours(events.filter(behaviour=0))] == [START, None]


def test_queries() -> None:
    queries = ["red hat", "RED HAT", "", "red hat", "blue"]
    events = events_of([("a", f"i{n}", 1, START, query, True) for n, query in enumerate(queries)])
    items = pl.DataFrame({"item_id": ["i0", "i1", "i4"], "text": ["Red Hat", "hat", "blue"]})
    found = counting.count_queries(events, items)
    assert (found.searches, found.distinct, found.empty) == (5, 3, 1)
    assert (found.commonest, found.commonest_searches) == ("red hat", 2)
    assert found.same_as_text == 2
    assert counting.count_queries(events, pl.DataFrame()).same_as_text == 0
    assert counting.count_queries(events[:0], items).searches == 0


def test_times() -> None:
    found = counting.time_range(at(3.5, 0.25, 0.5, 0.5, 1.0))
    assert (found.first_ms, found.last_ms) == (START + DAY // 4, START + DAY * 7 // 2)
    assert (found.days, found.busiest_day_ms, found.busiest_day_events) == (3, START, 3)
    assert (found.commonest_ms, found.commonest_events) == (START + DAY // 2, 2)
    assert not found.dates_only


def test_dates_have_one_time_of_day() -> None:
    assert counting.time_range(at(0.3, 1.3, 5.3)).dates_only
    assert not counting.time_range(at(0.3, 1.3, 5.4)).dates_only


@pytest.mark.parametrize(("far", "count"), [(-4_000, 1), (900, 1), (101, 0), (-20, 0)])
def test_outliers(far: float, count: int) -> None:
    assert counting.time_range(at(*(n / 2 for n in range(200)), far)).outliers == count


def test_activity() -> None:
    rows: list[Row] = [("a", "x", 0, START, None, True)] * 3
    rows += [("b", "x", 0, START, None, True), ("b", "y", 1, START + 1, "q", True), ("c", "z", 0, START, None, True)]
    found = counting.count_activity(events_of(rows))
    assert (found.users, found.items, found.median_events) == (3, 3, 2.0)
    assert (found.several_users, found.one_time_users, found.both_users) == (2, 1, 1)
    assert (found.top_user, found.top_user_events) == ("a", 3)
    assert (found.top_item, found.top_item_events) == ("x", 4)
    assert found.repeats == 2


def test_ids_that_would_match_but_for_their_writing() -> None:
    met = pl.Series(["a1", "a1", "B2", "007", "9"])
    found = counting.match_ids(met, pl.Series(["a1", "b2", "7", "8"]), "items")
    assert (found.met, found.listed, found.matched, found.alike) == (4, 4, 1, 2)
    assert (found.event_example, found.listed_example) == ("007", "7")
    same = counting.match_ids(pl.Series([3, 4]), pl.Series([4, 3, 9]), "items")
    assert (same.matched, same.alike, same.event_example) == (2, 0, "")


def test_texts() -> None:
    texts = ["one", "one", "", "two words", "a <b>bold</b> text", "cafÃ© x", "a < b", "São Paulo"]
    items = pl.DataFrame({"item_id": [str(n) for n in range(len(texts))], "text": texts})
    repeated = pl.concat([items, items[:1]])
    found = counting.count_texts(repeated, frozenset())
    assert (found.items, found.empty, found.median_words) == (8, 1, 2.0)
    assert (found.commonest, found.commonest_items) == ("one", 2)
    assert (found.tags, found.broken) == (1, 1)
    assert found.none_words == 0
    assert counting.count_texts(items, frozenset("2")).empty == 0
    assert counting.count_texts(items.with_columns(text=pl.lit("nan")), frozenset()).none_words == 8


def test_first_rows_are_of_both_behaviours() -> None:
    rows: list[Row] = [("a", "x", 0, START, None, True)] * 5 + [("b", "y", 1, START + 1_000, "red\nhat", False)]
    first = counting.first_events(events_of(rows), 4)
    assert [(event.user, event.behaviour) for event in first] == [("a", "recommendation")] * 2 + [("b", "search")]
    assert (first[2].time, first[2].query, first[2].positive) == ("2023-05-22 00:00:01", "red hat", False)
    assert len(counting.first_events(events_of(rows[:5]), 4)) == 4
