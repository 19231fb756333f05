"""What is asked of the catalogue: what next for these histories, or what fits their queries.

Dimensions: G groups (a history at a moment, perhaps with a query), M interactions of all histories, L newest of each, Q
query tokens, I items, K candidates, P chosen groups, R rows.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from typing_extensions import Self

from gensr_dist.data.batches.batch import Batch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.shown import ShownMoments
from gensr_dist.data.events import Behaviour
from gensr_dist.data.items import ItemStore
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.sorted_keys import ranges
from gensr_dist.data.timelines.rows import EvalRows

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

NEWEST = 20  # interactions that channels look at
_ROWS = 64  # at a time


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Groups of one task. Everything that is known of a user is the history."""

    start_G: Int  # [G + 1] into item_M
    item_M: Int  # whole histories, oldest first
    behaviour_M: Int  # as `Histories.behaviour_M`
    texts: tuple[str, ...] | None = None  # queries as they were typed; None: recommendations are wanted
    token_GQ: Int | None = None  # the queries' tokens, padded with 0
    allowed_I: Bool | None = None  # what may be answered; None: everything
    user_G: Int | None = None  # known users, whose own training events say nothing new of them; None: unknown ones
    history_end_G: Int | None = None  # of known users: where the store has the ends of their histories

    @classmethod
    def of_moments(
        cls,
        store: TimelineStore,
        user_G: Int,
        history_end_G: Int,
        *,
        texts: Sequence[str] | None = None,
        token_GQ: Int | None = None,
        allowed_I: Bool | None = None,
    ) -> Self:
        """Histories of known users.

        Args:
            store: has them.
            user_G: users.
            history_end_G: end of what may be looked at, counted over all users (`EvalRows.history_end_R`).
            texts: queries.
            token_GQ: their tokens.
            allowed_I: what may be answered.
        """
        length_G = history_end_G - store.history_span(user_G)[0]
        item_GL, behaviour_GL = store.gather_histories(user_G, history_end_G, int(length_G.max(initial=0)))
        there_GL = item_GL >= 0
        return cls(
            start_G=np.concatenate([[0], np.cumsum(there_GL.sum(axis=1))]),
            item_M=item_GL[there_GL],
            behaviour_M=behaviour_GL[there_GL],
            texts=None if texts is None else tuple(texts),
            token_GQ=token_GQ,
            allowed_I=allowed_I,
            user_G=user_G,
            history_end_G=history_end_G,
        )

    @classmethod
    def of_rows(cls, store: TimelineStore, items: ItemStore, rows: EvalRows) -> Self:
        """What evaluation rows of one task ask; a search whose row has no query has an empty one."""
        texts, token_RQ = None, None
        if rows.task_R[0] == Behaviour.SEARCH:
            token_RQ = np.zeros((len(rows), items.query_QT.shape[1]), dtype=np.int64)
            asked_R = rows.query_R >= 0
            token_RQ[asked_R] = items.query_QT[rows.query_R[asked_R]]
            texts = [items.queries[query] if query >= 0 else "" for query in rows.query_R.tolist()]
        return cls.of_moments(store, rows.user_R, rows.history_end_R, texts=texts, token_GQ=token_RQ)

    @property
    def task(self) -> Behaviour:
        """What is asked."""
        return Behaviour.RECOMMENDATION if self.texts is None else Behaviour.SEARCH

    @cached_property
    def item_GL(self) -> Int:
        """The NEWEST interactions' items, oldest first, padded at the end with -1."""
        return self.newest(NEWEST)[0]

    @cached_property
    def age_GL(self) -> Int:
        """0 for the newest interaction, 1 for the one before; negative where `item_GL` is padding."""
        length_G1 = (self.item_GL >= 0).sum(axis=1, keepdims=True)
        return length_G1 - 1 - np.arange(NEWEST)

    def newest(self, length: int) -> tuple[Int, Int]:
        """Items [G, L] and behaviours of the newest interactions, oldest first, padded at the end with -1 and 0."""
        end_G = self.start_G[1:]
        place_GL = np.maximum(self.start_G[:-1], end_G - length)[:, None] + np.arange(length)
        real_GL = place_GL < end_G[:, None]
        item_GL = np.full(real_GL.shape, -1, dtype=np.int64)
        behaviour_GL = np.zeros(real_GL.shape, dtype=np.int64)
        item_GL[real_GL], behaviour_GL[real_GL] = self.item_M[place_GL[real_GL]], self.behaviour_M[place_GL[real_GL]]
        return item_GL, behaviour_GL

    def seen(self, items: int) -> tuple[Int, int]:
        """Keys group x items + item of all histories, and the most interactions of a group."""
        length_G = np.diff(self.start_G)
        key_M = np.repeat(np.arange(len(self)), length_G) * items + self.item_M
        return key_M, int(length_G.max(initial=0))

    def batch(self, collator: Collator, item_GK: Int, moments: ShownMoments | None = None) -> Batch:
        """What a model is shown.

        Args:
            collator: of the model.
            item_GK: candidates; -1 pads.
            moments: of the histories, for a `ContextBatch`.
        """
        history_GL, behaviour_GL = self.newest(collator.history)
        token_GQ = self.token_GQ
        if token_GQ is None:
            token_GQ = np.zeros((len(self), collator.items.query_QT.shape[1]), dtype=np.int64)
        return collator.query(
            history_GL,
            behaviour_GL,
            np.full(len(self), int(self.task), dtype=np.int64),
            token_GQ,
            item_GK,
            texts=self.texts or (),
            user_G=self.user_G,
            moments=moments,
        )

    def without_queries(self) -> "Requests":
        """The same histories, asking for recommendations."""
        return dataclasses.replace(self, texts=None, token_GQ=None)

    def take(self, group_P: Int) -> "Requests":
        """Some of the groups."""
        length_P = np.diff(self.start_G)[group_P]
        place_M = ranges(self.start_G[group_P], length_P)
        return Requests(
            start_G=np.concatenate([[0], np.cumsum(length_P)]),
            item_M=self.item_M[place_M],
            behaviour_M=self.behaviour_M[place_M],
            texts=None if self.texts is None else tuple(self.texts[group] for group in group_P.tolist()),
            token_GQ=None if self.token_GQ is None else self.token_GQ[group_P],
            allowed_I=self.allowed_I,
            user_G=None if self.user_G is None else self.user_G[group_P],
            history_end_G=None if self.history_end_G is None else self.history_end_G[group_P],
        )

    def __len__(self) -> int:
        return len(self.start_G) - 1


def asked_by(
    rows: EvalRows, store: TimelineStore, items: ItemStore, progress: str
) -> Iterator[tuple[EvalRows, Requests]]:
    """Some evaluation rows of one task at a time, and what they ask.

    Args:
        rows: at least one.
        store: has the histories.
        items: has the queries.
        progress: label of the progress bar.
    """
    label = f"{progress}, {Behaviour(int(rows.task_R[0])).name.lower()}"
    with tqdm(total=len(rows), desc=label, unit="row", disable=None) as bar:
        for start in range(0, len(rows), _ROWS):
            chunk = rows.take(np.arange(start, min(start + _ROWS, len(rows))))
            yield chunk, Requests.of_rows(store, items, chunk)
            bar.update(len(chunk))
