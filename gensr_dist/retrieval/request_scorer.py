"""GenSR over requests: log-odds of candidates, and vectors of the user tower.

Dimensions: G groups, P of them in a pass, K candidates, H width of the towers.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gensr_dist.data.batches.collate import Collator
from gensr_dist.errors import InputError
from gensr_dist.model.attention_weights import attended_history
from gensr_dist.model.gensr import GenSR
from gensr_dist.model.inputs import ModelInput
from gensr_dist.retrieval.requests import Requests

Int = NDArray[np.int64]
Float32 = NDArray[np.float32]

_GROUPS = 512  # a pass of the user tower


class RequestScorer:
    """Passes of groups with histories of similar length.

    Args:
        model: in evaluation mode, on `device`.
        collator: builds batches over the model's catalogue.
        device: where the model lies.
        prompts: candidates a pass; a group with more takes several.
    """

    def __init__(self, model: GenSR, collator: Collator, device: torch.device, prompts: int) -> None:
        self.model, self.collator, self.device, self.prompts = model, collator, device, prompts

    @torch.inference_mode()
    def log_odds(self, requests: Requests, item_GK: Int) -> Float32:
        """Log P(Yes) - log P(No) of every candidate [G, K]; anything at padding (-1).

        Raises:
            InputError: the model gives NaN.
        """
        log_odds_GK = np.zeros(item_GK.shape, dtype=np.float32)
        for group_P in _alike(requests, max(1, self.prompts // item_GK.shape[1])):
            own = requests.take(group_P)
            for start in range(0, item_GK.shape[1], self.prompts):
                part = slice(start, start + self.prompts)
                output = self.model(self._inputs(own, item_GK[group_P, part]), "answers")
                log_odds_GK[group_P, part] = output.yes_log_odds_GC.float().cpu().numpy()
        if np.isnan(log_odds_GK[item_GK >= 0]).any():  # CF vectors were checked when opened: it comes from the weights
            raise InputError(
                "the trained model",
                "its weights give scores that are not a number",
                "train again, with a lower train.learning_rate if that does not help",
            )
        return log_odds_GK

    @torch.inference_mode()
    def users(self, requests: Requests) -> Float32:
        """Vectors of the user tower [G, H]; zeros where there is neither history nor query."""
        parts: list[tuple[Int, Tensor]] = []
        for group_P in _alike(requests, _GROUPS):
            nothing_P1 = np.full((len(group_P), 1), -1, dtype=np.int64)
            user_PH = self.model.match_users(self._inputs(requests.take(group_P), nothing_P1))
            parts.append((group_P, user_PH.float().cpu()))
        user_GH = np.empty((len(requests), parts[0][1].shape[1]), dtype=np.float32)
        for group_P, user_PH in parts:
            user_GH[group_P] = user_PH.numpy()
        return user_GH

    @torch.inference_mode()
    def attended(self, requests: Requests, item_GK: Int) -> tuple[Float32, Float32]:
        """Shares [G, K, L] that both soft filters give the newest `history` interactions, oldest first; see
        `attended_history`.
        """
        attended = attended_history(self.model, self._inputs(requests, item_GK))
        return attended.cf_GCL.float().cpu().numpy(), attended.semantic_GCL.float().cpu().numpy()

    def _inputs(self, requests: Requests, item_PK: Int) -> ModelInput:
        return self.model.inputs(requests.batch(self.collator, item_PK)).to(self.device)


def _alike(requests: Requests, size: int) -> list[Int]:
    """Groups of each pass, from long histories to short ones."""
    order_G = np.argsort(-np.diff(requests.start_G), kind="stable")
    return [order_G[start : start + size] for start in range(0, len(order_G), size)]
