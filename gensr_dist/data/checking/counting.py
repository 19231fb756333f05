"""Counts over the tables of a raw log as its source gives them (`SourceParts`), or over what could be read of them.

Dimensions: N values of a column, R runs of equal values.
"""

import numpy as np
import polars as pl

from gensr_dist.data.checking.report import (
    ActivityCounts,
    BehaviourCounts,
    FirstEvent,
    FirstItem,
    IdMatch,
    QueryCounts,
    TextCounts,
    TimeRange,
)
from gensr_dist.data.events import Behaviour
from gensr_dist.data.sources.assembling import drop_repeats
from gensr_dist.data.sources.raw_files import shown
from gensr_dist.data.sources.texts import count_none_words
from gensr_dist.data.sources.times import DAY_MS, clock

_TAG = r"(?i)</?(?:a|b|br|div|em|font|i|img|li|p|span|strong|table|td|tr|u|ul)(?:\s[^<>]*)?/?>"
_BROKEN = r"\x{FFFD}|Ã[\x{80}-\x{BF}]|â€"  # UTF-8 that was read as Latin-1 or Windows-1252, or lost
_EDGE = 100  # a hundredth of the events, at each end, may be outliers
_FAR, _FAR_DAYS = 3, 30  # an outlier is so many times the others' span away from them, and so many days
_NO_QUERY = QueryCounts(searches=0, distinct=0, empty=0, commonest="", commonest_searches=0, same_as_text=0)


def first_events(events: pl.DataFrame, count: int) -> tuple[FirstEvent, ...]:
    """The first events of each behaviour, `count` in all at most."""
    kinds = [events.filter(behaviour=int(behaviour)) for behaviour in Behaviour]
    present = sum(not kind.is_empty() for kind in kinds)
    return tuple(
        FirstEvent(
            user=shown(str(row["user_id"])),
            item=shown(str(row["item_id"])),
            behaviour=Behaviour(row["behaviour"]).name.lower(),
            time=clock(row["time"]),
            query=None if row["query"] is None else shown(row["query"]),
            positive=row["positive"],
        )
        for kind in kinds
        for row in kind.head(count // max(1, present)).iter_rows(named=True)
    )


def first_items(items: pl.DataFrame, count: int) -> tuple[FirstItem, ...]:
    """The first items listed."""
    rows = items.head(count).iter_rows(named=True)
    return tuple(FirstItem(item=shown(str(row["item_id"])), text=shown(row["text"])) for row in rows)


def count_behaviours(events: pl.DataFrame) -> tuple[BehaviourCounts, ...]:
    """A row for each behaviour, with or without events."""
    return tuple(
        BehaviourCounts(
            behaviour=behaviour.name.lower(),
            events=mine.height,
            positives=int(mine["positive"].sum()),
            users=mine["user_id"].n_unique(),
            items=mine["item_id"].n_unique(),
            first_ms=first,
            last_ms=last,
        )
        for behaviour in Behaviour
        for mine in (events.filter(behaviour=int(behaviour)),)
        for first, last in mine.select(first=pl.col("time").min(), last=pl.col("time").max()).rows()
    )


def count_queries(events: pl.DataFrame, items: pl.DataFrame) -> QueryCounts:
    """Count over search events; `items` may have no columns."""
    searches = events.filter(behaviour=int(Behaviour.SEARCH)).select("item_id", "query")
    if searches.is_empty():
        return _NO_QUERY
    asked = searches.filter(pl.col("query") != "")
    query, uses = _commonest(asked["query"])
    same = 0
    if items.width and not asked.is_empty():
        texts = items.unique("item_id", keep="first").with_columns(pl.col("text").str.to_lowercase())
        same = int(
            (asked.join(texts, on="item_id"))
            .select((pl.col("query").str.to_lowercase() == pl.col("text")).sum())
            .item()
        )
    return QueryCounts(
        searches=searches.height,
        distinct=asked["query"].n_unique(),
        empty=searches.height - asked.height,
        commonest=shown(query),
        commonest_searches=uses,
        same_as_text=same,
    )


def time_range(events: pl.DataFrame) -> TimeRange:
    """When the events happened, at least one."""
    time = events["time"]
    time_N = np.sort(time.to_numpy())
    day, day_events = _longest_run(time_N // DAY_MS)
    moment, moment_events = _longest_run(time_N)
    edge = len(time_N) // _EDGE
    low, high = int(time_N[edge]), int(time_N[len(time_N) - 1 - edge])
    first, last = int(time_N[0]), int(time_N[-1])
    reach = max(_FAR * (high - low), _FAR_DAYS * DAY_MS)
    outliers = np.searchsorted(time_N, low - reach) + len(time_N) - np.searchsorted(time_N, high + reach, side="right")
    return TimeRange(
        first_ms=first,
        last_ms=last,
        days=1 + int(np.count_nonzero(np.diff(time_N // DAY_MS))),
        busiest_day_ms=day * DAY_MS,
        busiest_day_events=day_events,
        commonest_ms=moment,
        commonest_events=moment_events,
        dates_only=bool((time_N % DAY_MS == first % DAY_MS).all()),
        outliers=int(outliers),
    )


def count_activity(events: pl.DataFrame) -> ActivityCounts:
    """How the events, at least one, spread over users and items."""
    users = events.group_by("user_id").agg(
        pl.len(), times=pl.col("time").n_unique(), behaviours=pl.col("behaviour").n_unique()
    )
    several = users.filter(pl.col("len") > 1)
    top_user, top_user_events = _commonest(events["user_id"])
    top_item, top_item_events = _commonest(events["item_id"])
    median = users["len"].median()
    assert isinstance(median, float)
    return ActivityCounts(
        users=users.height,
        items=events["item_id"].n_unique(),
        median_events=median,
        several_users=several.height,
        one_time_users=int((several["times"] == 1).sum()),
        both_users=int((users["behaviours"] == len(Behaviour)).sum()),
        top_user=shown(top_user),
        top_user_events=top_user_events,
        top_item=shown(top_item),
        top_item_events=top_item_events,
        repeats=events.height - drop_repeats(events).height,
    )


def match_ids(met: pl.Series, listed: pl.Series, what: str) -> IdMatch:
    """Look the ids of events up.

    Args:
        met: ids of the events, repeats allowed.
        listed: those of the other table, at least one.
        what: items or users.
    """
    met, listed = met.unique(), listed.unique()
    unknown = met.filter(~met.is_in(listed.implode()))
    alike = _loose(unknown).is_in(_loose(listed).implode()).sum() if len(unknown) else 0
    return IdMatch(
        what=what,
        met=len(met),
        listed=len(listed),
        matched=len(met) - len(unknown),
        alike=int(alike),
        event_example=shown(str(unknown.min())) if len(unknown) else "",
        listed_example=shown(str(listed.min())),
    )


def count_texts(items: pl.DataFrame, unlisted: frozenset[str]) -> TextCounts:
    """Count over the items listed; the first of repeated ids counts.

    Args:
        items: item_id, text.
        unlisted: as of SourceParts.
    """
    listed = items.filter(~pl.col("item_id").is_in(list(unlisted))) if unlisted else items
    texts = listed.unique("item_id", keep="first")["text"]
    filled = texts.filter(texts != "")
    text, uses = _commonest(filled)
    median = (filled.str.count_matches(" ", literal=True) + 1).median()
    return TextCounts(
        items=len(texts),
        empty=len(texts) - len(filled),
        median_words=float(median) if isinstance(median, float) else 0.0,
        commonest=shown(text),
        commonest_items=uses,
        none_words=count_none_words(filled, "texts").count,
        tags=_count_matches(filled, ["<"], _TAG),
        broken=_count_matches(filled, ["�", "Ã", "â€"], _BROKEN),
    )


def _commonest(values: pl.Series) -> tuple[str, int]:
    """The value that is there most often, the largest of several, and how often; an empty text of no value."""
    if values.is_empty():
        return "", 0
    name = values.name
    counts = values.to_frame().group_by(name).len()
    most = counts.filter(pl.col("len") == pl.col("len").max())
    return str(most[name].max()), most["len"][0]


def _longest_run(value_N: np.ndarray) -> tuple[int, int]:
    """The value that ascending values have most often, the first of several, and how often."""
    start_R = np.flatnonzero(np.diff(value_N, prepend=value_N[0] - 1))
    length_R = np.diff(start_R, append=len(value_N))
    longest = int(length_R.argmax())
    return int(value_N[start_R[longest]]), int(length_R[longest])


def _count_matches(texts: pl.Series, signs: list[str], pattern: str) -> int:
    """Texts that match; only those that hold one of the signs are looked at closely."""
    suspects = texts.filter(texts.str.contains_any(signs)) if len(texts) else texts
    return int(suspects.str.contains(pattern).sum())


def _loose(ids: pl.Series) -> pl.Series:
    """Ids without what programs change: Unicode normalisation, case, leading zeros, blanks, a final `.0`."""
    return (
        ids.cast(pl.String)
        .str.normalize("NFC")
        .str.strip_chars()
        .str.to_lowercase()
        .str.strip_suffix(".0")
        .str.strip_chars_start("0")
    )
