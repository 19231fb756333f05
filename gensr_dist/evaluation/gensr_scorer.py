"""GenSR as a scorer of evaluation rows.

Dimensions: R rows, C candidates.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.timelines.rows import EvalRows


class GenSRScorer:
    """Scores candidates by P(Yes) / (P(Yes) + P(No)) at the first answer position.

    Args:
        model: `GenSR`, or a wrapper with the same forward pass, on `device`.
        collator: builds batches over the model's catalogue.
        device: where the model lies.
        batch: groups a pass.
    """

    def __init__(self, model: torch.nn.Module, collator: Collator, device: torch.device | str, batch: int) -> None:
        self.model = model
        self.collator = collator
        self.device = device
        self.batch = batch

    def score(self, rows: EvalRows) -> NDArray[np.floating]:
        """Log-odds of Yes, [R, C]: they order like the probability, but do not saturate at 1."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():  # not inference_mode: ZeRO-3 keeps what it gathers here for training
                return np.concatenate(
                    [
                        self._pass(rows.take(np.arange(start, min(start + self.batch, len(rows)))))
                        for start in range(0, len(rows), self.batch)
                    ]
                )
        finally:
            self.model.train(was_training)

    def _pass(self, rows: EvalRows) -> NDArray[np.floating]:
        output = self.model(self.collator.evaluation(rows).to(self.device), likelihood=False)
        return output.yes_log_odds_GC.float().cpu().numpy()
