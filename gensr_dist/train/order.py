"""The order of the rows that a GenSR is trained on."""

from gensr_dist.data.batches.chosen_order import ChosenOrder, rows_of_tasks
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.train.config import TrainConfig


def training_order(store: TimelineStore, settings: TrainConfig, seed: int) -> SampleOrder:
    """Of all training rows, or of those that the settings choose.

    Raises:
        InputError: no row is left.
    """
    if settings.tasks == "both" and not settings.newest_rows:
        return SampleOrder(store.window_rows, settings.batch, seed)
    rows = rows_of_tasks(store, settings.trained_tasks, settings.newest_rows)
    return ChosenOrder(rows, settings.batch, seed)
