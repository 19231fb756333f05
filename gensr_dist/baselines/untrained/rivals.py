"""The scorers without training that every evaluation shows beside GenSR.

Dimensions: I items, V users, E width of a CF vector.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.baselines.untrained.counting import Counting
from gensr_dist.baselines.untrained.lightgcn import LightGCNDotProduct
from gensr_dist.baselines.untrained.popularity import Popularity
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.evaluation.protocol import Rival

_BOTH = frozenset(Behaviour)


def untrained_rivals(
    store: TimelineStore, items: ItemStore, item_IE: NDArray[np.float32], user_VE: NDArray[np.float32]
) -> tuple[Rival, ...]:
    """Popularity, counting, LightGCN's dot product for recommendation and BM25 for search.

    Args:
        store: of the log.
        items: of its catalogue.
        item_IE: CF vectors of items.
        user_VE: CF vectors of users.
    """
    return (
        Rival("popularity", Popularity(items.popularity_I), _BOTH),
        Rival("counting", Counting.of_log(store, items), _BOTH),
        Rival("lightgcn", LightGCNDotProduct(item_IE, user_VE), frozenset({Behaviour.RECOMMENDATION})),
        Rival("bm25", BM25(items.texts.to_list(), items.queries.to_list()), frozenset({Behaviour.SEARCH})),
    )
