"""`gensr train`: GenSR itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.outside_files import OutsideFolder, backbone_folder
from gensr_dist.stages.stage import Job, Outcome, Settings, Stage
from gensr_dist.train.settings import training_settings


class Train(Stage):
    """Trains GenSR under DeepSpeed, in this process or on the ranks of a launcher."""

    name = "train"
    summary = "train GenSR"
    help = (
        "An interrupted training resumes from its last checkpoint. Losses and metrics go to RUN/tensorboard.\n"
        "Several GPUs or machines: launch/torchrun.sh CONFIG, launch/deepspeed.sh CONFIG, or any launcher that starts\n"
        "`-m gensr_dist train CONFIG` once a rank; see launch/README.md."
    )
    form = 2  # towers of their own width
    sections = ("model.", "train.")
    on_ranks = True

    def needs(self, config: Config) -> tuple[str, ...]:
        """All that is read from shards, graph and channels."""
        return ("prepare", "lightgcn", "channels")

    def settings(self, config: Config) -> Settings:
        """Also how batches are read."""
        return training_settings(config)

    def outside(self, config: Config) -> Mapping[str, OutsideFolder]:
        """A pretrained backbone."""
        return backbone_folder(config.model)

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """The best model."""
        return (run.model,)

    def states(self, run: RunFolder) -> Mapping[str, Any]:
        """Checkpoints too: a training that has saved one has changed something."""
        checkpoints = [path for path in (run.checkpoints, *run.checkpoints.rglob("*")) if path.exists()]
        return {**super().states(run), **{str(path): path.stat().st_mtime_ns for path in checkpoints}}

    def do(self, job: Job) -> Outcome:
        """See `train.loop`."""
        from gensr_dist.train.loop import train

        return Outcome.of(train(job.config, job.run, resume=job.resume))
