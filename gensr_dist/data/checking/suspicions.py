"""What is allowed in a raw log, and spoils a run. Each rule says how much of it there is and what to do about it.

The thresholds are where a reader would stop and look, not where a run breaks. Of a sample only those rules count that
do not need all events of a user.
"""

from collections.abc import Callable, Iterator

from gensr_dist.data.checking.report import BehaviourCounts, LogReport, Suspicion
from gensr_dist.data.config import DataConfig
from gensr_dist.data.sources.times import clock

_UNMATCHED = 0.01  # of the items of events
_EMPTY_TEXTS = 0.1  # of the items listed
_SAME_TEXT = 0.05
_DIRTY_TEXTS = 0.01
_EMPTY_QUERIES = 0.05  # of the searches
_ONE_QUERY = 0.3
_QUERY_IS_TEXT = 0.2
_FEW_POSITIVES = 0.001  # of the events of a behaviour
_ONE_DAY = 0.5  # of the events
_ONE_MOMENT = 0.05
_ONE_USER = 0.1
_ONE_ITEM = 0.2
_REPEATS = 0.05
_TIED_USERS = 0.5  # of the users with several events
_FALLEN_AWAY = 0.5  # of the events
_FEW_TESTS = 100  # events of a task: the 95 % interval of NDCG@10 is then about .1 wide
_FEW_USERS = 20  # with fewer, one user's share says nothing

Found = Iterator[Suspicion]


def find_suspicions(report: LogReport, config: DataConfig) -> tuple[Suspicion, ...]:
    """Everything that looks wrong, the most damaging kinds first; the report's own `suspicions` are not looked at."""
    rules = (_of_texts,) if report.partial else _RULES  # shares of what comes before a fault say nothing
    found = [suspicion for rule in rules for suspicion in rule(report)]
    return (*found, *_of_outcome(report, config))


def _of_behaviours(report: LogReport) -> Found:
    both = {counts.behaviour: counts for counts in report.behaviours}
    if not sum(counts.events for counts in report.behaviours):
        return
    for name, other in (("search", "recommendation"), ("recommendation", "search")):
        if not both[name].events:
            yield Suspicion(
                what=f"no event is a {name}: that task cannot be learnt or measured",
                remedy=f"add the {name} events, or set data.both_behaviours to false and expect {other} alone",
            )
    for counts in report.behaviours:
        yield from _of_positives(counts)
    yield from _of_periods(both["recommendation"], both["search"])
    activity = report.activity
    if activity and all(counts.events for counts in report.behaviours) and not activity.both_users:
        searchers, others = both["search"].users, both["recommendation"].users
        yield Suspicion(
            what=f"none of {searchers:,} users who searched is among the {others:,} who were recommended to",
            remedy="check that user ids are the same ids in both",
        )


def _of_periods(recommended: BehaviourCounts, searched: BehaviourCounts) -> Found:
    times = (recommended.first_ms, recommended.last_ms, searched.first_ms, searched.last_ms)
    first, last, first_search, last_search = times
    if first is None or last is None or first_search is None or last_search is None:
        return
    if last < first_search or last_search < first:
        since, until, searches_since, searches_until = (clock(time)[:10] for time in times if time is not None)
        yield Suspicion(
            what=f"all searches ({searches_since} to {searches_until}) lie "
            f"{'after' if last < first_search else 'before'} all recommendations ({since} to {until})",
            remedy="check that the times of both are of one clock and one period",
        )


def _of_positives(counts: BehaviourCounts) -> Found:
    if counts.events and counts.positives < _FEW_POSITIVES * counts.events:
        yield Suspicion(
            what=f"{counts.positives:,} of {counts.events:,} {counts.behaviour} events are positive",
            remedy="check the column of clicks: only positive events train and test",
        )


def _of_matches(report: LogReport) -> Found:
    for match in report.matches:
        unmatched = match.met - match.matched
        if match.what == "users" or unmatched <= _UNMATCHED * match.met:
            continue
        same = f"; {match.alike:,} would match but for case, leading zeros or blanks" if match.alike else ""
        yield Suspicion(
            what=f"{_share(unmatched, match.met)} {match.what} of events are not listed, as {match.event_example!r} "
            f"(listed: {match.listed_example!r}){same}",
            remedy="write ids in one way and list these items: they have no text now",
        )


def _of_texts(report: LogReport) -> Found:
    texts = report.texts
    if texts is None:
        return
    filled = texts.items - texts.empty
    if texts.empty > _EMPTY_TEXTS * texts.items:
        yield Suspicion(
            what=f"{_share(texts.empty, texts.items)} items have no text",
            remedy="fill the texts: the model knows an item by its text",
        )
    if texts.commonest_items > max(1, _SAME_TEXT * texts.items):
        yield Suspicion(
            what=f"{_share(texts.commonest_items, texts.items)} items have the same text, {texts.commonest[:40]!r}",
            remedy="leave placeholders empty, and add what tells items apart",
        )
    elif texts.none_words > _DIRTY_TEXTS * texts.items:
        yield Suspicion(
            what=f"{_share(texts.none_words, texts.items)} items have a word for no value as text, as NULL or nan",
            remedy="leave these texts empty",
        )
    for count, what, remedy in (
        (texts.tags, "hold HTML tags", "strip the tags: they take the place of words"),
        (texts.broken, "hold characters of a wrong encoding, as Ã© or �", "export the texts as UTF-8 again"),
    ):
        if count > _DIRTY_TEXTS * filled:
            yield Suspicion(what=f"{_share(count, filled)} texts {what}", remedy=remedy)


def _of_queries(report: LogReport) -> Found:
    queries = report.queries
    if queries is None or not queries.searches:
        return
    searches = queries.searches
    if queries.empty > _EMPTY_QUERIES * searches:
        yield Suspicion(
            what=f"{_share(queries.empty, searches)} search events have no query",
            remedy="fill the queries, or leave these events out",
        )
    if queries.commonest_searches > _ONE_QUERY * searches and searches >= _FEW_TESTS:
        yield Suspicion(
            what=f"{_share(queries.commonest_searches, searches)} search events have the query "
            f"{queries.commonest[:40]!r}",
            remedy="check that it was typed, and is no default of the search page",
        )
    if queries.same_as_text > _QUERY_IS_TEXT * searches:
        yield Suspicion(
            what=f"{_share(queries.same_as_text, searches)} search events have their item's text as query",
            remedy="use what users typed: these queries give the answer away",
        )


def _of_times(report: LogReport) -> Found:
    times, events = report.times, _events(report)
    if times is None:
        return
    if times.days > 1 and times.busiest_day_events > _ONE_DAY * events:
        yield Suspicion(
            what=f"{_share(times.busiest_day_events, events)} events lie on {clock(times.busiest_day_ms)[:10]}",
            remedy="check that the times are those of the events, not of an import",
        )
    elif not times.dates_only and times.commonest_events > max(10, _ONE_MOMENT * events):
        yield Suspicion(
            what=f"{_share(times.commonest_events, events)} events have one time, {clock(times.commonest_ms)}",
            remedy="check that it is no default: events of one time are not history of each other",
        )
    if times.outliers:
        yield Suspicion(
            what=f"{_share(times.outliers, events)} events lie far from all others "
            f"(first {clock(times.first_ms)[:10]}, last {clock(times.last_ms)[:10]})",
            remedy="correct or remove them: splits by time cut where events lie",
        )


def _of_activity(report: LogReport) -> Found:
    activity, events = report.activity, _events(report)
    if activity is None:
        return
    if activity.users >= _FEW_USERS and activity.top_user_events > _ONE_USER * events:
        yield Suspicion(
            what=f"{_share(activity.top_user_events, events)} events are of one user, {activity.top_user!r}",
            remedy="leave out robots, and users that stand for all who were not logged in",
        )
    if activity.items >= _FEW_USERS and activity.top_item_events > _ONE_ITEM * events:
        yield Suspicion(
            what=f"{_share(activity.top_item_events, events)} events are of one item, {activity.top_item!r}",
            remedy="check that it is a real item, and no default id",
        )
    if activity.repeats > _REPEATS * events:
        yield Suspicion(
            what=f"{_share(activity.repeats, events)} events are equal to an earlier one",
            remedy="check the export for repeated files or joins; repeats are dropped",
        )
    if report.sampled:
        return
    if activity.median_events < 2:
        yield Suspicion(
            what=f"half of the {activity.users:,} users or more have one event",
            remedy="check that user ids are not those of sessions or events",
        )
    if activity.one_time_users > _TIED_USERS * max(1, activity.several_users):
        yield Suspicion(
            what=f"{_share(activity.one_time_users, activity.several_users)} users with several events have one time "
            "for all",
            remedy="bring times of the events themselves: these users have no history",
        )


def _of_outcome(report: LogReport, config: DataConfig) -> Found:
    outcome = report.outcome
    if outcome is None:
        return
    dropped = outcome.events_before - outcome.events
    if dropped > _FALLEN_AWAY * outcome.events_before:
        both = " and data.both_behaviours" if config.both_behaviours else ""
        yield Suspicion(
            what=f"{_share(dropped, outcome.events_before)} events fall away with their user or item",
            remedy=f"lower data.min_interactions ({config.min_interactions}){both}, or bring a longer log",
        )
    there = {counts.behaviour for counts in report.behaviours if counts.events}
    few = [counts for counts in outcome.positives if counts.test < _FEW_TESTS and counts.task in there]
    if few:
        tests = " and ".join(f"{counts.test:,} {counts.task}" for counts in few)
        raised = "raise data.test_share" if config.split == "time" else "choose another data.split"
        yield Suspicion(
            what=f"split {config.split!r} leaves {tests} events to test: results will be noise",
            remedy=f"{raised}, or bring a longer log",
        )


_RULES: tuple[Callable[[LogReport], Found], ...] = (
    _of_behaviours,
    _of_matches,
    _of_texts,
    _of_queries,
    _of_times,
    _of_activity,
)


def _events(report: LogReport) -> int:
    return sum(counts.events for counts in report.behaviours)


def _share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} ({100 * count / max(1, total):.1f} %)"
