"""Scorers without training as systems of a study."""

from collections.abc import Callable
from dataclasses import dataclass

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.baselines.untrained.counting import Counting
from gensr_dist.baselines.untrained.lightgcn import LightGCNDotProduct
from gensr_dist.baselines.untrained.popularity import Popularity
from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.protocol import Scorer
from gensr_dist.runs.prepared_data import PreparedData

_REC, _SEARCH = frozenset({Behaviour.RECOMMENDATION}), frozenset({Behaviour.SEARCH})


@dataclass(frozen=True)
class Untrained:
    """A scorer that is made of a log at once."""

    title: str
    tasks: frozenset[Behaviour]
    make: Callable[[PreparedData], Scorer]


UNTRAINED: dict[str, Untrained] = {
    "popularity": Untrained("Popularity", _REC | _SEARCH, lambda data: Popularity(data.items.popularity_I)),
    "counting": Untrained("Counting", _REC | _SEARCH, lambda data: Counting.of_log(data.store, data.items)),
    "lightgcn": Untrained("LightGCN", _REC, lambda data: LightGCNDotProduct(data.vectors.whole_IE, data.user_VE)),
    "bm25": Untrained("BM25", _SEARCH, lambda data: BM25(data.items.texts.to_list(), data.items.queries.to_list())),
}
