"""What preparation asks of the machinery that does the work on all events: one machine, or a Ray cluster."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import Repair
from gensr_dist.data.preparation.shard_work import ShardResult
from gensr_dist.storage.folder import Folder


@dataclass(frozen=True)
class CleanLog:
    """The tables of a log whose events are filtered, split and numbered; the events stay with the engine."""

    users: pl.DataFrame  # USER_SCHEMA
    items: pl.DataFrame  # ITEM_SCHEMA
    queries: pl.DataFrame  # QUERY_SCHEMA
    positives_BS: np.ndarray  # int64 [2, 3]: positive events of each behaviour and split
    repairs: tuple[Repair, ...]
    read: int  # as of EventLog


class PreparationEngine(Protocol):
    """Turns a raw log into shards. Every engine writes the same bytes."""

    def clean(self, config: DataConfig) -> CleanLog:
        """Read, filter, split and number the log.

        Raises:
            InputError: a raw file does not parse, filtering leaves nothing, or the log is too short for the split.
        """

    def write_shards(self, target: Folder, config: DataConfig, seed: int) -> list[ShardResult]:
        """Write the shards of the clean log; returned in user order.

        Args:
            target: local or remote; every process of the engine must reach it.
            config: settings.
            seed: of the evaluation negatives.

        Raises:
            InputError: a user has seen too many items for the evaluation negatives.
        """
