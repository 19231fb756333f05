"""Batches of whole sequences, in which every position is a training row: for models that read a history from left to
right, a target costs about 1/L of what it costs as a row of its own.

A sequence holds consecutive training interactions of a user. Those of one moment follow each other in the order of the
log, so that a position may see an item of its target's moment, which rows of a `Batch` never do.

Dimensions: S sequences, L length, N negatives a position, K distinct queries (row 0 is none), Q query tokens, U
distinct items (slot 0 is padding), B items that all positions share as negatives, T training interactions of a window,
X = L + 1 interactions, P sequences of one window, R sequences of a step, M interactions and V users of a window, W
windows, G groups, C candidates, E width of a CF vector.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.order import SampleOrder
from gensr_dist.data.events import Behaviour
from gensr_dist.data.hashing import hash_key
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.shards.store import Window
from gensr_dist.errors import InputError

_NEGATIVES, _SHARED = 0x73657175656E, 0x7368617265  # name the uses of random numbers: all others have other keys
_REC = Behaviour.RECOMMENDATION.bit

Int = NDArray[np.int64]


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences over a table of their distinct items, targets and negatives."""

    user_S: Tensor  # int64
    item_SL: Tensor  # int64 slots of the item table, oldest first, padded at the end with 0
    behaviour_SL: Tensor  # int64: 0 padding, 1 recommendation, 2 search, 3 both
    history_query_SL: Tensor  # int64 rows of query_KQ; 0 for none
    query_KQ: Tensor  # int64 token ids, 0 is padding
    next_SL: Tensor  # int64 slots: the interaction that follows; 0 where the sequence ends
    is_target_SL: Tensor  # bool: it was recommended, so that this position predicts it
    next_is_later_SL: Tensor  # bool: it is of a later moment than the interaction of this position
    negative_SLN: Tensor  # int64 slots; 0 where there is no target
    shared_B: Tensor  # int64 slots
    item_U: Tensor  # int64 rows of the catalogue; -1 in slot 0
    cf_UE: Tensor  # float32; zeros in slot 0
    title_UT: Tensor  # int64 token ids
    step_targets: int  # targets of the whole optimizer step, over all ranks


@dataclass(frozen=True)
class _Sequences:
    """The sequences of one window, by place among the user's training interactions."""

    interaction_T: Int  # local, of all users
    user_S: Int  # local
    start_S: Int  # in interaction_T
    end_S: Int  # in interaction_T, exclusive
    target_S: Int  # positions with a target

    @classmethod
    def of(cls, window: Window, length: int) -> Self:
        """The newest `length` + 1 training interactions of each user, then those before, and so on."""
        histories, moments = window.histories, window.moments
        interaction_T = np.flatnonzero(moments.training_M)
        first_V = np.searchsorted(interaction_T, histories.user_start_V)
        size_V = np.diff(first_V)
        pieces_V = -(-np.maximum(size_V - 1, 0) // length)
        user_S = np.repeat(np.arange(len(size_V)), pieces_V)
        nth_S = np.arange(len(user_S)) - np.repeat(np.cumsum(pieces_V) - pieces_V, pieces_V)
        end_S = first_V[1:][user_S] - nth_S * length
        start_S = np.maximum(first_V[:-1][user_S], end_S - length - 1)
        recommended_T = np.append(0, np.cumsum(histories.behaviour_M[interaction_T] & _REC))
        target_S = recommended_T[end_S] - recommended_T[np.minimum(start_S + 1, end_S)]
        kept = target_S > 0
        return cls(interaction_T, user_S[kept], start_S[kept], end_S[kept], target_S[kept])


class SequenceLoader:
    """Gives a rank its sequences step by step.

    Args:
        collator: builds tables; its history is L.
        batch: sequences of a step, over all ranks.
        seed: of the run.
        negatives: draws those of each position.
        shared: B.
        rank: of this process.
        world: ranks.

    Raises:
        InputError: there is no sequence.
    """

    def __init__(
        self,
        collator: Collator,
        *,
        batch: int,
        seed: int,
        negatives: TrainingNegatives,
        shared: int,
        rank: int,
        world: int,
    ) -> None:
        self.collator, self.seed, self.negatives, self.shared = collator, seed, negatives, shared
        self.rank, self.world = rank, world
        self._sequences = [_Sequences.of(window, collator.history) for window in collator.store.windows()]
        sequences = [len(part.user_S) for part in self._sequences]
        if not sum(sequences):
            problem = "no user has two training interactions of which the later was recommended"
            raise InputError(collator.store.folder.place, problem, "prepare a longer log")
        self.order = SampleOrder(sequences, batch, seed)
        self._first_W = np.cumsum([0, *self.order.window_rows])

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every sequence is seen once."""
        return self.order.steps_per_epoch

    @cached_property
    def _targets(self) -> Int:
        return np.concatenate([part.target_S for part in self._sequences])

    def batches_of_step(self, step: int) -> list[SequenceBatch]:
        """This rank's sequences of a global step, in one batch; one without a target where there are too few."""
        number_R = self.order.rows_of_step(step)
        targets = int(self._targets[number_R].sum())
        epoch = self.order.epoch_of_step(step)
        shared_B = np.empty(0, dtype=np.int64)
        if self.shared:
            drawn = hash_key((self.seed, _SHARED, step, np.arange(self.shared)), self.shared)
            shared_B = np.unique((drawn % np.uint64(self.collator.store.items)).astype(np.int64))
        own_R = number_R[self.rank :: self.world]
        if len(own_R):
            return [self._batch(own_R, epoch, shared_B, targets)]
        stand_in = self._batch(number_R[:1], epoch, shared_B, targets)  # ranks take the same steps
        return [replace(stand_in, is_target_SL=torch.zeros_like(stand_in.is_target_SL))]

    def _batch(self, number_S: Int, epoch: int, shared_B: Int, targets: int) -> SequenceBatch:
        length, count = self.collator.history, self.negatives.count
        shape = (len(number_S), length)
        user_S = np.zeros(len(number_S), dtype=np.int64)
        item_SX = np.full((len(number_S), length + 1), -1)
        behaviour_SX = np.zeros(item_SX.shape, dtype=np.int64)
        query_SX = np.full(item_SX.shape, -1)
        time_SX = np.zeros(item_SX.shape, dtype=np.int64)
        negative_SLN = np.full((*shape, count), -1)
        for number in np.unique(np.searchsorted(self._first_W, number_S, side="right") - 1).tolist():
            window, part = self.collator.store.window(number), self._sequences[number]
            place_P = np.flatnonzero((number_S >= self._first_W[number]) & (number_S < self._first_W[number + 1]))
            own_P = number_S[place_P] - self._first_W[number]
            user_S[place_P] = part.user_S[own_P] + window.first_user
            index_PX = part.start_S[own_P][:, None] + np.arange(length + 1)
            real_PX = index_PX < part.end_S[own_P][:, None]
            interaction_PX = part.interaction_T[np.where(real_PX, index_PX, 0)]
            item_SX[place_P] = np.where(real_PX, window.histories.item_M[interaction_PX].astype(np.int64), -1)
            behaviour_SX[place_P] = np.where(real_PX, window.histories.behaviour_M[interaction_PX], 0)
            query_SX[place_P] = np.where(real_PX, window.moments.query_M[interaction_PX], -1)
            time_SX[place_P] = np.where(real_PX, window.moments.time_M[interaction_PX], 0)
            if count:
                row, column = np.nonzero(behaviour_SX[place_P, 1:] & _REC)
                interaction_R = interaction_PX[row, column + 1]
                drawn = self.negatives.draw(
                    window.seen_in_training,
                    None,
                    interaction_R,
                    part.user_S[own_P][row],
                    np.full(len(row), -1),
                    key=(self.seed, _NEGATIVES, epoch, interaction_R + window.first_interaction),
                )
                negative_SLN[place_P[row], column] = drawn.item_RC
        candidate_SX = np.concatenate(
            (item_SX[:, length:], negative_SLN.reshape(len(number_S), -1), np.tile(shared_B, (len(number_S), 1))),
            axis=1,
        )
        tables = self.collator.sequences(
            user_S, item_SX[:, :length], behaviour_SX[:, :length], query_SX[:, :length], candidate_SX
        )
        slot_SX = torch.cat((tables.history_GL, tables.candidate_GC[:, :1]), dim=1)
        negative_end = 1 + length * count
        return SequenceBatch(
            user_S=tables.user_G,
            item_SL=tables.history_GL,
            behaviour_SL=tables.behaviour_GL,
            history_query_SL=tables.history_query_GL,
            query_KQ=tables.query_KQ,
            next_SL=slot_SX[:, 1:],
            is_target_SL=torch.from_numpy((behaviour_SX[:, 1:] & _REC) > 0),
            next_is_later_SL=torch.from_numpy(time_SX[:, 1:] > time_SX[:, :-1]),
            negative_SLN=tables.candidate_GC[:, 1:negative_end].reshape(*shape, count),
            shared_B=tables.candidate_GC[0, negative_end:] if len(number_S) else torch.zeros(0, dtype=torch.int64),
            item_U=tables.item_U,
            cf_UE=tables.cf_UE,
            title_UT=tables.title_UT,
            step_targets=targets,
        )


def sequence_of(batch: ContextBatch) -> SequenceBatch:
    """The histories of rows to score, as sequences without targets."""
    nothing = batch.history_GL.new_zeros(batch.history_GL.shape)
    return SequenceBatch(
        user_S=batch.user_G,
        item_SL=batch.history_GL,
        behaviour_SL=batch.behaviour_GL,
        history_query_SL=batch.history_query_GL,
        query_KQ=batch.query_KQ,
        next_SL=nothing,
        is_target_SL=nothing.bool(),
        next_is_later_SL=~nothing.bool(),
        negative_SLN=nothing[:, :, None][:, :, :0],
        shared_B=nothing.new_zeros(0),
        item_U=batch.item_U,
        cf_UE=batch.cf_UE,
        title_UT=batch.title_UT,
        step_targets=0,
    )
