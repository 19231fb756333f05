"""The stage `lightgcn` of a run, on one rank or several."""

import logging

from torch.utils.tensorboard import SummaryWriter

from gensr_dist.config.root import Config
from gensr_dist.data.item_vectors import ItemVectors
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.distributed.launcher_variables import started_by_launcher
from gensr_dist.distributed.ranks import join_processes
from gensr_dist.errors import InputError
from gensr_dist.graph.cross_fitting import train_lightgcn
from gensr_dist.graph.leak import Leak, measure_leak
from gensr_dist.graph.ranks import ColumnRanks
from gensr_dist.graph.result import LightGCNResult
from gensr_dist.runs.event_files import forget_events
from gensr_dist.runs.folder import RunFolder

LOG = logging.getLogger("gensr_dist.graph")


def lightgcn(config: Config, run: RunFolder, *, resume: bool) -> LightGCNResult:
    """Train LightGCN on the shards of a run and write `run.cf`. Every rank of a launcher must call it; the first one
    writes. A process without a launcher trains alone.

    Args:
        config: of the run.
        run: its folder; with several hosts on a file system that they share.
        resume: go on from a checkpoint of an interrupted training.

    Raises:
        InputError: as of `train_lightgcn`, or the shards cannot be used.
    """
    ranks = ColumnRanks()
    if started_by_launcher():
        joined = join_processes()
        ranks = ColumnRanks(joined.rank, joined.world, joined.device)
    # One shard at a time: the edges do not depend on windows.
    store = TimelineStore.open(run.shards, shuffle_shards=1, on_corrupt=config.data.on_corrupt)
    users, items = store.users, store.items
    windows = ((window.first_user, window.timelines) for window in store.windows())
    del store  # with the windows that it keeps decoded: training only needs their edges
    writer = None
    if ranks.first:
        forget_events(run.tensorboard / "lightgcn")
        writer = SummaryWriter(str(run.tensorboard / "lightgcn"))
    try:
        return train_lightgcn(
            windows,
            users,
            items,
            config.lightgcn,
            config.seed,
            run.cf,
            run.lightgcn_checkpoint,
            ranks=ranks,
            resume=resume,
            writer=writer,
            measure=lambda vectors: _leak(vectors, config, run),
        )
    finally:
        if writer is not None:
            writer.close()


def _leak(vectors: ItemVectors, config: Config, run: RunFolder) -> Leak | None:
    """A number for people: where it cannot be had, the vectors are none the worse."""
    try:
        store = TimelineStore.open(run.shards, shuffle_shards=1, on_corrupt=config.data.on_corrupt)
        return measure_leak(store, vectors, config.seed)
    except InputError as error:
        LOG.warning(f"what the vectors give away of training rows is not measured: {error}")
        return None
