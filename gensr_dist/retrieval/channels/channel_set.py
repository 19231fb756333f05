"""The channels of both tasks over one index.

Dimensions: G groups, C candidates, I items, F channels that score, E width of a CF vector, H of the match towers, T
title tokens, V vocabulary, D width of the model, W words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from typing_extensions import Self

from gensr_dist.data.events import Behaviour
from gensr_dist.data.history_evidence import DECAY, LATEST
from gensr_dist.retrieval.channels.contract import Channel, Float32
from gensr_dist.retrieval.channels.dense_scores import VectorIndex
from gensr_dist.retrieval.channels.lexical import Lexical
from gensr_dist.retrieval.channels.lightgcn import LightGCNView
from gensr_dist.retrieval.channels.neighbours import COVISITATION, TEXT, Neighbours
from gensr_dist.retrieval.channels.popularity import PopularItems
from gensr_dist.retrieval.channels.semantic import SemanticView
from gensr_dist.retrieval.channels.session_neighbours import SessionNeighbours
from gensr_dist.retrieval.channels.stage import ChannelArrays
from gensr_dist.retrieval.channels.tower import MatchTower
from gensr_dist.retrieval.channels.word_search import WordSearch
from gensr_dist.retrieval.requests import Requests


@dataclass(frozen=True, kw_only=True)
class ChannelSet:
    """Channels by name."""

    recommending: Mapping[str, Channel]
    searching: Mapping[str, Channel]
    popular: PopularItems  # one of the first, which fills what the others leave

    @classmethod
    def over(
        cls,
        arrays: ChannelArrays,
        indices: Mapping[str, VectorIndex],
        *,
        item_IE: NDArray[np.float32],
        item_IH: NDArray[np.float32],
        weighted_VD: NDArray[np.float32],
        title_IT: NDArray[np.int32],
        popularity_I: NDArray[np.integer],
        users: Callable[[Requests], Float32],
    ) -> Self:
        """Make all channels.

        Args:
            arrays: lists.
            indices: of the views `cf`, `semantic` and `tower`.
            item_IE: CF vectors.
            item_IH: vectors of the item tower.
            weighted_VD: of `semantic.weighted_tokens`.
            title_IT: of the catalogue.
            popularity_I: positive training events of each item.
            users: gives vectors of the user tower.
        """
        log_popularity_I = np.log1p(popularity_I.astype(np.float32))
        visited, texts = (COVISITATION, arrays.covisited_II), (TEXT, arrays.text_II)
        no_visits, no_words = "no user met two items in training", "no two item texts share a word that few texts hold"

        def near(*parts: tuple[float, csr_array], empty: str, decay: float = DECAY) -> Neighbours:
            return Neighbours(list(parts), log_popularity_I, empty=empty, decay=decay)

        mix = near(visited, texts, empty=f"{no_visits}, and {no_words}")
        tower = MatchTower(indices["tower"], item_IH, users)
        popular = PopularItems(popularity_I)
        words = (arrays.hash_W, mix, log_popularity_I)
        return cls(
            recommending={
                "neighbours": mix,
                "covisitation": near(visited, empty=no_visits),
                "covisitation of the latest": near(visited, empty=no_visits, decay=LATEST),
                "text": near(texts, empty=no_words),
                "text of the latest": near(texts, empty=no_words, decay=LATEST),
                "sessions": SessionNeighbours(arrays.sessions),
                "lightgcn": LightGCNView(indices["cf"], item_IE),
                "tower": tower,
                "popularity": popular,
            },
            searching={
                "clicks": WordSearch(arrays.clicks, *words),
                "lexical": WordSearch(Lexical(arrays.bm25_WI), *words),
                "semantic": SemanticView(indices["semantic"], weighted_VD, title_IT),
                "tower": tower,
            },
            popular=popular,
        )

    def proposing(self, task: Behaviour) -> Mapping[str, Channel]:
        """Those that propose for a task."""
        return self.searching if task == Behaviour.SEARCH else self.recommending

    def scoring(self, task: Behaviour) -> Mapping[str, Channel]:
        """Those whose scores say something of a task's candidates: a search has the taste beside the query."""
        return {**self.proposing(task), **self.recommending}

    @property
    def notes(self) -> tuple[str, ...]:
        """Channels that never propose anything, and why."""
        reasons = {name: channel.empty for name, channel in {**self.recommending, **self.searching}.items()}
        return tuple(f"channel {name!r} is empty: {reason}" for name, reason in reasons.items() if reason)
