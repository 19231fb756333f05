"""Candidate generation: a few hundred items of the catalogue that GenSR then scores.

Dimensions: G groups, K candidates, M proposals of all channels, D ranks of a channel that count, F channels that score,
I items, S items already met, P groups of a kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gensr_dist.data.events import Behaviour
from gensr_dist.retrieval.channels.channel_set import ChannelSet
from gensr_dist.retrieval.channels.contract import Scores
from gensr_dist.retrieval.fusion.learnt_order import LearntOrder
from gensr_dist.retrieval.fusion.reciprocal_ranks import reciprocal_ranks
from gensr_dist.retrieval.requests import Requests

Int = NDArray[np.int64]
Float32 = NDArray[np.float32]

DEPTH = 500  # ranks of a channel that count, however few candidates are wanted: more candidates begin with the same
# Weights of reciprocal ranks, until a fusion is fitted. Chosen on validation rows of Amazon Beauty, whose queries are
# the items' categories: the weight of lexical search keeps it in reach where queries are typed.
RECIPROCAL: Mapping[Behaviour, Mapping[str, float]] = {
    Behaviour.RECOMMENDATION: {"neighbours": 1, "lightgcn": 1, "tower": 1},
    Behaviour.SEARCH: {"clicks": 1, "lexical": 0.3, "tower": 1},
}


@dataclass(frozen=True)
class Candidates:
    """Distinct items of each group, best first, and what the channels think of them."""

    item_GK: Int  # padded at the end with -1
    score_GKF: Float32  # of every channel that scores the task, in its order; anything at padding
    proposals: Mapping[str, Int]  # of each channel that proposes: its unseen items [G, D], best first, -1 pads

    def rank(self, channel: str) -> Int:
        """Rank of each candidate in a channel, from 1; 0 where it was not proposed there; [G, K]."""
        proposed_GD = self.proposals[channel]
        width = 1 + int(max(proposed_GD.max(initial=0), self.item_GK.max(initial=0)))
        group_G1 = np.arange(len(self.item_GK))[:, None] * width
        key_S = (group_G1 + proposed_GD)[proposed_GD >= 0]
        rank_S = np.broadcast_to(np.arange(1, proposed_GD.shape[1] + 1), proposed_GD.shape)[proposed_GD >= 0]
        order_S = np.argsort(key_S)
        key_S, rank_S = np.append(key_S[order_S], -1), np.append(rank_S[order_S], 0)
        wanted_GK = np.where(self.item_GK >= 0, group_G1 + self.item_GK, -2)
        place_GK = np.searchsorted(key_S[:-1], wanted_GK)
        return np.where(key_S[place_GK] == wanted_GK, rank_S[place_GK], 0)


class CandidateGenerator:
    """Asks all channels and fuses their answers.

    Args:
        channels: of both tasks.
        items: I.
        exclude_seen: leave out items of the history.
        fusion: of a task, fitted on the scores of the channels; without one, reciprocal ranks.
    """

    def __init__(
        self,
        channels: ChannelSet,
        items: int,
        *,
        exclude_seen: bool,
        fusion: Mapping[Behaviour, LearntOrder] | None = None,
    ) -> None:
        self.channels, self.items, self.exclude_seen = channels, items, exclude_seen
        self.fusion = fusion or {}

    def fused(self, fusion: Mapping[Behaviour, LearntOrder]) -> "CandidateGenerator":
        """The same with a fitted fusion."""
        return CandidateGenerator(self.channels, self.items, exclude_seen=self.exclude_seen, fusion=fusion)

    def features(self, task: Behaviour) -> tuple[str, ...]:
        """Names of the channels that score a task's candidates."""
        return tuple(self.channels.scoring(task))

    def left_out(self, requests: Requests) -> tuple[Int, int]:
        """Keys group x I + item of what is left out, and the most of a group."""
        if not self.exclude_seen:
            return np.empty(0, dtype=np.int64), 0
        return requests.seen(self.items)

    def candidates(self, requests: Requests, k: int) -> Candidates:
        """The k best of the fusion, topped up by recommendations (where queries find too few) and by popularity.

        Args:
            requests: of one task.
            k: wanted; fewer come back where no more unseen items are allowed.
        """
        seen_S, most = self.left_out(requests)
        proposals, scores = self._ask(requests, seen_S, most, k)
        fusion = self.fusion.get(requests.task)
        if fusion is None:
            weights = RECIPROCAL[requests.task]
            item_GK = reciprocal_ranks([proposals[name] for name in weights], list(weights.values()), k)
            score_GKF = None
        else:
            item_GM = self._first_unseen(list(proposals.values()), np.empty(0, dtype=np.int64))
            item_GK, score_GKF = _best(item_GM, _scored(scores, item_GM), fusion, k)
        if len(item_GK) and item_GK[:, -1].min() < 0:
            item_GK, score_GKF = self._topped_up(requests, item_GK, seen_S, most, k), None
        if score_GKF is None:
            score_GKF = _scored(scores, item_GK)
        return Candidates(item_GK, score_GKF, proposals)

    def proposed(self, requests: Requests, k: int) -> Candidates:
        """Everything that some channel proposes among its first k or DEPTH, in no order: what a fusion is fitted on."""
        seen_S, most = self.left_out(requests)
        proposals, scores = self._ask(requests, seen_S, most, k)
        item_GM = self._first_unseen(list(proposals.values()), np.empty(0, dtype=np.int64))
        return Candidates(item_GM, _scored(scores, item_GM), proposals)

    def _ask(self, requests: Requests, seen_S: Int, most: int, k: int) -> tuple[dict[str, Int], list[Scores]]:
        """Each channel's unseen proposals, so that no group depends on how much another has seen; all scores."""
        depth = max(DEPTH, k)
        scores = {name: channel.scores(requests) for name, channel in self.channels.scoring(requests.task).items()}
        proposals = {
            name: self._first_unseen([scores[name].best(depth + most).item_GK], seen_S, depth)
            for name in self.channels.proposing(requests.task)
        }
        return proposals, list(scores.values())

    def _topped_up(self, requests: Requests, item_GK: Int, seen_S: Int, most: int, k: int) -> Int:
        """Fill groups that have fewer than k."""
        short_P = np.flatnonzero(item_GK[:, -1] < 0)
        if requests.task == Behaviour.SEARCH:
            more_PK = self.candidates(requests.without_queries().take(short_P), k).item_GK
        else:
            more_PK = self.channels.popular.scores(requests.take(short_P)).best(k + most).item_GK
        # Keys of seen items name a group by its place.
        place_S, item_S = np.divmod(seen_S, self.items)
        at_S = np.searchsorted(short_P, place_S)
        among_S = (at_S < len(short_P)) & (short_P[np.minimum(at_S, len(short_P) - 1)] == place_S)
        seen_P = at_S[among_S] * self.items + item_S[among_S]
        filled_GK = item_GK.copy()
        filled_GK[short_P] = self._first_unseen([item_GK[short_P], more_PK], seen_P, k)
        return filled_GK

    def _first_unseen(self, proposals: Sequence[Int], seen_S: Int, k: int | None = None) -> Int:
        """First k distinct unseen items of each group, in the order of the proposals; all of them without k."""
        item_GM = np.concatenate(proposals, axis=1)
        group_G1 = np.arange(len(item_GM))[:, None]
        keep_GM = item_GM >= 0
        if len(seen_S):
            keep_GM &= ~np.isin(group_G1 * self.items + item_GM, seen_S)
        order_GM = np.argsort(item_GM, axis=1, kind="stable")
        sorted_GM = np.take_along_axis(item_GM, order_GM, axis=1)
        repeated_GM = np.zeros_like(keep_GM)
        repeated_GM[:, 1:] = sorted_GM[:, 1:] == sorted_GM[:, :-1]
        keep_GM[group_G1, order_GM] &= ~repeated_GM
        if k is None:
            k = max(1, int(keep_GM.sum(axis=1).max(initial=0)))
        first_GK = np.argsort(~keep_GM, axis=1, kind="stable")[:, :k]
        item_GK = np.where(keep_GM[group_G1, first_GK], item_GM[group_G1, first_GK], -1)
        return np.pad(item_GK, ((0, 0), (0, k - item_GK.shape[1])), constant_values=-1)


def _scored(scores: Sequence[Scores], item_GK: Int) -> Float32:
    """Every channel's scores of the candidates, [G, K, F]."""
    return np.stack([each.of(item_GK) for each in scores], axis=-1).astype(np.float32, copy=False)


def _best(item_GM: Int, score_GMF: Float32, fusion: LearntOrder, k: int) -> tuple[Int, Float32]:
    """The k candidates of highest fused score, equal ones in the order of the catalogue."""
    fused_GM = np.where(item_GM >= 0, fusion.score(score_GMF), -np.inf)
    order_GK = np.lexsort((item_GM, -fused_GM), axis=1)[:, :k]
    short = k - order_GK.shape[1]
    item_GK = np.pad(np.take_along_axis(item_GM, order_GK, axis=1), ((0, 0), (0, short)), constant_values=-1)
    score_GKF = np.take_along_axis(score_GMF, order_GK[:, :, None], axis=1)
    return item_GK, np.pad(score_GKF, ((0, 0), (0, short), (0, 0)))
