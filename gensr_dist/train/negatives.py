"""The negatives of a run's training rows."""

from gensr_dist.data.config import DataConfig
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.query_items import QueryItems
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.runs.folder import RunFolder


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
