"""A trained baseline as a scorer of evaluation rows, among sampled negatives and over the whole catalogue.

Dimensions: R rows, C candidates, I items, H items of a history.
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from gensr_dist.baselines.contract import Baseline
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.tensors import map_tensors
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.evaluation.protocol import Scorer

ROWS_A_CALL = 4_096  # to give to `score` at once
_COLUMNS = 20_000  # items that are scored at a time


class BaselineScorer:
    """Scores by the baseline's logits.

    Args:
        model: on `device`.
        collator: with context.
        device: where the model lies.
        training: the rows will be training rows, which read the CF vectors that training reads.
    """

    def __init__(self, model: Baseline, collator: Collator, device: torch.device, *, training: bool = False) -> None:
        self.model, self.collator, self.device, self.training = model, collator, device, training

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Scores [R, C]."""
        score_RC = np.empty(rows.candidate_RC.shape, dtype=np.float32)
        size = max(1, self.model.candidates_a_pass // rows.candidate_RC.shape[1])
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                for start in range(0, len(rows), size):
                    place = slice(start, start + size)
                    batch = self.collator.evaluation(rows.take(np.arange(len(rows))[place]), training=self.training)
                    assert isinstance(batch, ContextBatch)
                    on_device = map_tensors(batch, lambda tensor: tensor.to(self.device))
                    score_RC[place] = self.model.scores(on_device).float().cpu().numpy()
        finally:
            self.model.train(was_training)
        return score_RC


def catalogue_ranks(scorer: Scorer, rows: EvalRows, store: TimelineStore, progress: str) -> NDArray[np.int64]:
    """Rank of each row's positive among all items that its user had not met by then; ties count against it.

    Args:
        scorer: gives the scores.
        rows: whose own candidates do not matter, the positives apart.
        store: of the log.
        progress: label of a progress bar.
    """
    rank_R = np.empty(len(rows), dtype=np.int64)
    item_I = np.arange(store.items)
    block = max(1, 2**21 // store.items)
    with tqdm(total=len(rows), desc=progress, unit="row", disable=None) as bar:
        for start in range(0, len(rows), block):
            chunk = rows.take(np.arange(start, min(start + block, len(rows))))
            positive_R1 = chunk.candidate_RC[:, :1]
            first_R, _ = store.history_span(chunk.user_R)
            longest = int((chunk.history_end_R - first_R).max())
            seen_RH, _ = store.gather_histories(chunk.user_R, chunk.history_end_R, longest)
            above_R = np.zeros(len(chunk), dtype=np.int64)
            for first in range(0, store.items, _COLUMNS):
                column_C = item_I[first : first + _COLUMNS]
                candidate_RC = np.concatenate((positive_R1, np.tile(column_C, (len(chunk), 1))), axis=1)
                score_RC = scorer.score(dataclasses.replace(chunk, candidate_RC=candidate_RC))
                beats_RC = ~(score_RC[:, 1:] < score_RC[:, :1])  # NaN counts against the positive
                for out_RH in (seen_RH, positive_R1):
                    row, place = np.nonzero((out_RH >= first) & (out_RH < first + len(column_C)))
                    beats_RC[row, out_RH[row, place] - first] = False
                above_R += beats_RC.sum(axis=1)
            rank_R[start : start + len(chunk)] = 1 + above_R
            bar.update(len(chunk))
    return rank_R
