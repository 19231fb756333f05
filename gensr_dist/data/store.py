"""The timelines of a shard folder in memory, checked on the way in.

Dimensions: N events, V users, R evaluation rows, C negatives.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from typing_extensions import Self

from gensr_dist.data.events import Behaviour
from gensr_dist.data.histories import Histories
from gensr_dist.data.manifest import REMEDY, Manifest
from gensr_dist.data.negatives import Met
from gensr_dist.data.rows import EvalRows
from gensr_dist.data.shards import Block, read_shard
from gensr_dist.data.splits import Split
from gensr_dist.data.timelines import Timelines
from gensr_dist.data.verify import checked_shards
from gensr_dist.errors import InputError


@dataclass(frozen=True)
class TimelineStore:
    """All users' timelines and the frozen evaluation rows."""

    manifest: Manifest
    timelines: Timelines
    eval_event_R: np.ndarray  # int64, positions of validation and test rows of both tasks
    eval_negative_RC: np.ndarray  # uint32

    @classmethod
    def open(cls, shards: Path) -> Self:
        """Read every shard; memory is about 20 bytes an event.

        Raises:
            InputError: the manifest was edited, or a shard is missing, extra, out of place, cut short or changed.
        """
        manifest = Manifest.read(shards)
        blocks = [
            block
            for record, content in checked_shards(shards, manifest)
            for block in read_shard(content, shards / record.name)
        ]
        first_event = np.cumsum([0, *(len(block.item) for block in blocks)])
        timelines = Timelines(
            user_start_V=np.concatenate(
                [[0], *(block.user_start[1:] + start for block, start in zip(blocks, first_event[:-1], strict=True))]
            ).astype(np.int64),
            item_N=_join(blocks, "item"),
            time_N=_join(blocks, "time"),
            query_N=_join(blocks, "query"),
            behaviour_N=_join(blocks, "behaviour"),
            positive_N=_join(blocks, "positive"),
            split_N=_join(blocks, "split"),
        )
        if (timelines.users, len(timelines.item_N)) != (manifest.users, manifest.events):
            raise InputError(
                shards,
                f"the shards hold {timelines.users} users and {len(timelines.item_N)} events, the manifest says "
                f"{manifest.users} and {manifest.events}",
                REMEDY,
            )
        eval_event = [block.eval_event + start for block, start in zip(blocks, first_event[:-1], strict=True)]
        return cls(
            manifest=manifest,
            timelines=timelines,
            eval_event_R=np.concatenate(eval_event),
            eval_negative_RC=_join(blocks, "eval_negative"),
        )

    @property
    def users(self) -> int:
        """Number of users, V."""
        return self.manifest.users

    @property
    def items(self) -> int:
        """Size of the catalogue, I."""
        return self.manifest.items

    @cached_property
    def met_in_training(self) -> Met:
        """Who met what before the held-out events; built on first use."""
        return Met.from_timelines(self.timelines, self.users, self.items, Split.TRAIN)

    @cached_property
    def histories(self) -> Histories:
        """Twin-merged positive interactions; built on first use."""
        return Histories.from_timelines(self.timelines)

    def eval_rows(self, split: Split, task: Behaviour) -> EvalRows:
        """Rows of one split and task, in timeline order."""
        timelines = self.timelines
        of_split = timelines.split_N[self.eval_event_R] == split
        chosen = np.flatnonzero(of_split & (timelines.behaviour_N[self.eval_event_R] == task))
        event_R = self.eval_event_R[chosen]
        positive_R = timelines.item_N[event_R].astype(np.int64)
        return EvalRows(
            event_R=event_R,
            user_R=np.searchsorted(timelines.user_start_V, event_R, side="right") - 1,
            task_R=np.full(len(event_R), int(task), dtype=np.int64),
            query_R=timelines.query_N[event_R].astype(np.int64),
            history_end_R=self.histories.end_of_event_N[event_R],
            candidate_RC=np.column_stack([positive_R, self.eval_negative_RC[chosen].astype(np.int64)]),
        )


def _join(blocks: list[Block], name: str) -> np.ndarray:
    return np.concatenate([getattr(block, name) for block in blocks])
