"""Scorers without training: as systems of a study, and those that every evaluation shows beside GenSR.

Dimensions: I items, V users, E width of a CF vector.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gensr_dist.baselines.untrained.bm25 import BM25
from gensr_dist.baselines.untrained.bm25_popularity import BM25Popularity
from gensr_dist.baselines.untrained.counting import Counting
from gensr_dist.baselines.untrained.ease import EASE
from gensr_dist.baselines.untrained.item_knn import ItemKNN
from gensr_dist.baselines.untrained.lightgcn import LightGCNDotProduct
from gensr_dist.baselines.untrained.popularity import Popularity
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.protocol import ComparedScorer, Scorer, draw_rows
from gensr_dist.runs.prepared_data import PreparedData

_FITTED_ON = 4_000  # validation rows
_COMPARED = ("popularity", "counting", "lightgcn", "bm25")
_REC, _SEARCH = frozenset({Behaviour.RECOMMENDATION}), frozenset({Behaviour.SEARCH})


@dataclass(frozen=True)
class Untrained:
    """A scorer that is made of a log at once."""

    title: str
    tasks: frozenset[Behaviour]
    make: Callable[[PreparedData], Scorer]


def _bm25_popularity(data: PreparedData) -> Scorer:
    rows = draw_rows(data.store.eval_rows(Split.VALID, Behaviour.SEARCH), _FITTED_ON, seed=0)
    return BM25Popularity.fitted(_bm25(data), data.items.popularity_I, rows)


def _bm25(data: PreparedData) -> BM25:
    return BM25(data.items.texts.to_list(), data.items.queries.to_list())


UNTRAINED: dict[str, Untrained] = {
    "popularity": Untrained("Popularity", _REC | _SEARCH, lambda data: Popularity(data.items.popularity_I)),
    "counting": Untrained("Counting", _REC | _SEARCH, lambda data: Counting.of_log(data.store, data.items)),
    "item_knn": Untrained("ItemKNN", _REC, lambda data: ItemKNN.of_log(data.store)),
    "ease": Untrained("EASE", _REC, lambda data: EASE.of_log(data.store)),
    "lightgcn": Untrained("LightGCN", _REC, lambda data: LightGCNDotProduct(data.vectors.whole_IE, data.user_VE)),
    "bm25": Untrained("BM25", _SEARCH, _bm25),
    "bm25_popularity": Untrained("BM25 and popularity", _SEARCH, _bm25_popularity),
}


def compared_scorers(data: PreparedData) -> tuple[ComparedScorer, ...]:
    """What every evaluation shows: of recommendation LightGCN's dot product, of search BM25, of both popularity and
    counting.
    """
    return tuple(ComparedScorer(name, UNTRAINED[name].make(data), UNTRAINED[name].tasks) for name in _COMPARED)
