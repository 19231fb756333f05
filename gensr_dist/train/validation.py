"""Validation during training: the test protocol on a fixed sample of validation rows of each task."""

from collections.abc import Mapping
from dataclasses import dataclass

from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.shards.store import TimelineStore
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.evaluation.gensr_scorer import ROWS_A_CALL, GenSRScorer
from gensr_dist.evaluation.metrics import TASK_NAMES, TaskMetrics
from gensr_dist.evaluation.protocol import draw_rows, rank_positives
from gensr_dist.train.engine import Engine

CUTOFF = 10  # of the NDCG that decides which weights are best
_PROMPTS = 3_200  # candidates a pass and rank


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """Metrics of each task that has validation rows."""

    tasks: Mapping[Behaviour, TaskMetrics]

    @property
    def ndcg(self) -> float:
        """Mean NDCG@10 of the tasks."""
        return sum(task.ndcg[CUTOFF].value for task in self.tasks.values()) / len(self.tasks)

    def __str__(self) -> str:
        tasks = (
            f"{TASK_NAMES[task]} ndcg@{CUTOFF} {metrics.ndcg[CUTOFF].value:.4f}" for task, metrics in self.tasks.items()
        )
        return ", ".join([*tasks, f"mean {self.ndcg:.4f}"])


class Validation:
    """Ranks the same validation rows each time.

    Args:
        store: that holds the rows.
        collator: builds batches.
        engine: whose model is validated.
        rows: of each task, at most.
        seed: of the sample.

    Raises:
        InputError: neither task has validation rows.
    """

    def __init__(self, store: TimelineStore, collator: Collator, engine: Engine, *, rows: int, seed: int) -> None:
        samples = {task: draw_rows(store.eval_rows(Split.VALID, task), rows, seed) for task in Behaviour}
        self.samples = {task: sample for task, sample in samples.items() if len(sample.event_R)}
        if not self.samples:
            raise InputError(
                "data.split", "the validation split holds no positive event", "choose another split or a longer log"
            )
        self.engine = engine
        self.scorer = GenSRScorer(engine.model, collator, engine.ranks.device, _PROMPTS)

    def run(self) -> ValidationResult:
        """Rank all rows with the weights as they are. Every rank must call it, and gets the same result."""
        result = ValidationResult(
            tasks={
                task: TaskMetrics.from_ranks(rank_positives(self.scorer, sample, ROWS_A_CALL), resamples=0, seed=0)
                for task, sample in self.samples.items()
            }
        )
        self.engine.release_weights()
        return result
