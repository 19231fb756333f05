"""Validation during training: the test protocol on a fixed sample of validation rows of each task.

As many training rows are ranked in the same way: where they do much better, the model has memorised them
or something tells it the answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.training_sample import draw_training_rows
from gensr_dist.errors import InputError
from gensr_dist.evaluation.fit import NDCG, RowsFit, StepFit, TaskFit
from gensr_dist.evaluation.gensr_scorer import ROWS_A_CALL, GenSRScorer
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.evaluation.protocol import draw_rows, ranks_and_losses
from gensr_dist.model.attention_weights import mean_entropies
from gensr_dist.model.gensr import GenSR
from gensr_dist.train.engine import Engine

_PROMPTS = 3_200  # candidates a pass and rank
_ENTROPY_ROWS = 16  # of a task, whose soft filters are looked at


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """How each task that has validation rows does."""

    tasks: Mapping[Behaviour, TaskFit]
    # Of the soft filters' weights in nats, the mean over some validation rows, by view; none under ZeRO-3.
    entropies: Mapping[Behaviour, Mapping[str, float]] = field(default_factory=dict)

    @property
    def ndcg(self) -> float:
        """Mean NDCG@10 of the tasks on validation rows: it decides which weights are best."""
        return sum(fit.validation.ndcg for fit in self.tasks.values()) / len(self.tasks)

    def after(self, steps: int) -> StepFit:
        """What is kept of it."""
        return StepFit(step=steps, tasks={TASK_NAMES[task]: fit for task, fit in self.tasks.items()})

    def __str__(self) -> str:
        parts = []
        for task, fit in self.tasks.items():
            note = f" (training rows {fit.training.ndcg:.4f})" if fit.training else ""
            parts.append(f"{TASK_NAMES[task]} {NDCG} {fit.validation.ndcg:.4f}{note}")
        return ", ".join([*parts, f"mean {self.ndcg:.4f}"])


class Validation:
    """Ranks the same validation and training rows each time.

    Args:
        store: that holds the rows.
        collator: builds batches.
        engine: whose model is validated.
        tasks: that are trained.
        rows: of each of them, at most.
        seed: of the samples.

    Raises:
        InputError: neither task has validation rows, or a user has seen so many items that too few are left.
    """

    def __init__(
        self,
        store: TimelineStore,
        collator: Collator,
        engine: Engine[GenSR],
        *,
        tasks: frozenset[Behaviour],
        rows: int,
        seed: int,
        newest_rows: int,
    ) -> None:
        samples = {task: draw_rows(store.eval_rows(Split.VALID, task), rows, seed) for task in sorted(tasks)}
        self.samples = {task: sample for task, sample in samples.items() if len(sample)}
        if not self.samples:
            raise InputError(
                "data.split", "the validation split holds no positive event", "choose another split or a longer log"
            )
        counts = {task: len(sample) for task, sample in self.samples.items()}
        self.training = draw_training_rows(
            store, counts, seed, store.manifest.config.eval_negatives, newest=newest_rows
        )
        self.engine = engine
        device = engine.ranks.device
        self.scorer = GenSRScorer(engine.model, collator, device, _PROMPTS)
        self.training_scorer = GenSRScorer(engine.model, collator, device, _PROMPTS, training=True)

    def run(self) -> ValidationResult:
        """Rank all rows with the weights as they are. Every rank must call it, and gets the same result."""
        result = ValidationResult(
            tasks={
                task: TaskFit(
                    training=_fit(self.training_scorer, self.training[task]) if len(self.training[task]) else None,
                    validation=_fit(self.scorer, sample),
                )
                for task, sample in self.samples.items()
            },
            entropies=self._entropies(),
        )
        self.engine.release_weights()
        return result

    def _entropies(self) -> Mapping[Behaviour, Mapping[str, float]]:
        """How widely both soft filters look at the histories of the first rows of each task."""
        if self.engine.zero_stage == 3:  # weights are spread over the ranks outside of forward passes
            return {}
        found = {}
        for task, sample in self.samples.items():
            batch = self.scorer.collator.evaluation(sample.take(np.arange(min(_ENTROPY_ROWS, len(sample)))))
            inputs = self.engine.model.inputs(batch).to(self.engine.ranks.device)
            found[task] = mean_entropies(self.engine.model, inputs)
        return found


def _fit(scorer: GenSRScorer, rows: EvalRows) -> RowsFit:
    return RowsFit.of(ranks_and_losses(scorer, rows, ROWS_A_CALL))
