"""`gensr analyse NAME`: a look inside a run. No part of `gensr run`."""

import dataclasses
from pathlib import Path

from gensr_dist.analysis.contract import Analysis
from gensr_dist.analysis.finding import FINDING, REPORT
from gensr_dist.analysis.subject import Peer, Subject
from gensr_dist.baselines.weights import WEIGHTS
from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.stage import Job, Outcome, Settings, Stage
from gensr_dist.storage.checked_files import sha256_of_file
from gensr_dist.storage.durable import durable_folder


class Analysed(Stage):
    """Does one analysis.

    Args:
        analysis: to do.
        peer: that GenSR is compared with, if any.
    """

    help = ""  # the command has its own
    sections = ("analysis.", "data.history", "data.shuffle_shards")

    def __init__(self, analysis: Analysis, peer: Peer | None) -> None:
        self.analysis, self.peer = analysis, peer if analysis.compares else None
        self.name = f"analysis {analysis.name}"
        self.summary = analysis.summary
        self.form = analysis.form

    def needs(self, config: Config) -> tuple[str, ...]:
        """What the analysis says."""
        return self.analysis.needs

    def settings(self, config: Config) -> Settings:
        """The peer's weights too."""
        peer = self.peer
        known = {"peer": peer.name, "peer.weights": sha256_of_file(peer.folder.model / WEIGHTS)} if peer else {}
        return {**super().settings(config), **known}

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """Numbers and report; pictures lie beside them."""
        folder = run.analysis(self.analysis.name)
        return (folder / FINDING, folder / REPORT)

    def do(self, job: Job) -> Outcome:
        """Do it, and write its folder as a whole."""
        from threadpoolctl import threadpool_limits

        subject = Subject(run=job.run, config=job.config, peer=self.peer)
        with threadpool_limits(1):  # thousands of small products: threads would wait for each other
            finding = self.analysis.find(subject)
        with durable_folder(job.run.analysis(self.analysis.name)) as temporary:
            finding.write(temporary)
        return Outcome(summary=finding.lines(), result=dataclasses.asdict(finding))
