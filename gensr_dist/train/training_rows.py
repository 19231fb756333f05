"""What a GenSR is trained on: the order of its rows, and their negatives.

Dimensions: I items, T title tokens, Q queries.
"""

from gensr_dist.data.batches.chosen_order import ChosenOrder, rows_of_tasks
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.config import DataConfig
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.runs.folder import RunFolder
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


def training_negatives(config: DataConfig, run: RunFolder, items: ItemStore) -> TrainingNegatives:
    """Open what the settings ask for.

    Args:
        config: settings.
        run: where the stage `channels` left the lists of queries.
        items: of the run.

    Raises:
        InputError: the lists are missing or of another log, or more hard negatives are asked for than negatives.
    """
    listed = None
    if config.query_negatives:
        listed = QueryItems.open(run.channels, len(items.query_QT), len(items.title_IT))
    return TrainingNegatives.from_config(config, items.popularity_I, listed)
