from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.negatives.sampling import SeenPairs, TrainingNegatives
from gensr_dist.data.preparation.shard_work import require_training_negatives
from gensr_dist.data.preparation.splitting import assign_splits, find_moments
from gensr_dist.data.timelines.rows import training_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import build_timelines
from gensr_dist.errors import InputError


def test_training_negatives_are_refused_where_drawing_them_fails(
    make_log: Callable[..., EventLog], small_config: DataConfig
) -> None:
    log = make_log(users=5, items=20, events=60)
    items = log.items.height
    timelines = build_timelines(log.users.height, assign_splits(log.events, find_moments(log.events, small_config)))
    seen = SeenPairs.from_timelines(timelines, items, Split.TRAIN)
    event_R = training_rows(timelines)
    user_R = timelines.user_N[event_R]
    refused = []
    for count in range(1, items + 1):
        config = replace(small_config, train_negatives=count)
        negatives = TrainingNegatives.from_config(config, np.ones(items))
        try:
            negatives.draw(seen, None, event_R, user_R, np.full(len(event_R), -1), key=(0,))
        except InputError:
            refused.append(count)
            with pytest.raises(InputError, match=rf"data.train_negatives: a user .* fewer than the {count} negatives"):
                require_training_negatives(timelines, items=items, config=config)
        else:
            require_training_negatives(timelines, items=items, config=config)
    assert 2 < len(refused) < items


def test_hard_negatives_are_items_that_were_seen(make_log: Callable[..., EventLog], small_config: DataConfig) -> None:
    log = make_log(users=5, items=20, events=60)
    timelines = build_timelines(log.users.height, assign_splits(log.events, find_moments(log.events, small_config)))
    config = replace(small_config, train_negatives=19)
    with pytest.raises(InputError, match="a user has seen"):
        require_training_negatives(timelines, items=20, config=config)
    require_training_negatives(timelines, items=20, config=replace(config, hard_negatives=16))
