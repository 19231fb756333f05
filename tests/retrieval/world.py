"""A small random log with all channels over it, requests of it, and the comparison of scores with brute force.

Dimensions: G groups, M interactions of all histories, I items, Q queries, T title tokens, V vocabulary, E width of a CF
vector, D of a text vector, H of the match towers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gensr_dist.data.repeated_searches import RepeatedSearches
from gensr_dist.data.sparse_vectors import counted
from gensr_dist.retrieval.channels.channel_set import ChannelSet
from gensr_dist.retrieval.channels.contract import Scores
from gensr_dist.retrieval.channels.dense_scores import VectorIndex
from gensr_dist.retrieval.channels.sources import ChannelSources
from gensr_dist.retrieval.channels.stage import ChannelArrays
from gensr_dist.retrieval.faiss_index import build_faiss
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.semantic import pool, weighted_tokens

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

VOCABULARY, TITLE, QUERY = 60, 5, 3


def text_of(tokens: Sequence[int]) -> str:
    """A token is a word."""
    return " ".join(f"w{token}" for token in tokens if token)


def vector_index(vector_ID: Float32, kind: Literal["flat", "ivf", "hnsw"] = "flat") -> VectorIndex:
    """Over the items whose vector is not zero."""
    row_J = np.flatnonzero(vector_ID.any(axis=1))
    built = build_faiss(vector_ID[row_J], vector_ID[row_J][:50], kind=kind, neighbours=20, seed=0)
    return VectorIndex(built.index, row_J)


@dataclass(frozen=True, kw_only=True)
class World:
    """A log and what is learnt from it."""

    sources: ChannelSources
    arrays: ChannelArrays
    texts: list[str]
    queries: list[str]
    query_QT: Int
    item_IE: Float32
    item_IH: Float32
    history_IH: Float32  # what each item of a history adds to the user's vector
    token_VH: Float32  # what each token of a query adds
    weighted_VD: Float32
    title_IT: NDArray[np.int32]
    popularity_I: Int

    @property
    def items(self) -> int:
        """I."""
        return len(self.popularity_I)

    def users(self, requests: Requests) -> Float32:
        """A user tower: sums of rows."""
        user_GH = np.zeros((len(requests), self.item_IH.shape[1]), dtype=np.float32)
        for group in range(len(requests)):
            own = requests.item_M[requests.start_G[group] : requests.start_G[group + 1]]
            user_GH[group] = self.history_IH[own].sum(axis=0)
            if requests.token_GQ is not None:
                user_GH[group] += self.token_VH[requests.token_GQ[group]].sum(axis=0)
        return user_GH

    def channels(self, kind: Literal["flat", "ivf", "hnsw"] = "flat") -> ChannelSet:
        """All of them."""
        return ChannelSet.over(
            self.arrays,
            {
                "cf": vector_index(self.item_IE, kind),
                "semantic": vector_index(pool(self.title_IT, self.weighted_VD), kind),
                "tower": vector_index(self.item_IH, kind),
            },
            item_IE=self.item_IE,
            item_IH=self.item_IH,
            weighted_VD=self.weighted_VD,
            title_IT=self.title_IT,
            popularity_I=self.popularity_I,
            users=self.users,
        )

    def requests(
        self, seed: int = 0, *, groups: int = 9, search: bool = False, allowed_I: Bool | None = None
    ) -> Requests:
        """Random histories, of the first group none; queries of the log, of words of the texts, and of none."""
        rng = np.random.default_rng(seed)
        length_G = rng.integers(0, 30, groups)
        length_G[:1] = 0
        start_G = np.concatenate([[0], np.cumsum(length_G)])
        token_GQ = rng.integers(3, VOCABULARY, (groups, QUERY))
        if len(self.query_QT):
            token_GQ[::2] = self.query_QT[rng.integers(0, len(self.query_QT), len(token_GQ[::2]))]
        token_GQ[-1:] = 0
        return Requests(
            start_G=start_G,
            item_M=rng.integers(0, self.items, start_G[-1]),
            behaviour_M=rng.integers(1, 4, start_G[-1]),
            texts=tuple(text_of(token_Q) or "unheard of" for token_Q in token_GQ.tolist()) if search else None,
            token_GQ=token_GQ if search else None,
            allowed_I=allowed_I,
        )


def random_world(
    seed: int = 0, *, items: int = 120, users: int = 25, events: int = 400, queries: int = 20, silent: bool = False
) -> World:
    """Some items lack a CF vector, a text or a tower vector; a silent world has no events, texts and queries."""
    rng = np.random.default_rng(seed)
    events, queries = (0, 0) if silent else (events, queries)
    user_M, item_M = np.sort(rng.integers(0, users, events)), rng.integers(0, items, events)
    title_IT = rng.integers(3, VOCABULARY, (items, TITLE)).astype(np.int32)
    title_IT[:, 3:][rng.random((items, TITLE - 3)) < 0.5] = 0
    title_IT[7 % items] = 0
    if silent:
        title_IT[:] = 0
    query_QT = rng.integers(3, VOCABULARY, (queries, QUERY))
    asked = max(0, queries - 1)  # the last one is never asked
    searches = 3 * queries if asked else 0
    found = rng.integers(0, items, searches), rng.integers(0, max(1, asked), searches)
    texts, typed = [text_of(row) for row in title_IT.tolist()], [text_of(row) for row in query_QT.tolist()]
    sources = ChannelSources.from_texts(
        pl.Series(texts, dtype=pl.String),
        pl.Series(typed, dtype=pl.String),
        user_M=user_M,
        item_M=item_M,
        time_M=rng.integers(0, 50, events),
        found_IQ=counted(*found, (items, queries)),
        repeated=RepeatedSearches.among(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)),
    )

    def normal(*shape: int) -> Float32:
        return rng.normal(size=shape).astype(np.float32)

    item_IE, item_IH = normal(items, 8), normal(items, 6)
    item_IE[:3] = 0
    item_IH[5:7] = 0
    token_VH = normal(VOCABULARY, 6)
    token_VH[0] = 0
    return World(
        sources=sources,
        arrays=ChannelArrays.build(sources),
        texts=texts,
        queries=typed,
        query_QT=query_QT,
        item_IE=item_IE,
        item_IH=item_IH,
        history_IH=normal(items, 6),
        token_VH=token_VH,
        weighted_VD=weighted_tokens(normal(VOCABULARY, 10), title_IT),
        title_IT=title_IT,
        popularity_I=np.bincount(item_M, minlength=items),
    )


def newest_first(requests: Requests, group: int, most: int = 20) -> list[int]:
    """Items of one history."""
    return requests.item_M[requests.start_G[group] : requests.start_G[group + 1]].tolist()[::-1][:most]


def check_scores(scores: Scores, expected_GI: Float, possible_GI: Bool, k: int) -> None:
    """`of` gives the scores of brute force, and `best` the k highest of the items that may be proposed.

    Args:
        scores: of all groups.
        expected_GI: of every item.
        possible_GI: what is proposed if k is large enough.
        k: asked for.
    """
    items = expected_GI.shape[1]
    tolerance = 1e-5 * max(1.0, float(np.abs(expected_GI).max(initial=0)))
    for item_C in (np.arange(items), np.random.default_rng(0).permutation(np.arange(-1, items))):
        of_GC = scores.of(np.tile(item_C, (len(expected_GI), 1)))
        assert of_GC.dtype == np.float32
        np.testing.assert_allclose(of_GC[:, item_C >= 0], expected_GI[:, item_C[item_C >= 0]], atol=tolerance)
    found = scores.best(k)
    for item_K, score_K, score_I, possible_I in zip(
        found.item_GK, found.score_GK, expected_GI, possible_GI, strict=True
    ):
        count = min(k, int(possible_I.sum()))
        real_K = item_K[:count]
        assert (item_K[count:] == -1).all()
        assert np.isneginf(score_K[count:]).all()
        assert len(set(real_K.tolist())) == count
        assert possible_I[real_K].all()
        assert (np.diff(score_K[:count]) <= 0).all()
        np.testing.assert_allclose(score_K[:count], score_I[real_K], atol=tolerance)
        np.testing.assert_allclose(score_I[real_K], np.sort(score_I[possible_I])[::-1][:count], atol=tolerance)
