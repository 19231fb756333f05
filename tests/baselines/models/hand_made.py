"""Batches written by hand, and what models are made of in loops of float64.

Item i of the catalogue has slot i + 1, so that slot 0 is padding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gensr_dist.baselines.contract import LogFacts
from gensr_dist.data.batches.batch import HISTORY_FEATURES, QUERY_FEATURES, ContextBatch
from gensr_dist.data.batches.sequences import SequenceBatch
from tests.baselines.builders import no_edges

ITEMS, WORDS, D = 12, 9, 6
Slots = Sequence[Sequence[int]]


def hand_facts(items: int = ITEMS) -> LogFacts:
    return LogFacts(
        items=items,
        users=5,
        tokenizer=range(WORDS),
        cf_width=3,
        cf_scale=1.0,
        popularity_I=np.ones(items, dtype=np.int64),
        title_IT=np.zeros((items, 2), dtype=np.int32),
        edges=no_edges,
    )


def padded(rows: Slots, length: int) -> Tensor:
    return torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])


def _table(items: int) -> dict[str, Tensor]:
    """All items; item i has i % 3 words."""
    slot_U = torch.arange(items + 1)
    title_UT = torch.stack([1 + slot_U % (WORDS - 1), 1 + (5 * slot_U) % (WORDS - 1)], dim=1)
    words_U = torch.where(slot_U > 0, (slot_U - 1) % 3, 0)
    return {
        "item_U": slot_U - 1,
        "cf_UE": torch.zeros(items + 1, 3, dtype=torch.float64),
        "title_UT": title_UT * (torch.arange(2) < words_U[:, None]),
    }


def hand_rows(histories: Slots, candidates: Slots, length: int, items: int = ITEMS) -> ContextBatch:
    """Rows to score, all histories padded to `length`."""
    history_GL, candidate_GC = padded(histories, length), torch.tensor(candidates)
    rows = len(history_GL)
    nothing = torch.zeros_like(history_GL)
    return ContextBatch(
        row_G=torch.arange(rows),
        user_G=torch.zeros(rows, dtype=torch.int64),
        task_G=torch.zeros(rows, dtype=torch.int64),
        query_GQ=torch.zeros(rows, 1, dtype=torch.int64),
        history_GL=history_GL,
        behaviour_GL=(history_GL > 0).long(),
        candidate_GC=candidate_GC,
        label_GC=torch.zeros_like(candidate_GC),
        log_chance_GC=torch.zeros(candidate_GC.shape),
        query_evidence_GCF=torch.zeros(*candidate_GC.shape, QUERY_FEATURES),
        history_evidence_GCF=torch.zeros(*candidate_GC.shape, HISTORY_FEATURES),
        step_groups=rows,
        query_KQ=torch.zeros(1, 1, dtype=torch.int64),
        history_query_GL=nothing,
        time_GL=nothing,
        now_G=torch.zeros(rows, dtype=torch.int64),
        **_table(items),
    )


def hand_sequences(sequences: Slots, length: int, *, searched: Slots = (), shared: Sequence[int] = ()) -> SequenceBatch:
    """Sequences of up to `length` + 1 interactions; those at the places `searched` were not recommended.

    Two negatives a position: the slots behind its target's.
    """
    slot_SX = padded(sequences, length + 1)
    behaviour_SX = (slot_SX > 0).long()
    for sequence, places in enumerate(searched):
        behaviour_SX[sequence, list(places)] = 2
    next_SL = slot_SX[:, 1:]
    is_target_SL = behaviour_SX[:, 1:] == 1
    negative_SLN = torch.stack([1 + next_SL % ITEMS, 1 + (next_SL + 3) % ITEMS], dim=2) * is_target_SL[:, :, None]
    return SequenceBatch(
        user_S=torch.zeros(len(slot_SX), dtype=torch.int64),
        item_SL=slot_SX[:, :length],
        behaviour_SL=behaviour_SX[:, :length],
        history_query_SL=torch.zeros_like(next_SL),
        query_KQ=torch.zeros(1, 1, dtype=torch.int64),
        next_SL=next_SL,
        is_target_SL=is_target_SL,
        next_is_later_SL=torch.ones_like(is_target_SL),
        negative_SLN=negative_SLN,
        shared_B=torch.tensor(shared, dtype=torch.int64),
        step_targets=int(is_target_SL.sum()),
        **_table(ITEMS),
    )


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())
