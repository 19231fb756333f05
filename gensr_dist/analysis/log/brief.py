"""What of a log matters most, in three lines, and what in it will spoil results.

Dimensions: I items, R rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.analysis.log.counts import LogCounts, TaskCounts, count_log
from gensr_dist.analysis.log.queries import QueryProbe
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.manifest import Manifest
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.spaced import thinned
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.storage.folder import Folder

_EVENTS = 50_000  # of the sampled shards together, but one shard at least
_ROWS = 200  # searches whose words are looked at
_HEAD = 0.01  # of the items, the most popular

# Shares from which results say something else than they seem to.
_TIED = 0.3
_MET = 0.3
_COLD = 0.5
_EMPTY = 0.5
_NAMED = 0.2
_FIT, _NEGATIVES_FIT = 0.9, 0.1


@dataclass(frozen=True, kw_only=True)
class LogBrief:
    """Lines for people."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of_shards(cls, shards: Folder) -> Self:
        """From a sample of shards, evenly spread: what `gensr prepare` says at the end.

        Raises:
            InputError: they cannot be read.
        """
        manifest = Manifest.read(shards)
        share = min(1.0, _EVENTS / manifest.events)
        count = max(1, int(share * len(manifest.shards)))
        chosen = tuple(manifest.shards[place] for place in thinned(len(manifest.shards), count))
        store = TimelineStore(shards, replace(manifest, shards=chosen), (), shuffle_shards=1)
        items = ItemStore.open(shards)
        counts = count_log(store.windows(), items.popularity_I)
        queries = QueryProbe.of(some_searches(store, _ROWS), items) if counts.tasks[Behaviour.SEARCH].test else None
        sampled = len(chosen) < len(manifest.shards)
        return cls.of(counts, queries, items.popularity_I, sampled=sampled)

    @classmethod
    def of(
        cls, counts: LogCounts, queries: QueryProbe | None, popularity_I: NDArray[np.integer], *, sampled: bool = False
    ) -> Self:
        """Say it.

        Args:
            counts: of the log or of a sample.
            queries: of some of its test rows, where some have a query.
            popularity_I: positive training events of each item in the whole log.
            sampled: whether the counts are of a sample.
        """
        low, middle, high = np.quantile(counts.lengths, [0.1, 0.5, 0.9]).tolist() if counts.users else (0, 0, 0)
        of = f"80% of {counts.users:,} {'sampled ' if sampled else ''}users have"
        tests = (
            f"{TASK_NAMES[task]}: item cold {_share(found.cold, found.test)}, in its own history "
            f"{_share(found.met, found.test)}, tied in time {_share(found.tied, found.test)}"
            for task, found in counts.tasks.items()
            if found.test
        )
        asked = (
            f"; queries name their item in {queries.names:.0%} of searches, fit it alone among its candidates in "
            f"{queries.alone:.0%}"
            if queries
            else ""
        )
        lines = (
            f"log: {of} {low:.0f} to {high:.0f} interactions ({middle:.0f} in the middle), "
            f"{_share(counts.repeats, counts.interactions)} with an item met before; {head_share(popularity_I):.0%} of "
            f"training choices are of the most popular {_HEAD:.0%} of items",
            f"test rows, {'; '.join(tests) or 'none in the sample'}",
            f"both tasks: {_share(counts.both_users, counts.users)} of users have both, "
            f"{_share(counts.twins, counts.interactions)} of interactions are an event of each{asked}",
        )
        return cls(lines=lines, warnings=tuple(_warnings(counts, queries)))

    def text(self) -> tuple[str, ...]:
        """Lines, then warnings."""
        return (*self.lines, *(f"warning: {warning}" for warning in self.warnings))


def head_share(popularity_I: NDArray[np.integer], share: float = _HEAD) -> float:
    """Share of training choices that are of this share of the items, the most popular (one item at least)."""
    count = max(1, round(share * len(popularity_I)))
    head = np.partition(popularity_I, len(popularity_I) - count)[len(popularity_I) - count :]
    return float(head.sum(dtype=np.int64) / max(1, int(popularity_I.sum(dtype=np.int64))))


def some_searches(store: TimelineStore, most: int) -> EvalRows:
    """Test rows of searches, evenly thinned out; windows are read one by one."""
    rows = store.eval_rows(Split.TEST, Behaviour.SEARCH)
    return rows.take(thinned(len(rows), most))


def _warnings(counts: LogCounts, queries: QueryProbe | None) -> Iterator[str]:
    for task, other in ((Behaviour.SEARCH, "recommendation"), (Behaviour.RECOMMENDATION, "search")):
        if not counts.tasks[task].positives:
            yield (
                f"no positive event is of {TASK_NAMES[task]}: nothing is learnt or measured of it; add its events, or "
                f"expect {other} alone"
            )
    for task, found in counts.tasks.items():
        yield from _of_task(TASK_NAMES[task], found)
    if queries and queries.names >= _NAMED:
        yield (
            f"{queries.names:.0%} of queries hold all words of the text of the item that they found: they give it "
            "away; use what users typed"
        )
    if queries and queries.fits >= _FIT and queries.negatives_fit <= _NEGATIVES_FIT:
        yield (
            f"{queries.fits:.0%} of searched items have all words of their query, {queries.negatives_fit:.1%} of their "
            "negatives do: matching words answers search among sampled negatives; judge it over the whole catalogue, "
            "and beside bm25 and counting"
        )


def _of_task(name: str, found: TaskCounts) -> Iterator[str]:
    if not found.test:
        return
    if found.tied >= _TIED * found.test:
        yield (
            f"{_share(found.tied, found.test)} of test rows of {name} lie at a moment at which the user chose other "
            "items too, which are no history of them; export finer times"
        )
    if found.met >= _MET * found.test:
        yield (
            f"{_share(found.met, found.test)} of test items of {name} stand in their own history, where no sampled "
            "negative does: repeating the history wins; leave repeats out of the log"
        )
    if found.cold >= _COLD * found.test:
        yield (
            f"{_share(found.cold, found.test)} of test items of {name} have no training event: CF vectors say nothing "
            "of them; train on a longer time, or take another data.split"
        )
    if found.empty >= _EMPTY * found.test:
        yield (
            f"{_share(found.empty, found.test)} of test rows of {name} have no history: nothing is personal there; "
            "check user ids, or export a longer time"
        )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
