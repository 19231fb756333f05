"""What `gensr check` finds in a raw log. Plain values: the report is printed as a page or as JSON."""

from dataclasses import dataclass, field

from gensr_dist.data.events import Repair
from gensr_dist.data.sources.listing import Table, Use
from gensr_dist.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """One file and what is taken from it."""

    file: str  # without its folder
    table: Table
    bytes: int
    rows: int | None  # that were read and understood; None where the file was not reached
    sampled: bool  # not all of it was read
    used: tuple[Use, ...]  # columns that are there
    absent: tuple[Use, ...]  # columns that the source would read
    unused: tuple[str, ...]  # other columns
    as_written: tuple[tuple[str, ...], ...]  # first rows, fields of `used`; filled where no row was understood


@dataclass(frozen=True, kw_only=True)
class FirstEvent:
    """An event as it is understood."""

    user: str
    item: str
    behaviour: str  # recommendation or search
    time: str  # UTC, YYYY-MM-DD HH:MM:SS
    query: str | None
    positive: bool


@dataclass(frozen=True, kw_only=True)
class FirstItem:
    """An item as it is understood."""

    item: str
    text: str


@dataclass(frozen=True, kw_only=True)
class BehaviourCounts:
    """Events of one behaviour."""

    behaviour: str  # recommendation or search
    events: int
    positives: int
    users: int
    items: int
    first_ms: int | None  # earliest time; None without events
    last_ms: int | None


@dataclass(frozen=True, kw_only=True)
class QueryCounts:
    """Queries of the search events."""

    searches: int  # events
    distinct: int
    empty: int  # events
    commonest: str
    commonest_searches: int
    same_as_text: int  # events whose query is the whole text of their item, case aside


@dataclass(frozen=True, kw_only=True)
class TimeRange:
    """When events happened; milliseconds since 1970, days in UTC."""

    first_ms: int
    last_ms: int
    days: int  # with events
    busiest_day_ms: int
    busiest_day_events: int
    commonest_ms: int
    commonest_events: int
    dates_only: bool  # all times have one time of day
    outliers: int  # events that lie many times further out than all but a hundredth at each end


@dataclass(frozen=True, kw_only=True)
class ActivityCounts:
    """How events spread over users and items."""

    users: int
    items: int
    median_events: float  # of a user
    one_time_users: int  # with several events, all at one time
    several_users: int  # with several events
    both_users: int  # with both behaviours
    top_user: str
    top_user_events: int
    top_item: str
    top_item_events: int
    repeats: int  # events equal to an earlier one


@dataclass(frozen=True, kw_only=True)
class IdMatch:
    """Ids of events looked up in the table that lists them."""

    what: str  # items or users
    met: int  # distinct ids of events
    listed: int  # distinct ids of the table
    matched: int
    alike: int  # unmatched ids that match if case, leading zeros and blanks are ignored
    event_example: str  # an unmatched one; empty where all match
    listed_example: str


@dataclass(frozen=True, kw_only=True)
class TextCounts:
    """Texts of the items listed."""

    items: int
    empty: int
    median_words: float  # of texts that are not empty
    commonest: str
    commonest_items: int  # 1 where all differ
    none_words: int  # texts that are no more than a word for no value, as NULL
    tags: int  # texts with HTML tags
    broken: int  # texts with characters of a wrong encoding


@dataclass(frozen=True, kw_only=True)
class PositiveCounts:
    """Positive events of one task by split."""

    task: str
    train: int
    valid: int
    test: int


@dataclass(frozen=True, kw_only=True)
class LogOutcome:
    """What `prepare` would keep of a log that was read whole."""

    users: int
    users_before: int
    items: int
    items_before: int
    events: int
    events_before: int
    positives: tuple[PositiveCounts, ...]  # empty where no split is possible


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """Something that is allowed and will spoil a run, one sentence each."""

    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class LogReport:
    """All of it. What could not be reached is None or empty."""

    source: str
    raw: str
    sampled: bool  # a large file was not read whole
    partial: bool  # a file was read only up to a fault, or not at all
    seconds: float
    files: tuple[FileReport, ...]
    first_events: tuple[FirstEvent, ...] = ()
    first_items: tuple[FirstItem, ...] = ()
    behaviours: tuple[BehaviourCounts, ...] = ()
    queries: QueryCounts | None = None
    times: TimeRange | None = None
    activity: ActivityCounts | None = None
    matches: tuple[IdMatch, ...] = ()
    texts: TextCounts | None = None
    repairs: tuple[Repair, ...] = ()
    outcome: LogOutcome | None = None
    suspicions: tuple[Suspicion, ...] = ()
    refusal: InputError | None = field(default=None)  # why `prepare` refuses the log
