"""The report of a raw log as one page for people."""

import textwrap
from collections.abc import Iterator, Sequence

from gensr_dist.data.checking.report import FileReport, LogReport
from gensr_dist.data.sources.times import DAY_MS, clock
from gensr_dist.errors import printable

WIDTH = 110  # characters of a line
_INDENT = 10  # of what stands next to a heading
_MOST_REPAIRS, _MOST_SUSPICIONS = 8, 6
_MOST_NAMES = 6


def page(report: LogReport) -> tuple[str, ...]:
    """All lines but the error of a log that `prepare` refuses, which the command ends with."""
    how = "a sample of it read; --full reads all" if report.sampled else "all of it read"
    how = "read up to what is wrong" if report.partial else how
    title = f"{report.source} log in {report.raw} ({how}, {report.seconds:.1f} s)"
    lines = textwrap.wrap(printable(title), WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    for file in report.files:
        lines += _file(file)
    for block in (_first(report), _counts(report), _changes(report), _suspicions(report)):
        lines += block
    return tuple(lines)


def _file(file: FileReport) -> Iterator[str]:
    size = f"{file.bytes / 1e6:,.1f} MB" if file.bytes >= 100_000 else f"{file.bytes:,} bytes"
    rows = "" if file.rows is None else f", {file.rows:,} rows {'sampled' if file.sampled else 'understood'}"
    yield from _text(file.table, f"{file.file}: {size}{rows}")
    roles: dict[str, list[str]] = {}
    for use in file.used:
        roles.setdefault(use.role, []).append(use.name)
    taken = [", ".join(names) + ("" if names == [role] else f" -> {role}") for role, names in roles.items()]
    lacking = [use for use in file.absent if file.used and (use.required or use.role not in roles)]
    absent = [f"{use.name}{' (required)' if use.required else ''}" for use in lacking]
    more = [f"not there: {', '.join(absent)}"] if absent else []
    more += [f"not read: {_few(file.unused)}"] if file.unused else []
    yield from _text("", *(["; ".join(taken + more)] if taken + more else []))
    for row in file.as_written:
        yield from _line("", f"as written: {' | '.join(row)}")


def _first(report: LogReport) -> list[str]:
    lines = []
    for event in report.first_events:
        query = "" if event.query is None else f" {event.query!r}"
        taken = "positive" if event.positive else "not positive"
        lines.append(f"{event.time}  user {event.user}  item {event.item}  {taken} {event.behaviour}{query}")
    lines += [f"item {item.item}: {item.text!r}" for item in report.first_items]
    return [shown for n, line in enumerate(lines) for shown in _line("first" if n == 0 else "", line)]


def _counts(report: LogReport) -> Iterator[str]:
    if report.times is not None:
        times = report.times
        span = (times.last_ms - times.first_ms) / DAY_MS
        dates = ", all at one time of day" if times.dates_only else ""
        first, last = clock(times.first_ms), clock(times.last_ms)
        days = f"{first} to {last} UTC: {span:,.1f} days, {times.days:,} dates with events{dates}"
        yield from _text("times", days)
    if report.behaviours:
        rows = [("", "events", "positive", "users", "items")]
        rows += [
            (
                counts.behaviour,
                f"{counts.events:,}",
                _percent(counts.positives, counts.events),
                f"{counts.users:,}",
                f"{counts.items:,}",
            )
            for counts in report.behaviours
        ]
        for n, (name, *cells) in enumerate(rows):
            yield from _line("counts" if n == 0 else "", f"{name:<15}" + "".join(f"{cell:>12}" for cell in cells))
    if report.activity is not None:
        activity = report.activity
        yield from _text(
            "",
            f"{activity.users:,} users ({activity.both_users:,} with both), {activity.items:,} items; half of the "
            f"users have {activity.median_events:,.0f} events or more; {activity.repeats:,} repeated events",
        )
    if report.queries is not None and report.queries.searches:
        queries = report.queries
        text = f"{queries.distinct:,} distinct; {_percent(queries.empty, queries.searches)} of search events have none"
        if queries.commonest_searches:
            text += f"; most often {queries.commonest[:40]!r}, {queries.commonest_searches:,} times"
        yield from _text("queries", text)
    for n, match in enumerate(report.matches):
        text = f"{match.matched:,} of {match.met:,} {match.what} of events ({_percent(match.matched, match.met)})"
        yield from _text("ids" if n == 0 else "", f"{text} are among the {match.listed:,} {match.what} listed")
    if report.texts is not None:
        texts = report.texts
        same = f"; the commonest text is that of {texts.commonest_items:,}" if texts.commonest_items > 1 else ""
        empty = f"{texts.items:,} items, {_percent(texts.empty, texts.items)} without text"
        yield from _text("texts", f"{empty}; half have {texts.median_words:,.0f} words or more{same}")


def _changes(report: LogReport) -> Iterator[str]:
    """What is dropped and fixed, lost events first, and what is left."""
    repairs = sorted(report.repairs, key=lambda repair: not repair.drops)
    shown = [f"{repair.count:,} {repair.what}" for repair in repairs if repair.count]
    if len(shown) > _MOST_REPAIRS:
        shown[_MOST_REPAIRS - 1 :] = [f"and {len(shown) - _MOST_REPAIRS + 1} kinds more, see --json"]
    yield from _text("changes", *shown)
    outcome = report.outcome
    if outcome is None:
        return
    yield from _text(
        "kept",
        f"{outcome.events:,} of {outcome.events_before:,} events, {outcome.users:,} of {outcome.users_before:,} "
        f"users, {outcome.items:,} of {outcome.items_before:,} items",
    )
    tasks = [f"{counts.task} {counts.train:,} / {counts.valid:,} / {counts.test:,}" for counts in outcome.positives]
    if tasks:
        yield from _text("", f"positive events to train / validate / test: {'; '.join(tasks)}")


def _suspicions(report: LogReport) -> Iterator[str]:
    found = [f"{suspicion.what}; {suspicion.remedy}" for suspicion in report.suspicions]
    if len(found) > _MOST_SUSPICIONS:
        found[_MOST_SUSPICIONS - 1 :] = [f"and {len(found) - _MOST_SUSPICIONS + 1} more, see --json"]
    if not found and report.refusal is None:
        found = ["nothing"]
    yield from _text("wrong?", *found)


def _text(heading: str, *texts: str) -> Iterator[str]:
    """Texts next to a heading, each wrapped."""
    for number, text in enumerate(texts):
        first = f"{heading if number == 0 else '':<{_INDENT}}"
        yield from textwrap.wrap(
            printable(text),
            WIDTH,
            initial_indent=first,
            subsequent_indent=" " * (_INDENT + 2),
            break_on_hyphens=False,
        )


def _line(heading: str, text: str) -> Iterator[str]:
    """A text next to a heading, cut where the line ends."""
    line = f"{heading:<{_INDENT}}{printable(text)}"
    yield line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"
