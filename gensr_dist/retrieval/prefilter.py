"""The prefilter: a few hundred items of the catalogue that GenSR then scores.

Dimensions: G groups (a user at a moment), K candidates, W = _CIRCLE * K, L history, M ranked proposals of a
group, E width of a CF vector, I items, S items already met.
"""

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.errors import InputError
from gensr_dist.retrieval.index import REMEDY, CatalogueIndex
from gensr_dist.retrieval.semantic import unit
from gensr_dist.trained_run import TrainedRun

Int = NDArray[np.int64]

_CIRCLE = 2  # times K nearest texts are put in the order of the user's taste
_NEWEST = 3  # interactions that stand for what the user wants now; the CF vector knows training events only


class Prefilter:
    """Proposes candidates from the index, the user's CF vector, the query and popularity.

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
        self.index, self.store, self.item_IE, self.user_VE = index, store, item_IE, user_VE
        self.exclude_seen = exclude_seen
        self.popular_I = np.argsort(-popularity_I.astype(np.int64), kind="stable")

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

    def recommendations(self, user_G: Int, history_end_G: Int, k: int) -> Int:
        """Nearest items in the CF view, topped up by popularity: distinct items [G, K], -1 pads at the end.

        A user is represented by the CF vector and the newest interactions in equal parts, or by one of them where the
        other is missing; without both, only popularity is left.

        Args:
            user_G: users.
            history_end_G: end of the history that may be looked at, counted over all users (`EvalRows.history_end_R`).
            k: candidates wanted; fewer come back where the catalogue has no more unseen items.
        """
        seen_S, most = self._seen(user_G, history_end_G)
        cf_GM = self.index.nearest_cf(self._user_vectors(user_G, history_end_G), k + most)
        return self._first_unseen([cf_GM, self._popular(len(user_G), k + most)], seen_S, k)

    def search(self, user_G: Int, history_end_G: Int, query_GQ: Int, k: int) -> Int:
        """Half nearest texts, a quarter those of a wider circle of texts that fit the taste best, a quarter taste.

        Distinct items [G, K] as `recommendations` gives them; what one part lacks the others fill.

        Args:
            user_G: users.
            history_end_G: end of the history that may be looked at.
            query_GQ: token ids, padded with 0.
            k: candidates wanted.
        """
        seen_S, most = self._seen(user_G, history_end_G)
        user_GE = self._user_vectors(user_G, history_end_G)
        # Each part is freed of seen items first, so that no group depends on how much another one has seen.
        text_GW = self._first_unseen([self.index.nearest_text(query_GQ, _CIRCLE * k + most)], seen_S, _CIRCLE * k)
        taste_GW = self._by_taste(text_GW, user_GE)
        cf_GK = self._first_unseen([self.index.nearest_cf(user_GE, k + most)], seen_S, k)
        parts = (text_GW[:, 0::2], text_GW[:, 1::2], taste_GW[:, :k], cf_GK)
        mixed_GM = np.stack(parts, axis=2).reshape(len(user_G), -1)
        return self._first_unseen([mixed_GM, self._popular(len(user_G), k + most)], seen_S, k)

    def without_seen(self, user_G: Int, history_end_G: Int) -> Int:
        """The whole catalogue [G, I] with -1 in place of what `exclude_seen` leaves out, padding last."""
        seen_S, _ = self._seen(user_G, history_end_G)
        every_GI = np.broadcast_to(np.arange(self.store.items), (len(user_G), self.store.items))
        return self._first_unseen([every_GI], seen_S, self.store.items)

    def _user_vectors(self, user_G: Int, history_end_G: Int) -> NDArray[np.float32]:
        """Unit CF vector of each user plus the unit mean of its newest items, [G, E]; zero where there is neither."""
        item_GL, _ = self.store.gather_histories(user_G, history_end_G, _NEWEST)
        newest_GLE = np.where((item_GL >= 0)[..., None], self.item_IE[item_GL], 0)
        return unit(np.asarray(self.user_VE[user_G])) + unit(newest_GLE.sum(axis=1))

    def _by_taste(self, item_GW: Int, user_GE: NDArray[np.float32]) -> Int:
        """The same items in falling order of CF inner product; padding stays last."""
        score_GW = np.einsum("gwe,ge->gw", self.item_IE[item_GW], user_GE)
        order_GW = np.argsort(np.where(item_GW >= 0, -score_GW, np.inf), axis=1, kind="stable")
        return np.take_along_axis(item_GW, order_GW, axis=1)

    def _popular(self, groups: int, count: int) -> Int:
        first = self.popular_I[:count]
        return np.broadcast_to(first, (groups, len(first)))

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
