"""Evaluation over the whole catalogue: what the prefilter finds and where GenSR ranks it.

Dimensions: R rows, K candidates, C candidates with the positive in column 0, I items.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.gensr_scorer import GenSRScorer
from gensr_dist.evaluation.metrics import MISSED, CatalogueMetrics
from gensr_dist.evaluation.protocol import Scorer, draw_rows, rank_positives
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.prefilter import Prefilter
from gensr_dist.trained_run import TrainedRun

FULL_UP_TO = 5_000  # items; larger catalogues are ranked through the prefilter only
_PASS = 512  # candidates scored together
_ROWS = 64  # prefiltered together


def evaluate_catalogue(
    trained: TrainedRun, config: RetrievalConfig, evaluation: EvaluationConfig, seed: int
) -> tuple[CatalogueMetrics, ...]:
    """Whole-catalogue metrics of both tasks of a run on sampled test rows, by prefilter and, if small, in full.

    Args:
        trained: the run; its index is opened here.
        config: number of candidates, and whether seen items are left out.
        evaluation: `catalogue_rows` a task; 0 gives no metrics.
        seed: of the run.

    Raises:
        InputError: the index is missing or broken.
    """
    if not evaluation.catalogue_rows:
        return ()
    store, items = trained.store, trained.items
    scorer = GenSRScorer(trained.model, trained.collator, trained.device, prompts=_PASS)
    prefilter = Prefilter.of(trained, exclude_seen=config.exclude_seen)
    metrics: list[CatalogueMetrics] = []
    for task in Behaviour:
        rows = draw_rows(store.eval_rows(Split.TEST, task), evaluation.catalogue_rows, seed)
        if not len(rows):
            continue
        metrics.append(catalogue_metrics(scorer, prefilter, rows, items.query_QT, config.candidates))
        if store.items <= FULL_UP_TO:
            metrics.append(catalogue_metrics(scorer, prefilter, rows, items.query_QT, None))
    return tuple(metrics)


def catalogue_metrics(
    scorer: Scorer, prefilter: Prefilter, rows: EvalRows, query_QT: NDArray[np.int32], candidates: int | None
) -> CatalogueMetrics:
    """Rank each row's positive among the candidates for its moment; a positive that is no candidate is a miss.

    Only the history before the row's event is known to prefilter and scorer, so the positive counts as seen only where
    the user had met it earlier. Ties rank pessimistically.

    Args:
        scorer: scores candidates.
        prefilter: proposes them.
        rows: of one task; their frozen negatives are not used.
        query_QT: tokens of the log's queries.
        candidates: K of the prefilter; None scores every item.
    """
    task = Behaviour(int(rows.task_R[0]))
    ranks, widest = [], 0
    label = f"catalogue, {task.name.lower()}, {'every item' if candidates is None else 'prefilter'}"
    with tqdm(total=len(rows), desc=label, unit="row", disable=None) as bar:
        for chunk in _chunks(rows):
            candidate_RK = _candidates(prefilter, chunk, query_QT, candidates)
            widest = max(widest, int((candidate_RK >= 0).sum(axis=1).max(initial=0)))
            for place in range(len(chunk)):
                ranks.append(_rank(scorer, chunk.take(np.array([place])), candidate_RK[place]))
                bar.update()
    return CatalogueMetrics.from_ranks(
        task, np.array(ranks, dtype=np.int64), candidates=widest, full=candidates is None
    )


def _chunks(rows: EvalRows) -> Iterator[EvalRows]:
    for start in range(0, len(rows), _ROWS):
        yield rows.take(np.arange(start, min(start + _ROWS, len(rows))))


def _candidates(
    prefilter: Prefilter, rows: EvalRows, query_QT: NDArray[np.int32], candidates: int | None
) -> NDArray[np.int64]:
    if candidates is None:
        return prefilter.without_seen(rows.user_R, rows.history_end_R)
    if rows.task_R[0] == Behaviour.RECOMMENDATION:
        return prefilter.recommendations(rows.user_R, rows.history_end_R, candidates)
    query_RQ = np.where(rows.query_R[:, None] >= 0, query_QT[rows.query_R], 0).astype(np.int64)
    return prefilter.search(rows.user_R, rows.history_end_R, query_RQ, candidates)


def _rank(scorer: Scorer, row: EvalRows, item_K: NDArray[np.int64]) -> int:
    """Rank of one row's positive among its candidates, `MISSED` where it is none of them."""
    positive = row.candidate_RC[0, 0]
    if positive not in item_K:
        return MISSED
    rival_K = item_K[(item_K >= 0) & (item_K != positive)]
    rank = 1
    for start in range(0, len(rival_K), _PASS):
        candidate_1C = np.concatenate([[positive], rival_K[start : start + _PASS]])[None]
        rank += int(rank_positives(scorer, dataclasses.replace(row, candidate_RC=candidate_1C), 1)[0]) - 1
    return rank
