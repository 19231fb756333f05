"""The timelines of a shard folder, a window of consecutive shards at a time.

Users, events, training rows and history entries are numbered in shard order over the whole log ("global"), and within a
window from its first ("local"). A log of up to `shuffle_shards` shards is one window.

Dimensions: N events, V users, R rows, C candidates, G groups, L history, P places in an argument's rows.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.events import Behaviour
from gensr_dist.data.negatives.exposures import Exposures
from gensr_dist.data.negatives.sampling import SeenPairs
from gensr_dist.data.shards.manifest import Manifest, ShardRecord
from gensr_dist.data.shards.verify import read_checked, shard_faults
from gensr_dist.data.timelines.histories import Histories, taken
from gensr_dist.data.timelines.moments import Moments
from gensr_dist.data.timelines.rows import EvalRows, training_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import COLUMNS, Timelines
from gensr_dist.errors import InputError
from gensr_dist.storage.checked_files import REMEDY
from gensr_dist.storage.folder import Folder

LOG = logging.getLogger("gensr_dist.data")
_DECODED = 2  # windows in memory: one in use and the one before or after it

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class LostShard:
    """A shard that is left out because it is damaged or missing. Its users exist without events."""

    name: str
    problem: str
    users: int
    events: int
    training_rows: int

    def __str__(self) -> str:
        return (
            f"{self.name} is left out: {self.problem}; lost are {self.events:,} events of {self.users:,} users, "
            f"{self.training_rows:,} training rows among them"
        )


@dataclass(frozen=True)
class Window:
    """Consecutive shards, decoded."""

    first_user: int  # global numbers of the window's first ones
    first_event: int
    first_row: int
    first_interaction: int
    timelines: Timelines  # users and events are local
    items: int

    @cached_property
    def histories(self) -> Histories:
        """Twin-merged positive interactions, local; built on first use."""
        return Histories.from_timelines(self.timelines)

    @cached_property
    def moments(self) -> Moments:
        """When the interactions of `histories` were, and their queries; built on first use."""
        return Moments.from_timelines(self.timelines)

    @cached_property
    def seen_in_training(self) -> SeenPairs:
        """Who (local) saw what before the held-out events; built on first use."""
        return SeenPairs.from_timelines(self.timelines, self.items, Split.TRAIN)

    @cached_property
    def exposures(self) -> Exposures:
        """Unclicked items of each event's session (local); built on first use."""
        return Exposures.from_timelines(self.timelines)

    @cached_property
    def training_event_R(self) -> Int:
        """Local event of each training row of the window."""
        return training_rows(self.timelines)

    def eval_rows(self, event_R: Int, task: Behaviour, negative_RC: NDArray[np.uint32]) -> EvalRows:
        """Rows, with global numbers, that rank some (local) events of one task among negatives."""
        timelines = self.timelines
        return EvalRows(
            event_R=event_R + self.first_event,
            user_R=timelines.user_of(event_R) + self.first_user,
            task_R=np.full(len(event_R), int(task), dtype=np.int64),
            query_R=timelines.query_N[event_R].astype(np.int64),
            history_end_R=self.histories.end_of_event_N[event_R] + np.int64(self.first_interaction),
            candidate_RC=np.column_stack([timelines.item_N[event_R], negative_RC]).astype(np.int64),
        )


class TimelineStore:
    """All users' timelines and the frozen evaluation rows.

    Args:
        folder: of the shards.
        manifest: of the folder.
        lost: shards that are left out.
        shuffle_shards: shards of a window.
    """

    def __init__(self, folder: Folder, manifest: Manifest, lost: tuple[LostShard, ...], shuffle_shards: int) -> None:
        self.folder, self.manifest, self.lost = folder, manifest, lost
        without = {shard.name for shard in lost}
        self._shards = tuple(_emptied(shard) if shard.name in without else shard for shard in manifest.shards)
        self._parts = [
            self._shards[first : first + shuffle_shards] for first in range(0, len(self._shards), shuffle_shards)
        ]
        self._first_user = self._firsts("users")
        self._first_event = self._firsts("events")
        self._first_row = self._firsts("training_rows")
        self._first_interaction = self._firsts("interactions")
        self._decoded: OrderedDict[int, Window] = OrderedDict()

    @classmethod
    def open(cls, folder: Folder, *, shuffle_shards: int = 64, on_corrupt: Literal["stop", "skip"] = "stop") -> Self:
        """Check every shard; decode none yet.

        Remote shards are compared with their checksums when they are read, or here if damaged ones are to be skipped.

        Args:
            folder: of the shards.
            shuffle_shards: consecutive shards of a window. Two windows are in memory at a time.
            on_corrupt: what happens to damaged and missing shards; `skip` logs each and goes on without them.

        Raises:
            InputError: the manifest was edited, a shard is missing, extra, out of place, cut short or changed, or no
                training row is left.
        """
        manifest = Manifest.read(folder)
        lost: list[LostShard] = []
        for record, fault in shard_faults(folder, manifest, contents=folder.local is not None or on_corrupt == "skip"):
            if on_corrupt == "stop":
                raise fault
            if record is None:
                LOG.warning(f"{fault.where} is ignored: {fault.problem}")
                continue
            lost.append(
                LostShard(
                    name=record.name,
                    problem=fault.problem,
                    users=record.users,
                    events=record.events,
                    training_rows=record.training_rows,
                )
            )
            LOG.warning(str(lost[-1]))
        store = cls(folder, manifest, tuple(lost), shuffle_shards)
        if lost and not sum(store.window_rows):
            problem = (
                f"{len(lost)} of {len(manifest.shards)} shards are damaged or missing, and no training row is left"
            )
            raise InputError(folder.place, problem, REMEDY)
        return store

    @property
    def users(self) -> int:
        """Number of users, V; those of lost shards included."""
        return self.manifest.users

    @property
    def items(self) -> int:
        """Size of the catalogue, I."""
        return self.manifest.items

    @property
    def window_rows(self) -> tuple[int, ...]:
        """Training rows of each window; may be 0."""
        return tuple(np.diff(self._first_row).tolist())

    def window(self, number: int) -> Window:
        """Give a window; the last two are kept.

        Raises:
            InputError: a shard is damaged that was whole, or remote, when the store was opened.
        """
        if number in self._decoded:
            self._decoded.move_to_end(number)
            return self._decoded[number]
        while len(self._decoded) >= _DECODED:  # before there is another one
            self._decoded.popitem(last=False)
        window = Window(
            first_user=self._first_user[number],
            first_event=self._first_event[number],
            first_row=self._first_row[number],
            first_interaction=self._first_interaction[number],
            timelines=self._timelines(self._parts[number]),
            items=self.items,
        )
        self._decoded[number] = window
        return window

    def windows(self) -> Iterator[Window]:
        """Give all windows in order."""
        return (self.window(number) for number in range(len(self._parts)))

    def parts_of_rows(self, row_R: Int) -> Iterator[tuple[Window, Int]]:
        """Give each window that holds some of these training rows, with their places in `row_R`."""
        return self._parts_of(row_R, self._first_row)

    def parts_of_users(self, user_R: Int) -> Iterator[tuple[Window, Int]]:
        """Give each window that holds some of these users, with their places in `user_R`."""
        return self._parts_of(user_R, self._first_user)

    def gather_histories(self, user_G: Int, end_G: Int, length: int) -> tuple[Int, Int]:
        """`Histories.gather` by global numbers: item_GL and behaviour_GL."""
        item_GL = np.full((len(user_G), length), -1)
        behaviour_GL = np.zeros((len(user_G), length), dtype=np.int64)
        for window, place_P in self.parts_of_users(user_G):
            user_P, end_P = user_G[place_P] - window.first_user, end_G[place_P] - window.first_interaction
            item_GL[place_P], behaviour_GL[place_P] = window.histories.gather(user_P, end_P, length)
        return item_GL, behaviour_GL

    def gather_moments(self, user_G: Int, end_G: Int, length: int) -> tuple[Int, Int]:
        """Of what `gather_histories` gives, the queries (-1 for none) and the times in milliseconds (0 is padding)."""
        query_GL = np.full((len(user_G), length), -1)
        time_GL = np.zeros((len(user_G), length), dtype=np.int64)
        for window, place_P in self.parts_of_users(user_G):
            user_P, end_P = user_G[place_P] - window.first_user, end_G[place_P] - window.first_interaction
            place_PL = window.histories.places(user_P, end_P, length)
            query_GL[place_P] = taken(window.moments.query_M, place_PL, -1)
            time_GL[place_P] = taken(window.moments.time_M, place_PL, 0)
        return query_GL, time_GL

    def times(self, user_R: Int, event_R: Int) -> Int:
        """When events of these users were, in milliseconds, int64 [R]."""
        time_R = np.zeros(len(event_R), dtype=np.int64)
        for window, place_P in self.parts_of_users(user_R):
            time_R[place_P] = window.timelines.time_N[event_R[place_P] - window.first_event]
        return time_R

    def history_tokens(self, row_R: Int, longest: int, title_length_I: NDArray[np.integer]) -> Int:
        """Title tokens that the history of each training row shows, int64 [R].

        Args:
            row_R: training rows.
            longest: interactions that a history shows at most.
            title_length_I: tokens of each item, and 0 as the last entry.
        """
        token_R = np.zeros(len(row_R), dtype=np.int64)
        for window, place_P in self.parts_of_rows(row_R):
            event_P = window.training_event_R[row_R[place_P] - window.first_row]
            item_PL, _ = window.histories.gather(
                window.timelines.user_of(event_P), window.histories.end_of_event_N[event_P], longest
            )
            token_R[place_P] = title_length_I[item_PL].sum(axis=1, dtype=np.int64)
        return token_R

    def history_span(self, user_G: Int) -> tuple[Int, Int]:
        """Where the whole history of each user starts and ends (exclusive), global."""
        start_G, end_G = np.zeros(len(user_G), dtype=np.int64), np.zeros(len(user_G), dtype=np.int64)
        for window, place_P in self.parts_of_users(user_G):
            start_V, user_P = window.histories.user_start_V, user_G[place_P] - window.first_user
            start_G[place_P] = start_V[user_P] + window.first_interaction
            end_G[place_P] = start_V[user_P + 1] + window.first_interaction
        return start_G, end_G

    def eval_rows(self, split: Split, task: Behaviour) -> EvalRows:
        """Rows of one split and task of all windows, in shard order; all numbers are global."""
        return EvalRows.joined([self._eval_rows(number, split, task) for number in range(len(self._parts))])

    def _eval_rows(self, number: int, split: Split, task: Behaviour) -> EvalRows:
        window = self.window(number)
        event_parts = [np.empty(0, dtype=np.int64)]
        negative_parts = [np.empty((0, self.manifest.config.eval_negatives), dtype=np.uint32)]
        first = 0
        for shard in self._parts[number]:
            if not shard.events:
                continue
            for block in read_checked(self.folder, self.manifest, shard):
                event_R, events = block.eval_event_R, block.timelines
                chosen_R = (events.split_N[event_R] == split) & (events.behaviour_N[event_R] == task)
                event_parts.append(first + event_R[chosen_R])
                negative_parts.append(block.eval_negative_RC[chosen_R])
                first += len(events.item_N)
        return window.eval_rows(np.concatenate(event_parts), task, np.concatenate(negative_parts))

    def _timelines(self, shards: tuple[ShardRecord, ...]) -> Timelines:
        """Decode shards into arrays of their common length, a block at a time."""
        users, events = sum(shard.users for shard in shards), sum(shard.events for shard in shards)
        timelines = Timelines.empty(users, events)
        user = event = 0
        for shard in shards:
            if not shard.events:  # lost, or of users without events
                timelines.user_start_V[user + 1 : user + 1 + shard.users] = event
                user += shard.users
                continue
            for block in read_checked(self.folder, self.manifest, shard, negatives=False):
                part = block.timelines
                end = event + len(part.item_N)
                timelines.user_start_V[user + 1 : user + 1 + part.users] = part.user_start_V[1:] + event
                for name in COLUMNS:
                    getattr(timelines, name)[event:end] = getattr(part, name)
                user, event = user + part.users, end
        return timelines

    def _parts_of(self, number_R: Int, first_W: list[int]) -> Iterator[tuple[Window, Int]]:
        if len(self._parts) == 1:
            yield self.window(0), np.arange(len(number_R))
            return
        window_R = np.searchsorted(first_W, number_R, side="right") - 1
        for number in np.unique(window_R).tolist():
            yield self.window(number), np.flatnonzero(window_R == number)

    def _firsts(self, name: str) -> list[int]:
        """Sum of a count over the windows before each, and the sum over all."""
        return list(accumulate((sum(getattr(shard, name) for shard in part) for part in self._parts), initial=0))


def _emptied(shard: ShardRecord) -> ShardRecord:
    """The record of a lost shard: its users without events."""
    return replace(shard, events=0, training_rows=0, evaluation_rows=0, interactions=0)
