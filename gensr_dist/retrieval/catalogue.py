"""Evaluation over the whole catalogue: what the prefilter finds and where GenSR ranks it.

Dimensions: R rows, K candidates, C candidates with the positive in column 0, I items.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.gensr_scorer import GenSRScorer
from gensr_dist.evaluation.metrics import MISSED, CatalogueMetrics
from gensr_dist.evaluation.protocol import Scorer, draw_rows, rank_positives
from gensr_dist.retrieval.candidate_recall import queries_of
from gensr_dist.retrieval.config import RetrievalConfig
from gensr_dist.retrieval.prefilter import Prefilter
from gensr_dist.trained_run import TrainedRun

FULL_UP_TO = 5_000  # items; larger catalogues are ranked through the prefilter only
_ROWS = 64  # prefiltered together, then scored


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
    scorer = GenSRScorer(trained.model, trained.collator, trained.device, evaluation.prompts)
    prefilter = Prefilter.of(trained, exclude_seen=config.exclude_seen)
    metrics: list[CatalogueMetrics] = []
    for task in Behaviour:
        rows = draw_rows(store.eval_rows(Split.TEST, task), evaluation.catalogue_rows, seed)
        if not len(rows):
            continue
        metrics.append(catalogue_metrics(scorer, prefilter, rows, items, config.candidates))
        if store.items <= FULL_UP_TO:
            metrics.append(catalogue_metrics(scorer, prefilter, rows, items, None))
    return tuple(metrics)


def catalogue_metrics(
    scorer: Scorer, prefilter: Prefilter, rows: EvalRows, items: ItemStore, candidates: int | None
) -> CatalogueMetrics:
    """Rank each row's positive among the candidates for its moment; a positive that is no candidate is a miss.

    Only the history before the row's event is known to prefilter and scorer, so the positive counts as seen only where
    the user had met it earlier. Ties rank pessimistically.

    Args:
        scorer: scores candidates.
        prefilter: proposes them.
        rows: of one task; their frozen negatives are not used.
        items: has the queries.
        candidates: K of the prefilter; None scores every item.
    """
    task = Behaviour(int(rows.task_R[0]))
    parts, widest = [], 0
    label = f"catalogue, {task.name.lower()}, {'every item' if candidates is None else 'prefilter'}"
    with tqdm(total=len(rows), desc=label, unit="row", disable=None) as bar:
        for chunk in _chunks(rows):
            candidate_RK = _candidates(prefilter, chunk, items, candidates)
            widest = max(widest, int((candidate_RK >= 0).sum(axis=1).max(initial=0)))
            parts.append(_ranks(scorer, chunk, candidate_RK))
            bar.update(len(chunk))
    return CatalogueMetrics.from_ranks(task, np.concatenate(parts), candidates=widest, full=candidates is None)


def _chunks(rows: EvalRows) -> Iterator[EvalRows]:
    for start in range(0, len(rows), _ROWS):
        yield rows.take(np.arange(start, min(start + _ROWS, len(rows))))


def _candidates(prefilter: Prefilter, rows: EvalRows, items: ItemStore, candidates: int | None) -> NDArray[np.int64]:
    if candidates is None:
        return prefilter.without_seen(rows.user_R, rows.history_end_R)
    if rows.task_R[0] == Behaviour.RECOMMENDATION:
        return prefilter.recommendations(rows.user_R, rows.history_end_R, candidates)
    query_RQ, texts = queries_of(rows, items)
    return prefilter.search(rows.user_R, rows.history_end_R, query_RQ, texts, candidates)


def _ranks(scorer: Scorer, rows: EvalRows, candidate_RK: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of each row's positive among its candidates (-1 is none), `MISSED` where it is none of them."""
    positive_R1 = rows.candidate_RC[:, :1]
    found_R = (candidate_RK == positive_R1).any(axis=1)
    rival_RK = (candidate_RK >= 0) & (candidate_RK != positive_R1)
    rivals_R = rival_RK.sum(axis=1)
    rank_R = np.full(len(rows), MISSED, dtype=np.int64)
    for count in np.unique(rivals_R[found_R]):  # rows with equally many candidates are scored together
        place_P = np.flatnonzero(found_R & (rivals_R == count))
        rival_PC = candidate_RK[place_P][rival_RK[place_P]].reshape(len(place_P), count)
        candidate_PC = np.concatenate([positive_R1[place_P], rival_PC], axis=1)
        contest = dataclasses.replace(rows.take(place_P), candidate_RC=candidate_PC)
        rank_R[place_P] = rank_positives(scorer, contest, _ROWS)
    return rank_R
