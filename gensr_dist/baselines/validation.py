"""Validation of a baseline: the test protocol on samples of validation rows, and of as many training rows."""

from collections.abc import Mapping

from gensr_dist.baselines.contract import Baseline
from gensr_dist.baselines.scorer import ROWS_A_CALL, BaselineScorer
from gensr_dist.config.root import Config
from gensr_dist.data.batches.collate import Collator
from gensr_dist.data.events import Behaviour
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.training_sample import draw_training_rows
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import CUTOFF, TASK_NAMES, ndcg_gain
from gensr_dist.evaluation.protocol import draw_rows, rank_positives
from gensr_dist.runs.prepared_data import PreparedData


class BaselineValidation:
    """Ranks the same rows each time, `train.validate_rows` a task.

    Args:
        model: says which tasks.
        data: holds the rows.
        config: how many, and the seed of the samples.

    Raises:
        InputError: there is no validation row of its tasks.
    """

    def __init__(self, model: Baseline, data: PreparedData, config: Config) -> None:
        count, seed, store = config.train.validate_rows, config.seed, data.store
        samples = {task: draw_rows(store.eval_rows(Split.VALID, task), count, seed) for task in sorted(model.tasks)}
        self.samples = {task: rows for task, rows in samples.items() if len(rows)}
        if not self.samples:
            raise InputError("data.split", "no validation row of its task", "choose another split or a longer log")
        counts = {task: len(rows) for task, rows in self.samples.items()}
        drawn = draw_training_rows(store, counts, seed, store.manifest.config.eval_negatives)
        self.training = {task: rows for task, rows in drawn.items() if len(rows)}

    def run(self, model: Baseline, collator: Collator, ranks: Ranks) -> tuple[dict[str, float], dict[str, float]]:
        """NDCG@10 of validation and of training rows by task. Every rank must call it."""
        return (
            _ndcg(BaselineScorer(model, collator, ranks.device), self.samples),
            _ndcg(BaselineScorer(model, collator, ranks.device, training=True), self.training),
        )


def _ndcg(scorer: BaselineScorer, samples: Mapping[Behaviour, EvalRows]) -> dict[str, float]:
    return {
        TASK_NAMES[task]: float(ndcg_gain(rank_positives(scorer, rows, ROWS_A_CALL), CUTOFF).mean())
        for task, rows in samples.items()
    }
