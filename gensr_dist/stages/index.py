"""`gensr index`: everything that answers read."""

import dataclasses
from pathlib import Path

from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.stage import Job, Outcome, Stage


class Index(Stage):
    """Indexes the catalogue and fits the orders of candidates and answers."""

    name = "index"
    summary = "index all items for candidate generation and fit the order of answers"
    help = "Section `retrieval` chooses flat, ivf or hnsw, and how many validation rows the orders are fitted on."
    form = 3  # orders with hidden units
    sections = ("retrieval.", "data.history")

    def needs(self, config: Config) -> tuple[str, ...]:
        """The model and all that it was made from."""
        return ("prepare", "lightgcn", "channels", "train")

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """The index."""
        return (run.index,)

    def do(self, job: Job) -> Outcome:
        """See `retrieval.stage`."""
        from gensr_dist.retrieval.stage import index_run
        from gensr_dist.runs.trained_run import TrainedRun

        made = index_run(TrainedRun.open(job.run, job.config), job.config)
        values = dataclasses.asdict(made)
        return Outcome(summary=made.lines(), result={**values.pop("index"), **values})
