"""From rows to batches: histories, candidates, labels and the table of the batch's distinct items.

Dimensions as in `batch.py`; R rows, K item slots of a batch before duplicates are merged, F groups of a fold (in
evidence features), Z searching groups, P rows of one window, X all slots of the batch.
"""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray

from gensr_dist.data.batches.batch import HISTORY_FEATURES, IGNORED, QUERY_FEATURES, Batch, ContextBatch
from gensr_dist.data.batches.evidence import Evidence
from gensr_dist.data.batches.order import PADDING
from gensr_dist.data.batches.shown import ShownGroups, ShownMoments
from gensr_dist.data.batches.slot_table import SlotTable
from gensr_dist.data.item_vectors import WHOLE, ItemVectors
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.histories import taken
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.errors import InputError

_TRAINING = 0x747261696E  # names this use of random numbers: evaluation negatives have other keys

Int = NDArray[np.int64]


class Collator:
    """Builds batches from memory-mapped arrays; holds no copy of them, so that worker processes share their pages.

    Args:
        store: timelines of all users.
        items: title and query tokens.
        vectors: CF vectors, usually memory-mapped.
        history: newest interactions L that a batch shows.
        context: training and evaluation give a `ContextBatch`.
        evidence: told of candidates.

    Raises:
        InputError: the CF vectors are not those of this catalogue.
    """

    def __init__(
        self,
        store: TimelineStore,
        items: ItemStore,
        vectors: ItemVectors,
        history: int,
        *,
        context: bool = False,
        evidence: Evidence | None = None,
    ) -> None:
        if len(vectors) != len(items.title_IT):
            raise InputError(
                "cf/items.npy",
                f"{len(vectors)} vectors for a catalogue of {len(items.title_IT)} items",
                "run `gensr lightgcn` on these shards",
            )
        self.store = store
        self.items = items
        self.vectors = vectors
        self.history = history
        self.context = context
        self.evidence = evidence or Evidence()
        # Plain views: whatever is taken from a np.memmap itself is wrapped into one again.
        self._title_IT = np.asarray(items.title_IT)
        self._query_QT = np.asarray(items.query_QT)
        self._slots = SlotTable(len(vectors))

    def training(self, rows_G: Int, *, epoch: int, seed: int, negatives: TrainingNegatives, step_groups: int) -> Batch:
        """Groups of a training positive (candidate 0) and negatives that its user never saw, or was shown in vain.

        History and candidates have the vectors that were learnt without the user's fold. The negatives depend on
        (seed, epoch, row) alone.

        Args:
            rows_G: training rows, numbered in the order of the shards; -1 pads.
            epoch: of the sample order.
            seed: of the run.
            negatives: draws C - 1 a group.
            step_groups: unpadded groups of the whole optimizer step.

        Raises:
            InputError: a user has seen so many items that too few are left.
        """
        groups = len(rows_G)
        user_G = np.zeros(groups, dtype=np.int64)
        task_G = np.zeros(groups, dtype=np.int64)
        query_G = np.full(groups, -1, dtype=np.int64)
        time_G = np.zeros(groups, dtype=np.int64)
        history_GL = np.full((groups, self.history), PADDING, dtype=np.int64)
        behaviour_GL = np.zeros((groups, self.history), dtype=np.int64)
        candidate_GC = np.full((groups, 1 + negatives.count), PADDING, dtype=np.int64)
        log_chance_GC = np.zeros(candidate_GC.shape, dtype=np.float32)
        moments = ShownMoments(np.full(history_GL.shape, -1), np.zeros_like(history_GL), time_G)

        group_R = np.flatnonzero(rows_G != PADDING)
        row_R = rows_G[group_R]
        for window, place_P in self.store.parts_of_rows(row_R):
            timelines, group_P = window.timelines, group_R[place_P]
            event_P = window.training_event_R[row_R[place_P] - window.first_row]
            user_P = timelines.user_of(event_P)
            user_G[group_P] = user_P + window.first_user
            task_G[group_P] = timelines.behaviour_N[event_P]
            query_G[group_P] = timelines.query_N[event_P]
            time_G[group_P] = timelines.time_N[event_P]
            place_PL = window.histories.places(user_P, window.histories.end_of_event_N[event_P], self.history)
            history_GL[group_P] = taken(window.histories.item_M, place_PL, PADDING)
            behaviour_GL[group_P] = taken(window.histories.behaviour_M, place_PL, 0)
            if self.context:
                moments.query_GL[group_P] = taken(window.moments.query_M, place_PL, -1)
                moments.time_GL[group_P] = taken(window.moments.time_M, place_PL, 0)
            candidate_GC[group_P, 0] = timelines.item_N[event_P]
            drawn = negatives.draw(
                window.seen_in_training,
                window.exposures if negatives.hard else None,
                event_P,
                user_P,
                query_G[group_P],
                key=(seed, _TRAINING, epoch, row_R[place_P]),
            )
            candidate_GC[group_P, 1:], log_chance_GC[group_P, 1:] = drawn.item_RC, negatives.log_chance(drawn)
        shown = ShownGroups(
            row_G=rows_G,
            user_G=user_G,
            task_G=task_G,
            query_GQ=self._query_tokens(query_G),
            history_GL=history_GL,
            behaviour_GL=behaviour_GL,
            candidate_GC=candidate_GC,
            query_evidence_GCF=self.evidence.of_queries(task_G, candidate_GC, query_G, user_G),
            history_evidence_GCF=self.evidence.of_histories(history_GL, candidate_GC, time_G),
            fold_G=self._fold_of(user_G),
            moments=moments if self.context else None,
        )
        return self._batch(shown, step_groups, log_chance_GC=log_chance_GC)

    def evaluation(self, rows: EvalRows, *, training: bool = False) -> Batch:
        """Groups of a held-out positive (candidate 0) and its frozen negatives; `row_G` counts within `rows`.

        Args:
            rows: to rank.
            training: they are training rows, to be shown with the vectors that training reads.
        """
        history_GL, behaviour_GL = self.store.gather_histories(rows.user_R, rows.history_end_R, self.history)
        moments, time_R = None, None
        if self.context or training:
            time_R = self.store.times(rows.user_R, rows.event_R)
        if self.context and time_R is not None:
            query_GL, time_GL = self.store.gather_moments(rows.user_R, rows.history_end_R, self.history)
            moments = ShownMoments(query_GL, time_GL, time_R)
        shown = ShownGroups(
            row_G=np.arange(len(rows)),
            user_G=rows.user_R,
            task_G=rows.task_R,
            query_GQ=self._query_tokens(rows.query_R),
            history_GL=history_GL,
            behaviour_GL=behaviour_GL,
            candidate_GC=rows.candidate_RC,
            query_evidence_GCF=self.evidence.of_queries(
                rows.task_R, rows.candidate_RC, rows.query_R, rows.user_R if training else None
            ),
            history_evidence_GCF=self.evidence.of_histories(
                history_GL, rows.candidate_RC, time_R if training else None
            ),
            fold_G=self._fold_of(rows.user_R) if training else None,
            moments=moments,
        )
        return self._batch(shown, step_groups=len(rows))

    def query(
        self,
        history_GL: Int,
        behaviour_GL: Int,
        task_G: Int,
        query_token_GQ: Int,
        candidate_GC: Int,
        *,
        texts: Sequence[str],
        user_G: Int | None = None,
        moments: ShownMoments | None = None,
    ) -> Batch:
        """Groups to be scored for given histories, as `Histories.gather` gives them; candidates of -1 pad.

        Args:
            history_GL: items.
            behaviour_GL: how they were met.
            task_G: what is asked.
            query_token_GQ: what is typed, zeros for nothing.
            candidate_GC: to be scored.
            texts: what is typed, of each group; none where no group searches.
            user_G: who asks; None: nobody who is known.
            moments: of the histories; with them it is a `ContextBatch`.
        """
        shown = ShownGroups(
            row_G=np.arange(len(task_G)),
            user_G=np.full(len(task_G), PADDING, dtype=np.int64) if user_G is None else user_G,
            task_G=task_G,
            query_GQ=query_token_GQ,
            history_GL=history_GL,
            behaviour_GL=behaviour_GL,
            candidate_GC=candidate_GC,
            query_evidence_GCF=self.evidence.of_queries(task_G, candidate_GC, texts),
            history_evidence_GCF=self.evidence.of_histories(history_GL, candidate_GC),
            moments=moments,
        )
        return self._batch(shown, step_groups=len(task_G), first_label=0)

    def sequences(self, user_G: Int, item_GL: Int, behaviour_GL: Int, query_GL: Int, candidate_GC: Int) -> ContextBatch:
        """Training histories as they are given, with the vectors that training reads; -1 pads items and queries."""
        shown = ShownGroups(
            row_G=np.arange(len(user_G)),
            user_G=user_G,
            task_G=np.zeros(len(user_G), dtype=np.int64),
            query_GQ=self._query_tokens(np.full(len(user_G), -1)),
            history_GL=item_GL,
            behaviour_GL=behaviour_GL,
            candidate_GC=candidate_GC,
            query_evidence_GCF=np.zeros((*candidate_GC.shape, QUERY_FEATURES), dtype=np.float32),
            history_evidence_GCF=np.zeros((*candidate_GC.shape, HISTORY_FEATURES), dtype=np.float32),
            fold_G=self._fold_of(user_G),
        )
        batch = self._batch(shown, step_groups=len(user_G))
        return self._with_context(batch, ShownMoments(query_GL, np.zeros_like(item_GL), np.zeros_like(user_G)))

    def _query_tokens(self, query_G: NDArray[np.integer]) -> Int:
        """Tokens of queries, zeros where the query is -1; [G, Q]."""
        token_GQ = np.zeros((len(query_G), self._query_QT.shape[1]), dtype=np.int64)
        searched = np.flatnonzero(query_G >= 0)
        token_GQ[searched] = self._query_QT[query_G[searched]]
        return token_GQ

    def _fold_of(self, user_G: Int) -> Int | None:
        return self.vectors.fold_of(user_G) if self.vectors.folds else None

    def _batch(
        self,
        shown: ShownGroups,
        step_groups: int,
        first_label: int = 1,
        log_chance_GC: NDArray[np.float32] | None = None,
    ) -> Batch:
        length = shown.history_GL.shape[1]
        item_GK = np.concatenate((shown.history_GL, shown.candidate_GC), axis=1)
        item_U, cf_UE, slot_GK = self._tables(item_GK, shown.fold_G)
        label_GC = np.zeros(shown.candidate_GC.shape, dtype=np.int64)
        label_GC[:, 0] = first_label
        label_GC[shown.candidate_GC == PADDING] = IGNORED
        # Row -1 of slot 0 is the catalogue's last one: it is read, then cleared. `take` is 2 to 5 times as fast as [].
        title_UT = self._title_IT.take(item_U, axis=0).astype(np.int64)
        title_UT[0] = 0
        if log_chance_GC is None:
            log_chance_GC = np.zeros(shown.candidate_GC.shape, dtype=np.float32)
        batch = Batch(
            row_G=torch.from_numpy(shown.row_G),
            user_G=torch.from_numpy(shown.user_G),
            task_G=torch.from_numpy(shown.task_G),
            query_GQ=torch.from_numpy(shown.query_GQ),
            history_GL=torch.from_numpy(slot_GK[:, :length].astype(np.int64)),
            behaviour_GL=torch.from_numpy(shown.behaviour_GL),
            candidate_GC=torch.from_numpy(slot_GK[:, length:].astype(np.int64)),
            label_GC=torch.from_numpy(label_GC),
            item_U=torch.from_numpy(item_U),
            cf_UE=torch.from_numpy(cf_UE),
            title_UT=torch.from_numpy(title_UT),
            log_chance_GC=torch.from_numpy(log_chance_GC),
            query_evidence_GCF=torch.from_numpy(shown.query_evidence_GCF),
            history_evidence_GCF=torch.from_numpy(shown.history_evidence_GCF),
            step_groups=step_groups,
        )
        return batch if shown.moments is None else self._with_context(batch, shown.moments)

    def _with_context(self, batch: Batch, moments: ShownMoments) -> ContextBatch:
        query_K, slot_X = np.unique(np.append(moments.query_GL.ravel(), -1), return_inverse=True)  # -1 comes first
        return ContextBatch(
            **{field.name: getattr(batch, field.name) for field in fields(batch)},
            query_KQ=torch.from_numpy(self._query_tokens(query_K)),
            history_query_GL=torch.from_numpy(slot_X[:-1].reshape(moments.query_GL.shape)),
            time_GL=torch.from_numpy(moments.time_GL),
            now_G=torch.from_numpy(moments.now_G),
        )

    def _tables(self, item_GK: Int, fold_G: Int | None) -> tuple[Int, NDArray[np.float32], NDArray[np.int32]]:
        """Distinct pairs of fold and item, fold by fold: their item_U, their cf_UE, and the slot of each item_GK."""
        slot_GK = np.empty(item_GK.shape, dtype=np.int32)
        folds = [WHOLE] if fold_G is None else np.unique(fold_G).tolist()
        item_parts, first = [np.array([PADDING])], 1
        for fold in folds:
            group_F = slice(None) if fold_G is None else np.flatnonzero(fold_G == fold)
            item_FK = item_GK[group_F]
            part_U, slot_K = self._slots.number(item_FK.ravel(), first)
            slot_GK[group_F] = slot_K.reshape(item_FK.shape)
            item_parts.append(part_U)
            first += len(part_U)
        cf_UE = np.empty((first, self.vectors.width), dtype=np.float32)
        cf_UE[0] = 0
        start = 1
        for fold, part_U in zip(folds, item_parts[1:], strict=True):
            self.vectors.take(fold, part_U, cf_UE[start : start + len(part_U)])
            start += len(part_U)
        return np.concatenate(item_parts), cf_UE, slot_GK
