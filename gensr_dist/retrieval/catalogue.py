"""Evaluation over the whole catalogue: what candidate generation finds, and where the answers rank it.

Dimensions: R rows, K candidates, B rows of a block, I items, S items already met.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from gensr_dist.baselines.untrained.counting import Counting
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.catalogue_metrics import ANSWERS, CANDIDATES, COUNTING, LOG_ODDS, CatalogueMetrics
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.metrics import MISSED
from gensr_dist.evaluation.protocol import draw_rows
from gensr_dist.retrieval.ranker import Ranker
from gensr_dist.retrieval.requests import asked_by
from gensr_dist.runs.trained_run import TrainedRun

COUNTED_UP_TO = 200_000  # items: counting scores every one of them for every row

Int = NDArray[np.int64]


def evaluate_catalogue(
    trained: TrainedRun, ranker: Ranker, candidates: int, evaluation: EvaluationConfig, seed: int
) -> tuple[CatalogueMetrics, ...]:
    """Whole-catalogue metrics of both tasks of a run on sampled test rows.

    Args:
        trained: the run.
        ranker: its answers.
        candidates: K of an answer.
        evaluation: `catalogue_rows` a task; 0 gives no metrics.
        seed: of the run.

    Raises:
        InputError: the model gives NaN.
    """
    if not evaluation.catalogue_rows:
        return ()
    store, items = trained.store, trained.items
    counting = Counting.of_log(store, items) if store.items <= COUNTED_UP_TO else None
    metrics: list[CatalogueMetrics] = []
    for task in Behaviour:
        rows = draw_rows(store.eval_rows(Split.TEST, task), evaluation.catalogue_rows, seed)
        if len(rows):
            metrics.append(catalogue_metrics(ranker, counting, rows, store, items, candidates, evaluation, seed))
    return tuple(metrics)


def catalogue_metrics(
    ranker: Ranker,
    counting: Counting | None,
    rows: EvalRows,
    store: TimelineStore,
    items: ItemStore,
    candidates: int,
    evaluation: EvaluationConfig,
    seed: int,
) -> CatalogueMetrics:
    """Rank each row's positive among the candidates for its moment; a positive that is no candidate is a miss.

    Only the history before the row's event is known, so the positive counts as seen only where the user had met it
    earlier. Ties rank pessimistically.

    Args:
        ranker: answers.
        counting: ranks every item that may be a candidate; None leaves it out.
        rows: of one task; their frozen negatives are not used.
        store: has the histories.
        items: has the queries.
        candidates: K.
        evaluation: resamples.
        seed: of the resampling.
    """
    task = Behaviour(int(rows.task_R[0]))
    ranks: dict[str, list[Int]] = {}
    proposed: dict[str, list[NDArray[np.bool_]]] = {}
    for chunk, requests in asked_by(rows, store, items, "catalogue"):
        ranked, positive_B1 = ranker.rank(requests, candidates), chunk.candidate_RC[:, :1]
        item_BK = ranked.candidates.item_GK
        place_K = np.broadcast_to(-np.arange(item_BK.shape[1], dtype=np.float64), item_BK.shape)
        scores = {ANSWERS: ranked.score_GK, CANDIDATES: place_K, LOG_ODDS: ranked.log_odds_GK.astype(np.float64)}
        for name, score_BK in scores.items():
            there_BK = np.where(item_BK >= 0, score_BK, -np.inf)
            ranks.setdefault(name, []).append(_ranks(there_BK, item_BK == positive_B1))
        if counting is not None:
            key_S, _ = ranker.generator.left_out(requests)
            ranks.setdefault(COUNTING, []).append(_ranks_of_counting(counting, chunk, store.items, key_S))
        for name, item_BD in ranked.candidates.proposals.items():
            proposed.setdefault(name, []).append((item_BD == positive_B1).any(axis=1))
    return CatalogueMetrics.from_ranks(
        task,
        {name: np.concatenate(parts) for name, parts in ranks.items()},
        {name: np.concatenate(parts) for name, parts in proposed.items()},
        rows.user_R,
        candidates=candidates,
        resamples=evaluation.bootstrap,
        seed=seed,
    )


def _ranks(score_BK: NDArray[np.floating], positive_BK: NDArray[np.bool_]) -> Int:
    """Rank of each row's positive, `MISSED` where it is no candidate."""
    found_B = positive_BK.any(axis=1)
    own_B1 = np.where(positive_BK, score_BK, -np.inf).max(axis=1, keepdims=True)
    return np.where(found_B, (score_BK >= own_B1).sum(axis=1), MISSED)


def _ranks_of_counting(counting: Counting, rows: EvalRows, items: int, key_S: Int) -> Int:
    """Rank of each row's positive among all items but those left out, row * items + item; `MISSED` where it is one."""
    every_BI = np.broadcast_to(np.arange(items), (len(rows), items))
    score_BI = counting.score(dataclasses.replace(rows, candidate_RC=every_BI))
    score_BI.ravel()[key_S] = -np.inf
    positive_BI = np.arange(items) == rows.candidate_RC[:, :1]
    positive_BI.ravel()[key_S] = False
    return _ranks(score_BI, positive_BI)
