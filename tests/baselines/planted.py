"""Batches in which one thing alone tells the answer.

Dimensions: G rows, L history, C candidates.
"""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from gensr_dist.baselines.contract import LogFacts, SequenceBaseline
from gensr_dist.baselines.registry import BASELINES
from gensr_dist.data.batches.batch import HISTORY_FEATURES, QUERY_FEATURES, ContextBatch
from gensr_dist.data.batches.sequences import SequenceBatch, sequence_of
from gensr_dist.data.events import Behaviour
from tests.baselines.builders import no_edges, small_settings
from tests.baselines.learning import share_after_training

ITEMS, USERS, LENGTH, CANDIDATES = 20, 30, 4, 10
HOUR = 3_600_000
Clue = Literal["past query", "last item", "query"]
FACTS = LogFacts(
    items=ITEMS,
    users=USERS,
    tokenizer=range(ITEMS + 1),  # of which models need the length alone
    cf_width=4,
    cf_scale=1.0,
    popularity_I=np.ones(ITEMS, dtype=np.int64),
    title_IT=np.zeros((ITEMS, 2), dtype=np.int32),
    edges=no_edges,
)


def planted(clue: Clue, rows: int, seed: int) -> ContextBatch:
    """Rows whose positive is named by their only past query, follows their last item, or is named by their query.

    Word w, the whole of query w, names item w - 1. All else is random.
    """
    rng = np.random.default_rng(seed)
    item_GL = rng.integers(0, ITEMS, (rows, LENGTH))
    behaviour_GL = rng.choice([1, 3], (rows, LENGTH)) if clue != "past query" else np.ones((rows, LENGTH), dtype=int)
    query_GL = np.where(behaviour_GL == 3, rng.integers(1, ITEMS + 1, (rows, LENGTH)), 0)
    positive_G = rng.integers(0, ITEMS, rows)
    if clue == "past query":
        place_G = rng.integers(0, LENGTH, rows)
        behaviour_GL[np.arange(rows), place_G] = rng.choice([2, 3], rows)
        query_GL[np.arange(rows), place_G] = positive_G + 1
    if clue == "last item":
        positive_G = (item_GL[:, -1] + 1) % ITEMS
    shift_GC = np.argsort(rng.random((rows, ITEMS - 1)), axis=1)[:, : CANDIDATES - 1] + 1
    candidate_GC = np.concatenate((positive_G[:, None], (positive_G[:, None] + shift_GC) % ITEMS), axis=1)
    own_query_G1 = positive_G[:, None] + 1 if clue == "query" else np.zeros((rows, 1), dtype=int)
    label_GC = np.zeros((rows, CANDIDATES), dtype=int)
    label_GC[:, 0] = 1
    task = Behaviour.SEARCH if clue == "query" else Behaviour.RECOMMENDATION
    slots = ITEMS + 1
    return ContextBatch(
        row_G=torch.arange(rows),
        user_G=torch.from_numpy(rng.integers(0, USERS, rows)),
        task_G=torch.full((rows,), int(task)),
        query_GQ=torch.from_numpy(own_query_G1),
        history_GL=torch.from_numpy(item_GL + 1),
        behaviour_GL=torch.from_numpy(behaviour_GL),
        candidate_GC=torch.from_numpy(candidate_GC + 1),
        label_GC=torch.from_numpy(label_GC),
        item_U=torch.arange(slots) - 1,
        cf_UE=torch.zeros(slots, FACTS.cf_width),
        title_UT=torch.zeros(slots, 2, dtype=torch.int64),
        log_chance_GC=torch.zeros(rows, CANDIDATES),
        query_evidence_GCF=torch.zeros(rows, CANDIDATES, QUERY_FEATURES),
        history_evidence_GCF=torch.zeros(rows, CANDIDATES, HISTORY_FEATURES),
        step_groups=rows,
        query_KQ=torch.arange(ITEMS + 1)[:, None],
        history_query_GL=torch.from_numpy(query_GL),
        time_GL=HOUR * (1 + torch.arange(LENGTH)).expand(rows, -1),
        now_G=torch.full((rows,), HOUR * (1 + LENGTH)),
    )


def as_sequence(batch: ContextBatch) -> SequenceBatch:
    """Its histories, each with its positive as the target of the last place."""
    sequence = sequence_of(batch)
    next_SL, is_target_SL = sequence.next_SL.clone(), sequence.is_target_SL.clone()
    next_SL[:, -1], is_target_SL[:, -1] = batch.candidate_GC[:, 0], True
    return replace(sequence, next_SL=next_SL, is_target_SL=is_target_SL, step_targets=len(batch.user_G))


def hits_after_training(name: str, clue: Clue, until: float = 1.0) -> float:
    """`share_after_training` of rows in which a clue tells the answer; .1 by chance."""
    torch.manual_seed(0)
    model = BASELINES[name].build(small_settings(name, width=32, history=LENGTH), FACTS)

    def loss(step: int) -> torch.Tensor:
        batch = planted(clue, 128, seed=step)
        return model(as_sequence(batch) if isinstance(model, SequenceBaseline) else batch).total

    return share_after_training(model, loss, planted(clue, 512, seed=10_000), learning_rate=3e-3, until=until)
