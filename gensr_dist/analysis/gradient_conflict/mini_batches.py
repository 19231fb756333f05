"""Gradients of both tasks on fixed mini-batches, of GenSR and of its peer.

Dimensions: M mini-batches, R rows of a task in one, K tasks, P weights of a layer, S of its sketch, N = M K
gradients.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gensr_dist.analysis.subject import OpenedPeer, Subject
from gensr_dist.baselines.contract import RowBaseline
from gensr_dist.data.batches.batch import Batch, ContextBatch
from gensr_dist.data.batches.chosen_order import rows_of_tasks
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.negatives.sampling import TrainingNegatives
from gensr_dist.data.tensors import map_tensors
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.model.config import Likelihood
from gensr_dist.runs.trained_run import TrainedRun
from gensr_dist.train.conflict import ALL, Layers, gradient_of, layers_of, task_loss_of
from gensr_dist.train.training_rows import training_negatives

MINI_BATCHES, FEWEST = 32, 8
ROWS = 32  # of a task in a mini-batch
_SEED = 0
_SKETCH = 1 << 18  # numbers that are kept of a layer's gradient

Floats = NDArray[np.float64]
Loss = Callable[[Batch, Behaviour], Tensor]  # of a batch of rows of one task


@dataclass(frozen=True, kw_only=True)
class MiniBatches:
    """The same training rows and negatives for every model."""

    row_MKR: NDArray[np.int64]  # training rows
    negatives: TrainingNegatives
    seed: int  # of the negatives

    @classmethod
    def of(cls, subject: Subject) -> "MiniBatches":
        """Draw them without putting back.

        Raises:
            InputError: a task has too few training rows.
        """
        data, random = subject.data, np.random.default_rng(_SEED)
        rows = {task: np.concatenate(rows_of_tasks(data.store, frozenset({task}))) for task in Behaviour}
        task, fewest = min(((task, len(row_R)) for task, row_R in rows.items()), key=lambda each: each[1])
        count = min(MINI_BATCHES, fewest // ROWS)
        if count < FEWEST:
            problem = f"{fewest} training rows of {TASK_NAMES[task]}, and at least {FEWEST * ROWS} are needed"
            raise InputError(subject.run.root, problem, "analyse a run of a log with both tasks and more training rows")
        drawn = [random.permutation(row_R)[: count * ROWS].reshape(count, ROWS) for row_R in rows.values()]
        negatives = training_negatives(subject.config.data, subject.run, data.items)
        return cls(row_MKR=np.stack(drawn, axis=1), negatives=negatives, seed=subject.config.seed)

    def __len__(self) -> int:
        return len(self.row_MKR)

    def products(self, collator: Collator, layers: Layers, loss: Loss) -> dict[str, Floats]:
        """Dot products of all gradients among each other [M, K, M, K], by shared layer and over all of them.

        A weight matrix is shared if both gradients of the first mini-batch reach it. A layer of more than `_SKETCH`
        weights is looked at through a count sketch (Charikar et al. 2002), whose dot products are unbiased, to about
        1 / 512 of the norms: keeping all gradients of a large model would take its size 64 times.
        """
        shared: Layers = {}
        vectors: dict[str, list[Tensor]] = {}
        for row_KR in self.row_MKR:
            losses = [loss(batch, task) for batch, task in self._batches(collator, row_KR)]
            if not shared:
                shared = _shared(layers, losses)
                sketch = {name: _Sketch.of(sum(p.numel() for p in each)) for name, each in shared.items()}
            for each in losses:
                for name, parts in gradient_of(each, shared).items():
                    flat_P = torch.cat([part.flatten() for part in parts]).cpu()
                    vectors.setdefault(name, []).append(sketch[name](flat_P))
        M, K = self.row_MKR.shape[:2]
        products: dict[str, Floats] = {}
        for name, vector_N in vectors.items():
            vector_NS = torch.stack(vector_N).double()
            products[name] = (vector_NS @ vector_NS.T).reshape(M, K, M, K).numpy()
        if products:
            products[ALL] = np.sum(list(products.values()), axis=0)
        return products

    def _batches(self, collator: Collator, row_KR: NDArray[np.int64]) -> Iterator[tuple[Batch, Behaviour]]:
        for task, row_R in zip(Behaviour, row_KR, strict=True):
            yield (
                collator.training(row_R, epoch=0, seed=self.seed, negatives=self.negatives, step_groups=len(row_R)),
                task,
            )


def _shared(layers: Layers, losses: list[Tensor]) -> Layers:
    """What the gradients of all losses reach."""
    gradients = [gradient_of(loss, layers, keep_graph=True) for loss in losses]
    shared = {
        name: [p for place, p in enumerate(each) if all(gradient[name][place].any() for gradient in gradients)]
        for name, each in layers.items()
    }
    return {name: each for name, each in shared.items() if each}


@dataclass(frozen=True)
class _Sketch:
    """Adds the elements of a vector up in `_SKETCH` places, with random signs; leaves a short one as it is."""

    place_P: Tensor | None
    sign_P: Tensor | None

    @classmethod
    def of(cls, size: int) -> "_Sketch":
        if size <= _SKETCH:
            return cls(None, None)
        random = torch.Generator().manual_seed(_SEED)
        sign_P = torch.randint(2, (size,), generator=random, dtype=torch.int8) * 2 - 1
        return cls(torch.randint(_SKETCH, (size,), generator=random), sign_P)

    def __call__(self, vector_P: Tensor) -> Tensor:
        if self.place_P is None or self.sign_P is None:
            return vector_P
        return vector_P.new_zeros(_SKETCH).index_add(0, self.place_P, vector_P * self.sign_P)


def products_of_gensr(
    batches: MiniBatches, collator: Collator, trained: TrainedRun, likelihood: Likelihood
) -> dict[str, Floats]:
    """Of the task loss (eq. 9).

    Args:
        batches: to pass through it.
        collator: of training, with the vectors of folds.
        likelihood: of training.
        trained: the model, in evaluation mode: without dropout.
    """
    model = copy.deepcopy(trained.model).float()

    def loss(batch: Batch, task: Behaviour) -> Tensor:
        inputs = model.inputs(batch, training=True).to(trained.device)
        return task_loss_of(model(inputs, likelihood), inputs.batch.task_G, task)

    return batches.products(collator, layers_of(model), loss)


def products_of_peer(batches: MiniBatches, opened: OpenedPeer) -> dict[str, Floats]:
    """Of the peer's ranking loss; the peer is in evaluation mode."""
    model = opened.model
    assert isinstance(model, RowBaseline)

    def loss(batch: Batch, _task: Behaviour) -> Tensor:
        on_device = map_tensors(cast(ContextBatch, batch), lambda tensor: tensor.to(opened.ranks.device))
        return model.ranking(on_device, model.score(on_device)).sum()

    return batches.products(opened.collator, layers_of(model), loss)
