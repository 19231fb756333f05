"""What an analysis looks at: a run, and the discriminative peer that GenSR is compared with.

Dimensions: R rows, C candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from typing_extensions import Self

from gensr_dist.baselines.contract import Baseline, Settings
from gensr_dist.baselines.layers.experts import TaskNetworks
from gensr_dist.baselines.registry import BASELINES
from gensr_dist.baselines.weights import collator_for, open_baseline, settings_of
from gensr_dist.config.root import Config
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.evaluation.protocol import draw_rows
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.prepared_data import PreparedData
from gensr_dist.runs.records import read_record
from gensr_dist.runs.trained_run import TrainedRun

DEFAULT_PEER = "unisar"  # the paper's strongest discriminative system
_ROWS_SEED = 0
NO_PEER = (
    f"no discriminative peer to compare with, GenSR alone was looked at: run `gensr baseline {DEFAULT_PEER} CONFIG`, "
    "or give --peer RUN"
)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A trained baseline with one encoder and a head a task."""

    name: str
    run: RunFolder  # that it belongs to
    settings: Settings

    @classmethod
    def at(cls, path: Path, run: RunFolder) -> Self:
        """The peer in a folder.

        Args:
            path: RUN/baselines/NAME, or a run, whose UniSAR is meant.
            run: that is analysed.

        Raises:
            InputError: there is none, it has not finished, has no shared encoder, or was trained on other shards.
        """
        home, name = (path.parent.parent, path.name) if path.parent.name == "baselines" else (path, DEFAULT_PEER)
        others = RunFolder(home)
        if name not in BASELINES or not others.baseline(name).model.is_dir():
            remedy = f"run `gensr baseline {DEFAULT_PEER} CONFIG`, and give that run or RUN/baselines/NAME as --peer"
            raise InputError(path, f"no trained peer at {others.baseline(name).root}", remedy)
        settings = settings_of(name, others)
        own, theirs = (read_record("prepare", folder) for folder in (run, others))
        if own is None or theirs is None or own.made != theirs.made:
            problem = "it was trained on other shards than the run that is analysed"
            raise InputError(others.baseline(name).root, problem, f"train it on these: `gensr baseline {name} CONFIG`")
        return cls(name=name, run=others, settings=settings)

    @property
    def folder(self) -> RunFolder:
        """Its own."""
        return self.run.baseline(self.name)

    @property
    def title(self) -> str:
        """Of reports."""
        return BASELINES[self.name].title


@dataclass(frozen=True, kw_only=True)
class OpenedPeer:
    """A peer, ready to score."""

    peer: Peer
    model: Baseline  # in evaluation mode, on `ranks.device`
    networks: TaskNetworks  # of it: the shared encoder and the head of each task
    collator: Collator
    ranks: Ranks


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A run and its peer; each part is opened when it is first asked for."""

    run: RunFolder
    config: Config
    peer: Peer | None = None

    @cached_property
    def data(self) -> PreparedData:
        """Shards, items and CF vectors."""
        return PreparedData.open(self.run, self.config, folds=True)

    @cached_property
    def trained(self) -> TrainedRun:
        """The model, with what it reads."""
        return TrainedRun.open(self.run, self.config)

    @cached_property
    def rows(self) -> Mapping[Behaviour, EvalRows]:
        """Held-out test rows by task, `analysis.rows` at most; a task without any is absent."""
        return self.rows_of(self.data.store)

    def rows_of(self, store: TimelineStore) -> Mapping[Behaviour, EvalRows]:
        """The same of an opened store: needs no CF vectors."""
        drawn = {
            task: draw_rows(store.eval_rows(Split.TEST, task), self.config.analysis.rows, _ROWS_SEED)
            for task in Behaviour
        }
        return {task: rows for task, rows in drawn.items() if len(rows)}

    @cached_property
    def opened_peer(self) -> OpenedPeer | None:
        """The peer, where there is one.

        Raises:
            InputError: it has no encoder that both tasks share.
        """
        if self.peer is None:
            return None
        ranks = Ranks.alone()
        model = open_baseline(self.peer.name, self.peer.settings, self.data, self.peer.folder, ranks)
        networks = getattr(model, "networks", None)
        if not isinstance(networks, TaskNetworks):
            problem = f"{self.peer.title} has no encoder that both tasks share"
            raise InputError(self.peer.folder.root, problem, f"give {DEFAULT_PEER} as --peer")
        collator = collator_for(self.peer.settings, self.data)
        return OpenedPeer(peer=self.peer, model=model, networks=networks, collator=collator, ranks=ranks)

    def both_tasks(self, fewest: int, fewest_users: int) -> Mapping[Behaviour, EvalRows]:
        """The rows, of both tasks.

        Raises:
            InputError: a task has fewer.
        """
        for task in Behaviour:
            rows = self.rows.get(task)
            found, users = (0, 0) if rows is None else (len(rows), len(np.unique(rows.user_R)))
            if found < fewest:
                problem = f"{found} test rows of {TASK_NAMES[task]}, and at least {fewest} are needed"
                remedy = "analyse a run of a log with both tasks and more test rows, or raise analysis.rows"
                raise InputError(self.run.root, problem, remedy)
            if users < fewest_users:
                problem = f"test rows of {users} users in {TASK_NAMES[task]}, and at least {fewest_users} are needed"
                remedy = "analyse a run of a log with more users, or raise analysis.rows"
                raise InputError(self.run.root, problem, remedy)
        return self.rows
