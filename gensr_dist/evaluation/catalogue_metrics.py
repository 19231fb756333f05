"""How well the answers over the whole catalogue are ordered, and by what.

Dimensions: R rows, P rows whose positive is answered, H channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.events import Behaviour
from gensr_dist.evaluation.metrics import CUTOFF, MISSED, TaskMetrics
from gensr_dist.evaluation.significance import PairedTest, paired_test

ANSWERS, CANDIDATES, LOG_ODDS, COUNTING = "answers", "candidates", "gensr", "counting"
ORDERS: Mapping[str, str] = {
    ANSWERS: "Answers: channels and GenSR",
    CANDIDATES: "Candidates as generated, without GenSR",
    LOG_ODDS: "Candidates by GenSR alone",
    COUNTING: "Counting over every item",
}


@dataclass(frozen=True, kw_only=True)
class ChannelHits:
    """What a channel has to do with the rows whose positive is among the first CUTOFF answers."""

    proposed: float  # share of them that it proposed
    alone: float  # share that no other channel proposed


@dataclass(frozen=True, kw_only=True)
class CatalogueMetrics:
    """Ranking of the positives of one task among all items that their users had not met."""

    task: Behaviour
    orders: Mapping[str, TaskMetrics]  # ANSWERS first; a positive that is no candidate is a miss
    leads: Mapping[str, PairedTest]  # of the answers over each other order, same rows
    candidates: int  # a row
    candidate_recall: float  # share of rows whose positive is among them
    hits: Mapping[str, ChannelHits]  # by channel that proposes

    @classmethod
    def from_ranks(
        cls,
        task: Behaviour,
        ranks: Mapping[str, NDArray[np.int64]],
        proposed: Mapping[str, NDArray[np.bool_]],
        user_R: NDArray[np.int64],
        *,
        candidates: int,
        resamples: int,
        seed: int,
    ) -> Self:
        """From ranks [R] by order, MISSED where a positive is no candidate.

        Args:
            task: of the rows.
            ranks: by order.
            proposed: whether each channel proposed each row's positive [R].
            user_R: user of each row.
            candidates: a row.
            resamples: of intervals and tests; 0 makes none.
            seed: of the resampling.
        """
        answer_R = ranks[ANSWERS]
        (hit_P,) = np.nonzero(answer_R <= CUTOFF)
        by_PH = np.stack([each_R[hit_P] for each_R in proposed.values()], axis=1)
        alone_PH = by_PH & (by_PH.sum(axis=1, keepdims=True) == 1)
        share = 1 / max(1, len(hit_P))
        return cls(
            task=task,
            orders={
                name: TaskMetrics.from_ranks(rank_R, user_R, resamples=resamples, seed=seed)
                for name, rank_R in ranks.items()
            },
            leads={
                name: paired_test(answer_R, rank_R, user_R, resamples=resamples, seed=seed)
                for name, rank_R in ranks.items()
                if name != ANSWERS and resamples
            },
            candidates=candidates,
            candidate_recall=float(np.mean(answer_R != MISSED)),
            hits={
                name: ChannelHits(proposed=float(by_P.sum() * share), alone=float(alone_P.sum() * share))
                for name, by_P, alone_P in zip(proposed, by_PH.T, alone_PH.T, strict=True)
            },
        )
