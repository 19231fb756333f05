"""How much better the item vectors know training rows than held-out ones.

Dimensions: R rows, L history, C candidates (column 0 is the positive), E width, K = L + C, X = R x K, P rows at a time,
F rows of a fold.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.data.item_vectors import WHOLE, ItemVectors
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.training_sample import draw_training_rows
from gensr_dist.evaluation.metrics import ndcg_gain, pessimistic_ranks
from gensr_dist.evaluation.protocol import draw_rows

ROWS = 2_000  # of each kind at most
HISTORY = 20  # newest interactions of a row
CUTOFF = 10
_ROWS_AT_ONCE = 256

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Leak:
    """NDCG@10 of the mean cosine between history items and candidate, without any training on it.

    Vectors that were trained on the edges of the training rows rank them far better than held-out rows. A model that
    learns from such rows trusts the vectors more than they deserve.
    """

    training_whole: float | None  # training rows with the whole graph's vectors; None: no such row
    training_without: float | None  # the same rows with those of the graph without their users; None: no folds
    validation: float | None  # validation rows with the whole graph's vectors
    training_rows: int
    validation_rows: int
    negatives: int  # a row, uniform among what its user never saw

    def sentence(self) -> str:
        """One line for people."""
        parts = [f"mean cosine N@{CUTOFF}: training rows {_shown(self.training_whole)} with the whole graph"]
        if self.training_without is not None:
            parts.append(f", {self.training_without:.3f} without their users' folds")
        return "".join([*parts, f"; validation rows {_shown(self.validation)}"])


def measure_leak(store: TimelineStore, vectors: ItemVectors, seed: int) -> Leak:
    """Rank samples of training and validation rows of recommendation that have a history.

    Args:
        store: of the log; each of its windows is read some times.
        vectors: of its items, before or after alignment: cosines are the same.
        seed: of the samples.

    Raises:
        InputError: a shard is damaged, or a user has seen so many items that too few are left as negatives.
    """
    task, negatives = Behaviour.RECOMMENDATION, store.manifest.config.eval_negatives
    training = draw_training_rows(store, {task: ROWS}, seed, negatives)[task]
    validation = draw_rows(_with_history(store, store.eval_rows(Split.VALID, task)), ROWS, seed)
    item_RL = _histories(store, training)
    whole_R = np.full(len(training), WHOLE)
    return Leak(
        training_whole=_ndcg(vectors, training, item_RL, whole_R),
        training_without=_ndcg(vectors, training, item_RL, vectors.fold_of(training.user_R)) if vectors.folds else None,
        validation=_ndcg(vectors, validation, _histories(store, validation), np.full(len(validation), WHOLE)),
        training_rows=len(training),
        validation_rows=len(validation),
        negatives=negatives,
    )


def mean_cosines(vectors: ItemVectors, fold: int, item_RL: Int, candidate_RC: Int) -> NDArray[np.float32]:
    """Mean cosine of each candidate with the items of its row's history, by a constant factor a row; [R, C].

    Args:
        vectors: of the items.
        fold: whose table is read, or WHOLE.
        item_RL: history, -1 pads.
        candidate_RC: candidates.
    """
    item_RK = np.concatenate([item_RL, candidate_RC], axis=1)
    vector_XE = np.empty((item_RK.size, vectors.width), dtype=np.float32)
    vectors.take(fold, np.maximum(item_RK.ravel(), 0), vector_XE)
    vector_XE[item_RK.ravel() < 0] = 0
    length_X1 = np.linalg.norm(vector_XE, axis=1, keepdims=True)
    np.divide(vector_XE, length_X1, out=vector_XE, where=length_X1 > 0)
    unit_RKE = vector_XE.reshape(*item_RK.shape, -1)
    length = item_RL.shape[1]
    return np.einsum("re,rce->rc", unit_RKE[:, :length].sum(axis=1), unit_RKE[:, length:])


def _ndcg(vectors: ItemVectors, rows: EvalRows, item_RL: Int, fold_R: Int) -> float | None:
    """Mean over rows, each with the table of its fold; ties count against the positive."""
    if not len(rows):
        return None
    rank_R = np.zeros(len(rows), dtype=np.int64)
    for fold in np.unique(fold_R).tolist():
        place_F = np.flatnonzero(fold_R == fold)
        for place_P in np.array_split(place_F, -(-len(place_F) // _ROWS_AT_ONCE)):
            score_PC = mean_cosines(vectors, fold, item_RL[place_P], rows.candidate_RC[place_P])
            rank_R[place_P] = pessimistic_ranks(score_PC)
    return float(ndcg_gain(rank_R, CUTOFF).mean())


def _histories(store: TimelineStore, rows: EvalRows) -> Int:
    return store.gather_histories(rows.user_R, rows.history_end_R, HISTORY)[0]


def _with_history(store: TimelineStore, rows: EvalRows) -> EvalRows:
    start_R, _ = store.history_span(rows.user_R)
    return rows.take(np.flatnonzero(rows.history_end_R > start_R))


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
