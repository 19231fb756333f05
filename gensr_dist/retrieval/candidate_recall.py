"""How often the channels and their fusion find the positive of a test row; it costs no model.

Dimensions: R rows, K candidates.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.metrics import CANDIDATE_CUTOFFS, MISSED, CandidateMetrics
from gensr_dist.evaluation.protocol import draw_rows
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.prefilter import Prefilter
from gensr_dist.trained_run import TrainedRun

FUSION = "fusion"
_ROWS = 64  # prefiltered together


def evaluate_candidates(
    trained: TrainedRun, config: RetrievalConfig, evaluation: EvaluationConfig, seed: int
) -> tuple[CandidateMetrics, ...]:
    """Recall of both tasks of a run on its test rows, all of them unless `evaluation.rows` draws some.

    A run that has no index yet gives none.

    Args:
        trained: the run; its index is opened here.
        config: whether seen items are left out.
        evaluation: how many rows.
        seed: of the run.

    Raises:
        InputError: the index is broken.
    """
    if not (trained.folder.index / "index.json").is_file():
        return ()
    prefilter = Prefilter.of(trained, exclude_seen=config.exclude_seen)
    metrics = []
    for task in Behaviour:
        rows = draw_rows(trained.store.eval_rows(Split.TEST, task), evaluation.rows, seed)
        if len(rows):
            metrics.append(candidate_metrics(prefilter, rows, trained.items))
    return tuple(metrics)


def candidate_metrics(prefilter: Prefilter, rows: EvalRows, items: ItemStore) -> CandidateMetrics:
    """Rank of each row's positive in every channel and in the fusion, as shares within the cutoffs.

    Args:
        prefilter: proposes.
        rows: of one task; their frozen negatives are not used.
        items: has the queries.
    """
    task = Behaviour(int(rows.task_R[0]))
    ranks: dict[str, list[NDArray[np.int64]]] = {}
    with tqdm(total=len(rows), desc=f"candidates, {task.name.lower()}", unit="row", disable=None) as bar:
        for start in range(0, len(rows), _ROWS):
            chunk = rows.take(np.arange(start, min(start + _ROWS, len(rows))))
            for name, item_RK in proposals(prefilter, chunk, items, max(CANDIDATE_CUTOFFS)).items():
                ranks.setdefault(name, []).append(_ranks(item_RK, chunk.candidate_RC[:, 0]))
            bar.update(len(chunk))
    return CandidateMetrics.from_ranks(
        task, {name: np.concatenate(parts) for name, parts in ranks.items()}, fusion=FUSION
    )


def proposals(prefilter: Prefilter, rows: EvalRows, items: ItemStore, k: int) -> Mapping[str, NDArray[np.int64]]:
    """What the fusion (first) and every channel of the rows' task propose, distinct unseen items [R, K or more].

    Args:
        prefilter: proposes.
        rows: of one task.
        items: has the queries.
        k: candidates.
    """
    if rows.task_R[0] == Behaviour.RECOMMENDATION:
        names = tuple(prefilter.recommending)
        found, fused_RK = prefilter.recommendations_by_channel(rows.user_R, rows.history_end_R, k, names)
    else:
        names = tuple(prefilter.searching)
        query_RQ, texts = queries_of(rows, items)
        found, fused_RK = prefilter.search_by_channel(rows.user_R, rows.history_end_R, query_RQ, texts, k, names)
    return {FUSION: fused_RK, **found}


def queries_of(rows: EvalRows, items: ItemStore) -> tuple[NDArray[np.int64], list[str]]:
    """Tokens and texts of the rows' queries; padding and no text where a row has none."""
    if not len(items.queries):
        return np.zeros((len(rows), items.query_QT.shape[1]), dtype=np.int64), [""] * len(rows)
    query_RQ = np.where(rows.query_R[:, None] >= 0, items.query_QT[rows.query_R], 0).astype(np.int64)
    return query_RQ, [items.queries[query] if query >= 0 else "" for query in rows.query_R.tolist()]


def _ranks(item_RK: NDArray[np.int64], positive_R: NDArray[np.int64]) -> NDArray[np.int64]:
    hit_RK = item_RK == positive_R[:, None]
    return np.where(hit_RK.any(axis=1), hit_RK.argmax(axis=1) + 1, MISSED)
