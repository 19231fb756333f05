"""`gensr simulate`: a log whose habits are known."""

from pathlib import Path

from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.stage import Job, Outcome, Stage


class Simulate(Stage):
    """Writes a log in KuaiSAR's format."""

    name = "simulate"
    summary = "write a simulated KuaiSAR-format log into the run folder"
    help = "Users have planted tastes, items have texts, searches have queries; section `simulate` sets the sizes."
    form = 1
    sections = ("simulate.",)

    def takes_part(self, config: Config) -> bool:
        """Where the log is a simulated one."""
        return config.data.source == "simulate"

    def needs(self, config: Config) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """The raw log."""
        return (run.raw,)

    def do(self, job: Job) -> Outcome:
        """See `data.sources.simulate`."""
        from gensr_dist.data.sources.simulate import simulate

        return Outcome.of(simulate(job.config.simulate, job.config.seed, job.run.raw))
