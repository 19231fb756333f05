"""A trained baseline over requests, in GenSR's place: logits of candidates.

Dimensions: G groups, P of them in a pass, K candidates, L history.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import Self

from gensr_dist.baselines.contract import Baseline
from gensr_dist.baselines.weights import collator_for, open_baseline, settings_of
from gensr_dist.data.batches.batch import ContextBatch
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.batches.shown import ShownMoments
from gensr_dist.data.events import Behaviour
from gensr_dist.data.tensors import map_tensors
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.retrieval.requests import Requests
from gensr_dist.runs.trained_run import TrainedRun

Int = NDArray[np.int64]


class BaselineRequestScorer:
    """Passes of as many candidates as the baseline takes.

    Args:
        name: of the baseline.
        model: in evaluation mode, on `device`.
        collator: with context.
        device: where the model lies.
    """

    def __init__(self, name: str, model: Baseline, collator: Collator, device: torch.device) -> None:
        self.name, self.model, self.collator, self.device = name, model, collator, device

    @classmethod
    def open(cls, name: str, trained: TrainedRun) -> Self:
        """A baseline of a run.

        Args:
            name: of the registry.
            trained: the run, without items that came after training.

        Raises:
            InputError: there is no such baseline, it is not trained in this run, or from other shards or vectors.
        """
        assert len(trained.item_IE) == trained.store.items
        settings = settings_of(name, trained.folder)
        data, ranks = trained.data, Ranks.alone()
        model = open_baseline(name, settings, data, trained.folder.baseline(name), ranks)
        return cls(name, model, collator_for(settings, data), ranks.device)

    @torch.no_grad()
    def log_odds(self, requests: Requests, item_GK: Int) -> NDArray[np.float32]:
        """Logits of all candidates [G, K]; anything at padding (-1).

        Raises:
            InputError: the baseline does not serve the task, or gives NaN.
        """
        if requests.task not in self.model.tasks:
            served = " and ".join(TASK_NAMES[task] for task in sorted(self.model.tasks))
            problem = f"it serves {served} alone, and this is {TASK_NAMES[requests.task]}"
            if requests.task == Behaviour.RECOMMENDATION:
                problem += ", as is a query without a known word"
            raise InputError(f"baseline {self.name}", problem, "choose another of `gensr baseline --list`")
        logit_GK = np.zeros(item_GK.shape, dtype=np.float32)
        most = self.model.candidates_a_pass
        groups = max(1, most // max(1, item_GK.shape[1]))
        for first in range(0, len(requests), groups):
            group_P = np.arange(first, min(first + groups, len(requests)))
            own = requests.take(group_P)
            for start in range(0, item_GK.shape[1], most):
                part = slice(start, start + most)
                batch = map_tensors(self._batch(own, item_GK[group_P, part]), lambda tensor: tensor.to(self.device))
                logit_GK[group_P, part] = self.model.score(batch).float().cpu().numpy()
        if np.isnan(logit_GK[item_GK >= 0]).any():
            problem = "its weights give scores that are not a number"
            remedy = f"train it again, with a lower {self.name}.learning_rate"
            raise InputError(f"baseline {self.name}", problem, remedy)
        return logit_GK

    def _batch(self, requests: Requests, item_PK: Int) -> ContextBatch:
        batch = requests.batch(self.collator, item_PK, self._moments(requests))
        assert isinstance(batch, ContextBatch)
        return batch

    def _moments(self, requests: Requests) -> ShownMoments:
        """What is known of the histories besides items; a request is asked right after its newest interaction."""
        length = self.collator.history
        if requests.user_G is None or requests.history_end_G is None:
            nothing_PL = np.zeros((len(requests), length), dtype=np.int64)
            return ShownMoments(nothing_PL - 1, nothing_PL, nothing_PL[:, 0])
        query_PL, time_PL = self.collator.store.gather_moments(requests.user_G, requests.history_end_G, length)
        newest_P = time_PL.max(axis=1)
        return ShownMoments(query_PL, time_PL, newest_P + (newest_P > 0))
