"""From rows to batches: histories, candidates, labels and the table of the batch's distinct items.

Dimensions as in `batch.py`; N events of the log, R rows, K item slots of a batch before duplicates are merged.
"""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from gensr_dist.data.batch import IGNORED, Batch
from gensr_dist.data.items import ItemStore
from gensr_dist.data.negatives import sample_unmet
from gensr_dist.data.order import PADDING
from gensr_dist.data.rows import EvalRows, training_rows
from gensr_dist.data.store import TimelineStore
from gensr_dist.errors import InputError

_TRAINING = 0x747261696E  # names this use of random numbers: evaluation negatives have other keys

Int = NDArray[np.int64]


class Collator:
    """Builds batches from memory-mapped arrays; holds no copy of them, so that worker processes share their pages.

    Args:
        store: timelines of all users.
        items: title and query tokens.
        cf_IE: CF vectors, float32, usually memory-mapped.
        history: newest interactions L that a batch shows.

    Raises:
        InputError: the CF vectors are not those of this catalogue.
    """

    def __init__(self, store: TimelineStore, items: ItemStore, cf_IE: NDArray[np.float32], history: int) -> None:
        if len(cf_IE) != len(items.title_IT):
            raise InputError(
                "cf/items.npy",
                f"{len(cf_IE)} vectors for a catalogue of {len(items.title_IT)} items",
                "run `gensr lightgcn` on these shards",
            )
        self.store = store
        self.items = items
        self.cf_IE = cf_IE
        self.history = history

    def share_with_workers(self) -> None:
        """Build what training batches need beside the arrays on disk, so that forked processes share it."""
        _ = self.training_event_R, self.store.histories, self.store.met_in_training, self.store.timelines.user_N

    @cached_property
    def training_event_R(self) -> Int:
        """Event of each training row."""
        return training_rows(self.store.timelines)

    def training(self, rows_G: Int, *, epoch: int, seed: int, negatives: int, step_groups: int) -> Batch:
        """Groups of a training positive (candidate 0) and `negatives` items that its user never met.

        The negatives depend on (seed, epoch, row) alone. "Met" is known from the training split: if held-out items were
        spared as negatives, that would give them away.

        Args:
            rows_G: places in `training_event_R`; -1 pads.
            epoch: of the sample order.
            seed: of the run.
            negatives: C - 1.
            step_groups: unpadded groups of the whole optimizer step.

        Raises:
            InputError: a user has met so many items that too few are left.
        """
        timelines = self.store.timelines
        real_G = rows_G != PADDING
        row_G = rows_G[real_G]
        event_G = self.training_event_R[row_G]
        user_G = timelines.user_N[event_G]
        candidate_GC = np.empty((len(row_G), 1 + negatives), dtype=np.int64)
        candidate_GC[:, 0] = timelines.item_N[event_G]
        candidate_GC[:, 1:] = sample_unmet(
            self.store.met_in_training,
            user_G,
            negatives,
            items=self.store.items,
            key=(seed, _TRAINING, epoch, row_G),
        )
        return self._batch(
            row_G=rows_G,
            real_G=real_G,
            user_G=user_G,
            task_G=timelines.behaviour_N[event_G].astype(np.int64),
            query_GQ=self._query_tokens(timelines.query_N[event_G]),
            history_end_G=self.store.histories.end_of_event_N[event_G],
            candidate_GC=candidate_GC,
            step_groups=step_groups,
        )

    def evaluation(self, rows: EvalRows) -> Batch:
        """Groups of a held-out positive (candidate 0) and its frozen negatives; `row_G` counts within `rows`."""
        groups = len(rows)
        return self._batch(
            row_G=np.arange(groups),
            real_G=np.ones(groups, dtype=bool),
            user_G=rows.user_R,
            task_G=rows.task_R,
            query_GQ=self._query_tokens(rows.query_R),
            history_end_G=rows.history_end_R,
            candidate_GC=rows.candidate_RC,
            step_groups=groups,
        )

    def query(self, user_G: Int, history_end_G: Int, task_G: Int, query_token_GQ: Int, candidate_GC: Int) -> Batch:
        """Groups to be scored for users now; candidates of -1 pad, and every other label is 0."""
        groups = len(user_G)
        return self._batch(
            row_G=np.arange(groups),
            real_G=np.ones(groups, dtype=bool),
            user_G=user_G,
            task_G=task_G,
            query_GQ=query_token_GQ,
            history_end_G=history_end_G,
            candidate_GC=candidate_GC,
            first_label=0,
            step_groups=groups,
        )

    def _query_tokens(self, query_G: NDArray[np.integer]) -> Int:
        """Tokens of queries, zeros where the query is -1; [G, Q]."""
        query_QT = self.items.query_QT
        token_GQ = np.zeros((len(query_G), query_QT.shape[1]), dtype=np.int64)
        searched_G = query_G >= 0
        token_GQ[searched_G] = query_QT[query_G[searched_G]]
        return token_GQ

    def _batch(
        self,
        *,
        row_G: Int,
        real_G: NDArray[np.bool_],
        user_G: Int,
        task_G: Int,
        query_GQ: Int,
        history_end_G: Int,
        candidate_GC: Int,
        step_groups: int,
        first_label: int = 1,
    ) -> Batch:
        """Every array but `row_G` and `real_G` covers the real groups only; padded ones come out zero."""
        history_GL, behaviour_GL = self.store.histories.gather(user_G, history_end_G, self.history)
        label_GC = np.zeros(candidate_GC.shape, dtype=np.int64)
        label_GC[:, 0] = first_label
        label_GC[candidate_GC == PADDING] = IGNORED

        # The item -1 of padding is appended so that it sorts first and its slot is always 0.
        item_K = np.concatenate(([PADDING], history_GL.ravel(), candidate_GC.ravel()))
        item_U, slot_K = np.unique(item_K, return_inverse=True)
        cf_UE = self.cf_IE[item_U]
        title_UT = self.items.title_IT[item_U].astype(np.int64)
        cf_UE[0] = 0
        title_UT[0] = 0

        def padded(values: NDArray[np.generic], fill: int = 0) -> torch.Tensor:
            if real_G.all():
                return torch.from_numpy(values)
            whole = np.full((len(real_G), *values.shape[1:]), fill, dtype=np.int64)
            whole[real_G] = values
            return torch.from_numpy(whole)

        return Batch(
            row_G=torch.from_numpy(row_G),
            user_G=padded(user_G),
            task_G=padded(task_G),
            query_GQ=padded(query_GQ),
            history_GL=padded(slot_K[1 : 1 + history_GL.size].reshape(history_GL.shape)),
            behaviour_GL=padded(behaviour_GL.astype(np.int64)),
            candidate_GC=padded(slot_K[1 + history_GL.size :].reshape(candidate_GC.shape)),
            label_GC=padded(label_GC, IGNORED),
            item_U=torch.from_numpy(item_U),
            cf_UE=torch.from_numpy(cf_UE),
            title_UT=torch.from_numpy(title_UT),
            step_groups=step_groups,
        )
