"""How often the channels and their fusion find the positive of a test row; it costs no pass of T5.

Dimensions: R rows, K candidates.
"""

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.config import EvaluationConfig
from gensr_dist.evaluation.metrics import CANDIDATE_CUTOFFS, MISSED, CandidateMetrics
from gensr_dist.evaluation.protocol import draw_rows
from gensr_dist.retrieval.candidates import CandidateGenerator
from gensr_dist.retrieval.requests import asked_by
from gensr_dist.runs.trained_run import TrainedRun

FUSION = "fusion"


def evaluate_candidates(
    trained: TrainedRun, generator: CandidateGenerator, evaluation: EvaluationConfig, seed: int
) -> tuple[CandidateMetrics, ...]:
    """Recall of both tasks of a run on its test rows, all of them unless `evaluation.rows` draws some.

    Args:
        trained: the run.
        generator: of its candidates.
        evaluation: how many rows.
        seed: of the run.
    """
    metrics = []
    for task in Behaviour:
        rows = draw_rows(trained.store.eval_rows(Split.TEST, task), evaluation.rows, seed)
        if len(rows):
            metrics.append(candidate_metrics(generator, rows, trained.store, trained.items))
    return tuple(metrics)


def candidate_metrics(
    generator: CandidateGenerator, rows: EvalRows, store: TimelineStore, items: ItemStore
) -> CandidateMetrics:
    """Find each row's positive in every channel, in their union and in the fusion, as shares within the cutoffs.

    Args:
        generator: proposes.
        rows: of one task; their frozen negatives are not used.
        store: has the histories.
        items: has the queries.
    """
    task, most = Behaviour(int(rows.task_R[0])), max(CANDIDATE_CUTOFFS)
    ranks: dict[str, list[NDArray[np.int64]]] = {}
    for chunk, requests in asked_by(rows, store, items, "candidates"):
        found = generator.candidates(requests, most)
        for name, item_RK in {FUSION: found.item_GK, **found.proposals}.items():
            ranks.setdefault(name, []).append(_ranks(item_RK, chunk.candidate_RC[:, 0]))
    return CandidateMetrics.from_ranks(
        task, {name: np.concatenate(parts) for name, parts in ranks.items()}, fusion=FUSION
    )


def _ranks(item_RK: NDArray[np.int64], positive_R: NDArray[np.int64]) -> NDArray[np.int64]:
    hit_RK = item_RK == positive_R[:, None]
    return np.where(hit_RK.any(axis=1), hit_RK.argmax(axis=1) + 1, MISSED)
