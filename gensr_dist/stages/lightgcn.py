"""`gensr lightgcn`: CF vectors."""

from pathlib import Path

from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.stage import Job, Outcome, Stage


class LightGCN(Stage):
    """Trains LightGCN; ranks share the columns of the vectors."""

    name = "lightgcn"
    summary = "train LightGCN and write the CF vectors of items and users"
    help = (
        "Reads the recommendation training events of the shards. Section `lightgcn` sets width, layers and epochs.\n"
        "On several GPUs: torchrun --nproc_per_node 4 -m gensr_dist lightgcn CONFIG; the ranks share the columns.\n"
        "An interrupted training resumes from its last checkpoint."
    )
    form = 1
    sections = ("lightgcn.",)
    on_ranks = True

    def needs(self, config: Config) -> tuple[str, ...]:
        """The shards."""
        return ("prepare",)

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """The vectors."""
        return (run.cf,)

    def do(self, job: Job) -> Outcome:
        """See `graph.stage`."""
        from gensr_dist.graph.stage import lightgcn

        return Outcome.of(lightgcn(job.config, job.run, resume=job.resume))
