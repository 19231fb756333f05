"""Fitting both orders, of candidates and of answers, on validation rows.

Dimensions: R rows, K candidates, M candidates of all rows, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.evaluation.protocol import draw_rows
from gensr_dist.retrieval.candidates import CandidateGenerator
from gensr_dist.retrieval.fusion.learnt_order import LearntOrder, fit_order
from gensr_dist.retrieval.ranker import GENSR, with_log_odds
from gensr_dist.retrieval.request_scorer import RequestScorer
from gensr_dist.retrieval.requests import asked_by

Int = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class FittedOrders:
    """What was fitted, by task; a task with too few validation rows has none."""

    fusion: Mapping[Behaviour, LearntOrder] = field(default_factory=dict)  # of candidates, on the channels' scores
    answers: Mapping[Behaviour, LearntOrder] = field(default_factory=dict)  # of answers, on those and GenSR's log-odds


def fit_orders(
    generator: CandidateGenerator,
    scorer: RequestScorer,
    store: TimelineStore,
    items: ItemStore,
    *,
    rows: int,
    candidates: int,
    seed: int,
) -> FittedOrders:
    """Fit the fusion on everything that channels propose, then the order of answers on its first candidates.

    Args:
        generator: without fusion.
        scorer: GenSR.
        store: has the validation rows.
        items: has their queries.
        rows: a task at most; 0 fits nothing.
        candidates: K that answers are chosen from.
        seed: of the draw of rows.
    """
    fusion: dict[Behaviour, LearntOrder] = {}
    answers: dict[Behaviour, LearntOrder] = {}
    for task in Behaviour if rows else ():
        drawn = draw_rows(store.eval_rows(Split.VALID, task), rows, seed)
        if not len(drawn):
            continue
        table = _Table()
        for chunk, requests in asked_by(drawn, store, items, "fusion"):
            proposed = generator.proposed(requests, candidates)
            table.add(proposed.item_GK, proposed.score_GKF, chunk.candidate_RC[:, 0])
        fitted = table.fit(generator.features(task))
        if fitted is None:
            continue
        fusion[task] = fitted
        fused = generator.fused({task: fitted})
        table = _Table()
        for chunk, requests in asked_by(drawn, store, items, "order of answers"):
            found = fused.candidates(requests, candidates)
            features_RKF = with_log_odds(found, scorer.log_odds(requests, found.item_GK))
            table.add(found.item_GK, features_RKF, chunk.candidate_RC[:, 0])
        ordered = table.fit((*generator.features(task), GENSR))
        if ordered is not None:
            answers[task] = ordered
    return FittedOrders(fusion=fusion, answers=answers)


class _Table:
    """Features of the candidates of many rows, float32, those whose positive is a candidate."""

    def __init__(self) -> None:
        self.features: list[NDArray[np.float32]] = []
        self.positive: list[int] = []
        self.start = [0]

    def add(self, item_RK: Int, feature_RKF: NDArray[np.float32], positive_R: Int) -> None:
        for item_K, feature_KF, positive in zip(item_RK, feature_RKF, positive_R.tolist(), strict=True):
            (at,) = np.nonzero(item_K[item_K >= 0] == positive)
            if len(at):
                self.features.append(feature_KF[item_K >= 0])
                self.positive.append(self.start[-1] + int(at[0]))
                self.start.append(self.start[-1] + len(self.features[-1]))

    def fit(self, features: tuple[str, ...]) -> LearntOrder | None:
        if not self.features:
            return None
        return fit_order(features, np.concatenate(self.features), np.array(self.start), np.array(self.positive))
