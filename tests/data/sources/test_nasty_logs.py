"""Every source, given a valid log that one accident has happened to: the same log, one line of error, or counts.

NASTY_LOGS sets how many random logs are tried.
"""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Behaviour, EventLog, Repair
from gensr_dist.data.sources import read_source
from gensr_dist.errors import InputError

from . import nasty_files, nasty_values
from .nasty_logs import FORMS, Log, valid_log
from .nasty_values import Accident

ACCIDENTS: dict[str, dict[str, Accident]] = {
    "csv": nasty_values.ANY | nasty_files.TEXTS | nasty_files.WRITTEN | nasty_files.CSV,
    "json": nasty_values.ANY | nasty_values.JSON | nasty_files.TEXTS | nasty_files.WRITTEN | nasty_files.JSON,
    "parquet": nasty_values.ANY | nasty_values.PARQUET | nasty_files.TEXTS | nasty_files.PARQUET,
}


def read(log: Log) -> EventLog:
    with tempfile.TemporaryDirectory() as folder:
        return read_source(DataConfig(source=log.source), log.write(Path(folder)))


def events_of(log: EventLog, *, rows_only: bool) -> Counter[tuple[object, ...]]:
    """Events with ids and queries as text; without the searches that a source makes itself, if `rows_only`."""
    users, items, queries = log.users["user_id"], log.items["item_id"], log.queries["text"]
    return Counter(
        (users[user], items[item], behaviour, time, queries[query] if query >= 0 else None, positive)
        for user, item, behaviour, time, query, positive in log.events.rows()
        if not rows_only or behaviour == Behaviour.RECOMMENDATION
    )


def outcome(log: Log, spoiled: Log) -> str:
    """`same`, `refused` or `counted`; fails where the spoiled log gives something else without a word."""
    before = read(log)
    try:
        after = read(spoiled)
    except InputError as error:
        message = str(error)
    else:
        return compare(before, after, rows_only=log.source == "amazon")
    assert len(message.splitlines()) == 1
    assert re.search(r"^(data\.raw|/\S+( row \d+)?): .+; .+$", message), message
    return "refused"


def compare(before: EventLog, after: EventLog, *, rows_only: bool = False) -> str:
    """`same` or `counted`."""
    drops = sum(repair.count for repair in after.repairs if repair.drops)
    assert after.read == after.events.height + drops, "rows read are neither events nor counted as dropped"
    tables = [(dict(log.items.rows()), set(log.users["user_id"])) for log in (before, after)]
    if tables[0] == tables[1] and events_of(before, rows_only=False) == events_of(after, rows_only=False):
        return "same"
    old, new = (events_of(log, rows_only=rows_only) for log in (before, after))
    missing, extra = old - new, new - old
    values = [{value for row in rows for value in enumerate(row)} for rows in (old, new)]
    (old_texts, old_users), (new_texts, new_users) = tables
    changes = max(
        len(values[1] - values[0]),
        len(old_texts.items() - new_texts.items()),
        len(new_texts.keys() - old_texts.keys()),
        len(old_users ^ new_users) // 2,
        1,
    )
    lost = missing.total() - extra.total()
    grown = Counter({r.what: r.count for r in after.repairs}) - Counter({r.what: r.count for r in before.repairs})
    assert grown.total() >= max(lost, changes), f"{lost} events lost and {changes} values changed, told {dict(grown)}"
    return "counted"


def spoil(form: str, name: str, seed: int) -> tuple[Log, Log | None]:
    """A valid log, and the same after the accident; None where that cannot happen to it."""
    rng = Random(seed)
    log = valid_log(form, rng)
    places = list(range(len(log.tables)))
    rng.shuffle(places)
    for place in places:
        table = log.tables[place]
        if spoiled := ACCIDENTS[table.kind][name](rng, table):
            return log, log.with_table(spoiled, place)
    return log, None


COMBINATIONS = [
    (form, name)
    for form in FORMS
    for name in ACCIDENTS[valid_log(form, Random(0)).tables[0].kind]
    if spoil(form, name, 0)[1] is not None
]


@pytest.mark.parametrize(("form", "name"), COMBINATIONS)
def test_every_accident_in_every_source(form: str, name: str) -> None:
    log, spoiled = spoil(form, name, 0)
    assert spoiled is not None
    outcome(log, spoiled)


@settings(max_examples=int(os.environ.get("NASTY_LOGS", "100")))
@given(combination=st.sampled_from(COMBINATIONS), seed=st.integers(0, 1 << 32))
@example(combination=("kuaisar", "odd bytes"), seed=7619510)  # a form feed within a category
@example(combination=("tables csv", "two odd quotes"), seed=33554)  # the first within a column's name
def test_no_accident_passes_without_a_word(combination: tuple[str, str], seed: int) -> None:
    form, name = combination
    log, spoiled = spoil(form, name, seed)
    event(outcome(log, spoiled) if spoiled is not None else "cannot happen to this log")


@pytest.mark.parametrize("form", FORMS)
def test_valid_logs_are_read_whole(form: str) -> None:
    for seed in range(20):
        log = valid_log(form, Random(seed))
        assert outcome(log, log) == "same"
        events = [table for table in log.tables if table.time]
        rows = sum(len(table.rows) for table in events)
        assert events_of(read(log), rows_only=log.source == "amazon").total() == rows


@pytest.mark.parametrize(
    "change",
    [
        lambda log: replace(log, events=log.events[1:]),
        lambda log: replace(log, events=log.events[1:], read=log.read - 1),
        lambda log: replace(log, events=log.events.with_columns(pl.col("time") + 1)),
        lambda log: replace(log, events=log.events.with_columns(positive=~pl.col("positive"))),
        lambda log: replace(log, users=log.users.with_columns(pl.col("user_id") + ".0")),
        lambda log: replace(log, users=pl.concat([log.users, pl.DataFrame({"user_id": ["nan"]})])),
        lambda log: replace(log, items=log.items.with_columns(pl.col("text") + "&amp;")),
        lambda log: replace(log, queries=log.queries.with_columns(pl.col("text") + " x")),
    ],
)
def test_silent_changes_are_noticed(change: Callable[[EventLog], EventLog]) -> None:
    log = read(valid_log("tables csv", Random(3)))
    assert compare(log, log) == "same"
    with pytest.raises(AssertionError):
        compare(log, change(log))


def test_a_counted_drop_is_accepted() -> None:
    log = read(valid_log("tables csv", Random(3)))
    told = (*log.repairs, Repair("rows dropped", 1, drops=True))
    assert compare(log, replace(log, events=log.events[1:], repairs=told)) == "counted"
