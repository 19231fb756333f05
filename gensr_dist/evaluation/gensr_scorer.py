"""GenSR as a scorer of evaluation rows.

Dimensions: R rows, C candidates, P rows of a window or of a pass.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.model.gensr import GenSR

ROWS_A_CALL = 512  # to give to `score` at once: passes of similar histories are chosen among them


class GenSRScorer:
    """Scores candidates by P(Yes) / (P(Yes) + P(No)) at the first answer position.

    Args:
        model: on `device`.
        collator: builds batches over the model's catalogue.
        device: where the model lies.
        prompts: candidates a pass, of all its rows together; a row with more has a pass of its own.
        training: the rows will be training rows, which read the CF vectors that training reads.
    """

    def __init__(
        self,
        model: GenSR,
        collator: Collator,
        device: torch.device | str,
        prompts: int,
        *,
        training: bool = False,
    ) -> None:
        self.model = model
        self.collator = collator
        self.device = device
        self.prompts = prompts
        self.training = training

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Log-odds of Yes, [R, C]: they order like the probability, but do not saturate at 1.

        The number of passes depends on R and C alone, so that ranks with equally many rows stay in step where weights
        are gathered in the forward pass.
        """
        return self.scores_and_losses(rows)[0]

    def scores_and_losses(self, rows: EvalRows) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Log-odds as `score` gives them, and from the same passes the task loss of each row [R].

        The loss is the mean of -log P(answer) over the row's candidates (eq. 9), the answer being one of Yes and No.
        """
        score_RC = np.empty(rows.candidate_RC.shape, dtype=np.float32)
        loss_R = np.empty(len(rows), dtype=np.float32)
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():  # not inference_mode: ZeRO-3 keeps what it gathers here for training
                for place_P in self._passes(rows):
                    score_RC[place_P], loss_R[place_P] = self._pass(rows.take(place_P))
        finally:
            self.model.train(was_training)
        return score_RC, loss_R

    def _passes(self, rows: EvalRows) -> Iterator[NDArray[np.int64]]:
        """Places of each pass's rows, by window of the log and, within it, from long histories to short ones."""
        store, history = self.collator.store, self.collator.history
        size = max(1, self.prompts // rows.candidate_RC.shape[1])
        waiting = np.empty(0, dtype=np.int64)
        for window, place_P in store.parts_of_users(rows.user_R):
            start_P = window.histories.user_start_V[rows.user_R[place_P] - window.first_user]
            length_P = np.minimum(rows.history_end_R[place_P] - window.first_interaction - start_P, history)
            waiting = np.concatenate((waiting, place_P[np.argsort(-length_P, kind="stable")]))
            while len(waiting) >= size:
                yield waiting[:size]
                waiting = waiting[size:]
        if len(waiting):
            yield waiting

    def _pass(self, rows: EvalRows) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        inputs = self.model.inputs(self.collator.evaluation(rows, training=self.training)).to(self.device)
        output = self.model(inputs, "answers")
        return output.yes_log_odds_GC.float().cpu().numpy(), output.nll_GC.float().mean(1).cpu().numpy()
