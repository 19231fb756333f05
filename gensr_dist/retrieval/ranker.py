"""From requests to ordered answers: candidates, GenSR's log-odds, and the order that both together earn; or the logits
of a baseline, which order them alone.

Dimensions: G groups, K candidates, F channels that score.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.retrieval.candidates import CandidateGenerator, Candidates
from gensr_dist.retrieval.fusion.learnt_order import LearntOrder
from gensr_dist.retrieval.requests import Requests

GENSR = "gensr"  # its log-odds among the features of an order


class CandidateScorer(Protocol):
    """Whose scores order candidates: GenSR (`RequestScorer`) or a trained baseline (`BaselineRequestScorer`)."""

    def log_odds(self, requests: Requests, item_GK: NDArray[np.int64]) -> NDArray[np.float32]:
        """Log-odds of every candidate [G, K], higher is better; anything at padding (-1).

        Raises:
            InputError: the model gives NaN, or does not serve the task.
        """


@dataclass(frozen=True)
class Ranked:
    """Candidates in the order in which they were generated, with their scores."""

    candidates: Candidates
    log_odds_GK: NDArray[np.float32]  # of the scorer
    score_GK: NDArray[np.float64]  # that answers are ordered by; -inf at padding

    @property
    def order_GK(self) -> NDArray[np.int64]:
        """Places of candidates, the best first; equal scores in the order of the candidates."""
        return np.argsort(-self.score_GK, axis=1, kind="stable")


class Ranker:
    """Answers requests.

    Args:
        generator: of candidates.
        scorer: GenSR, or a baseline in its place.
        orders: of a task, fitted on the channels' scores and GenSR's log-odds; without one, the log-odds alone.
    """

    def __init__(
        self, generator: CandidateGenerator, scorer: CandidateScorer, orders: Mapping[Behaviour, LearntOrder]
    ) -> None:
        self.generator, self.scorer, self.orders = generator, scorer, orders

    def rank(self, requests: Requests, k: int) -> Ranked:
        """Score the k candidates of each group.

        Raises:
            InputError: as of `CandidateScorer.log_odds`.
        """
        candidates = self.generator.candidates(requests, k)
        return self.ordered(requests, candidates, self.scorer.log_odds(requests, candidates.item_GK))

    def ordered(self, requests: Requests, candidates: Candidates, log_odds_GK: NDArray[np.float32]) -> Ranked:
        """Order scored candidates.

        Args:
            requests: whose candidates they are.
            candidates: K of each.
            log_odds_GK: of the scorer.
        """
        order = self.orders.get(requests.task)
        score_GK = log_odds_GK.astype(np.float64)
        if order is not None:
            score_GK = order.score(with_log_odds(candidates, log_odds_GK))
        return Ranked(candidates, log_odds_GK, np.where(candidates.item_GK >= 0, score_GK, -np.inf))


def with_log_odds(candidates: Candidates, log_odds_GK: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features of a final order: the channels' scores and the log-odds, [G, K, F + 1]."""
    return np.concatenate([candidates.score_GKF, log_odds_GK[:, :, None]], axis=2)
