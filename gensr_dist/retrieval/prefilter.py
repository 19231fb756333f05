"""The prefilter: a few hundred items of the catalogue that GenSR then scores.

Dimensions: G groups (a user at a moment), K candidates, D ranks of a channel that count, L history, M ranked proposals
of a group, E width of a CF vector, I items, S items already met, Q query tokens.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError
from gensr_dist.retrieval.channels.contract import Channel, Requests
from gensr_dist.retrieval.channels.lexical import Lexical
from gensr_dist.retrieval.channels.lightgcn import LightGCNView
from gensr_dist.retrieval.channels.neighbours import COVISITATION, TEXT, Neighbours
from gensr_dist.retrieval.channels.popularity import PopularItems
from gensr_dist.retrieval.channels.query_clicks import QueryClicks
from gensr_dist.retrieval.channels.semantic import SemanticView
from gensr_dist.retrieval.channels.words import query_words
from gensr_dist.retrieval.fusion import reciprocal_ranks
from gensr_dist.retrieval.index import REMEDY, CatalogueIndex
from gensr_dist.trained_run import TrainedRun

Int = NDArray[np.int64]

HISTORY = 20  # newest interactions that channels see
DEPTH = 500  # ranks of a channel that count, however few candidates are wanted: more candidates begin with the same
# Channels of the fusion and their weights; the others are only measured. Chosen on validation rows of Amazon Beauty,
# whose queries are the items' categories: the weight of lexical search keeps it in reach where queries are typed.
RECOMMENDATION: Mapping[str, float] = {"neighbours": 1, "lightgcn": 1}
SEARCH: Mapping[str, float] = {"clicks": 1, "lexical": 0.3}


class Prefilter:
    """Proposes candidates from all channels.

    Args:
        index: of the catalogue.
        store: histories.
        item_IE: CF vectors of items, float32.
        user_VE: CF vectors of users; zero for a user without training event.
        popularity_I: positive training events of each item.
        exclude_seen: leave out items that the user interacted with (positively) before the moment of the request.

    Raises:
        InputError: index, CF vectors and store are not of one catalogue.
    """

    def __init__(
        self,
        index: CatalogueIndex,
        store: TimelineStore,
        item_IE: NDArray[np.float32],
        user_VE: NDArray[np.float32],
        popularity_I: NDArray[np.integer],
        *,
        exclude_seen: bool,
    ) -> None:
        if not index.items == store.items == len(item_IE):
            raise InputError(
                "index", f"made for {index.items} items, the shards hold {store.items}, CF {len(item_IE)}", REMEDY
            )
        self.index, self.store, self.exclude_seen = index, store, exclude_seen
        arrays, log_popularity_I = index.arrays, np.log1p(popularity_I.astype(np.float32))
        visited, texts = (COVISITATION, arrays.covisited_II), (TEXT, arrays.text_II)
        no_visits, no_words = "no user met two items in training", "no two item texts share a word"
        mix = Neighbours([visited, texts], log_popularity_I, empty=f"{no_visits}, and {no_words}")
        self.popular = PopularItems(popularity_I)
        lightgcn = LightGCNView(index.nearest_cf, item_IE, user_VE, len(index.row_J["cf"]))
        self.recommending: Mapping[str, Channel] = {
            "neighbours": mix,
            "covisitation": Neighbours([visited], log_popularity_I, empty=no_visits),
            "text": Neighbours([texts], log_popularity_I, empty=no_words),
            "lightgcn": lightgcn,
            "popularity": self.popular,
        }
        self.searching: Mapping[str, Channel] = {
            "clicks": QueryClicks(arrays.clicks, mix, log_popularity_I),
            "lexical": Lexical(arrays.bm25_WI, mix, log_popularity_I),
            "semantic": SemanticView(index.nearest_text, len(index.row_J["semantic"])),
        }

    @classmethod
    def of(cls, trained: TrainedRun, *, exclude_seen: bool) -> Self:
        """Open the index of a trained run.

        Raises:
            InputError: it is missing or broken, or was made for another catalogue.
        """
        return cls(
            CatalogueIndex.open(trained.folder.index),
            trained.store,
            trained.item_IE,
            trained.user_VE,
            trained.items.popularity_I,
            exclude_seen=exclude_seen,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Channels that never propose anything, and why."""
        channels = {**self.recommending, **self.searching}
        reasons = {name: channel.empty for name, channel in channels.items()}
        return tuple(f"channel {name!r} is empty: {reason}" for name, reason in reasons.items() if reason)

    def recommendations(self, user_G: Int, history_end_G: Int, k: int) -> Int:
        """Fused channels, topped up by popularity: distinct items [G, K], -1 pads at the end.

        Args:
            user_G: users.
            history_end_G: end of the history that may be looked at, counted over all users (`EvalRows.history_end_R`).
            k: candidates wanted; fewer come back where the catalogue has no more unseen items.
        """
        return self.recommendations_by_channel(user_G, history_end_G, k, ())[1]

    def search(self, user_G: Int, history_end_G: Int, query_GQ: Int, texts: Sequence[str], k: int) -> Int:
        """Fused channels of the query, topped up by recommendations: distinct items [G, K], -1 pads at the end.

        Args:
            user_G: users.
            history_end_G: end of the history that may be looked at.
            query_GQ: token ids, padded with 0.
            texts: the same queries as they were typed.
            k: candidates wanted.
        """
        return self.search_by_channel(user_G, history_end_G, query_GQ, texts, k, ())[1]

    def recommendations_by_channel(
        self, user_G: Int, history_end_G: Int, k: int, names: Sequence[str]
    ) -> tuple[dict[str, Int], Int]:
        """Unseen proposals [G, D] of the named channels and of those in the fusion, and `recommendations`."""
        seen_S, most = self._seen(user_G, history_end_G)
        requests = Requests(user_G=user_G, item_GL=self.store.gather_histories(user_G, history_end_G, HISTORY)[0])
        found = self._ask(self.recommending, {*names, *RECOMMENDATION}, requests, seen_S, most, k)
        return found, self._recommended(found, seen_S, most, k)

    def search_by_channel(
        self, user_G: Int, history_end_G: Int, query_GQ: Int, texts: Sequence[str], k: int, names: Sequence[str]
    ) -> tuple[dict[str, Int], Int]:
        """Unseen proposals [G, D] of the named channels and of those in the fusion, and the answer of `search`."""
        seen_S, most = self._seen(user_G, history_end_G)
        requests = Requests(
            user_G=user_G,
            item_GL=self.store.gather_histories(user_G, history_end_G, HISTORY)[0],
            word_GW=query_words(texts, self.index.arrays.hash_W),
            token_GQ=query_GQ,
        )
        found = self._ask(self.searching, {*names, *SEARCH}, requests, seen_S, most, k)
        fused_GK = _fused(found, SEARCH, k)
        short_P = np.flatnonzero(fused_GK[:, -1] < 0)
        if len(short_P):
            rest_PK = self.recommendations(user_G[short_P], history_end_G[short_P], 2 * k)
            # Of 2 K others at most K are repeats, so that what is left fills every place that can be filled.
            nothing_S = np.empty(0, dtype=np.int64)
            fused_GK[short_P] = self._first_unseen([fused_GK[short_P], rest_PK], nothing_S, k)
        return found, fused_GK

    def without_seen(self, user_G: Int, history_end_G: Int) -> Int:
        """The whole catalogue [G, I] with -1 in place of what `exclude_seen` leaves out, padding last."""
        seen_S, _ = self._seen(user_G, history_end_G)
        every_GI = np.broadcast_to(np.arange(self.store.items), (len(user_G), self.store.items))
        return self._first_unseen([every_GI], seen_S, self.store.items)

    def _ask(
        self, channels: Mapping[str, Channel], names: set[str], requests: Requests, seen_S: Int, most: int, k: int
    ) -> dict[str, Int]:
        """What each channel proposes, freed of seen items, so that no group depends on how much another has seen."""
        depth = max(DEPTH, k)
        return {
            name: self._first_unseen([channel.propose(requests, depth + most).item_GK], seen_S, depth)
            for name, channel in channels.items()
            if name in names
        }

    def _recommended(self, found: Mapping[str, Int], seen_S: Int, most: int, k: int) -> Int:
        fused_GK = _fused(found, RECOMMENDATION, k)
        first_M = self.popular.popular_I[: k + most]
        popular_GM = np.broadcast_to(first_M, (len(fused_GK), len(first_M)))
        return self._first_unseen([fused_GK, popular_GM], seen_S, k)

    def _seen(self, user_G: Int, history_end_G: Int) -> tuple[Int, int]:
        """Keys group * I + item of what is left out, and the most of a group."""
        if not self.exclude_seen:
            return np.empty(0, dtype=np.int64), 0
        start_G, _ = self.store.history_span(user_G)
        most = int((history_end_G - start_G).max(initial=0))
        item_GL, _ = self.store.gather_histories(user_G, history_end_G, most)
        key_GL = np.arange(len(user_G))[:, None] * self.store.items + item_GL
        return key_GL[item_GL >= 0], most

    def _first_unseen(self, proposals: list[Int], seen_S: Int, k: int) -> Int:
        """First k distinct unseen items of each group, in the order of the proposals."""
        item_GM = np.concatenate(proposals, axis=1)
        group_G1 = np.arange(len(item_GM))[:, None]
        keep_GM = (item_GM >= 0) & ~np.isin(group_G1 * self.store.items + item_GM, seen_S)
        order_GM = np.argsort(item_GM, axis=1, kind="stable")
        sorted_GM = np.take_along_axis(item_GM, order_GM, axis=1)
        repeated_GM = np.zeros_like(keep_GM)
        repeated_GM[:, 1:] = sorted_GM[:, 1:] == sorted_GM[:, :-1]
        keep_GM[group_G1, order_GM] &= ~repeated_GM
        first_GK = np.argsort(~keep_GM, axis=1, kind="stable")[:, :k]
        return np.where(keep_GM[group_G1, first_GK], item_GM[group_G1, first_GK], -1)


def _fused(found: Mapping[str, Int], weights: Mapping[str, float], k: int) -> Int:
    return reciprocal_ranks([found[name] for name in weights], list(weights.values()), k)
