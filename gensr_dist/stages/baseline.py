"""`gensr baseline NAME`: one of the models that GenSR is compared with. No part of `gensr run`."""

import dataclasses
from pathlib import Path
from typing import Any

from gensr_dist.baselines.contract import Settings as BaselineSettings
from gensr_dist.baselines.registry import entry
from gensr_dist.config.root import Config
from gensr_dist.runs.folder import RunFolder
from gensr_dist.stages.stage import Job, Outcome, Settings, Stage


class TrainedBaseline(Stage):
    """Trains a baseline and ranks the test rows.

    Args:
        baseline: its name.
        settings: its own.

    Raises:
        InputError: there is no such baseline.
    """

    summary = "train one of the models that GenSR is compared with, and evaluate it on the same rows"
    help = ""  # the command has its own
    form = 2  # intervals over users
    sections = (
        *("evaluation.rows", "evaluation.catalogue_rows", "evaluation.bootstrap"),
        *("train.validate_rows", "data.shuffle_shards"),
    )
    on_ranks = True

    def __init__(self, baseline: str, settings: BaselineSettings) -> None:
        self.baseline, self.own_settings = baseline, settings
        self.title = entry(baseline).title
        self.name = f"baseline {baseline}"

    def needs(self, config: Config) -> tuple[str, ...]:
        """Shards and CF vectors."""
        return ("prepare", "lightgcn")

    def settings(self, config: Config) -> Settings:
        """Its own, and how rows are read and drawn."""
        own = {f"{self.baseline}.{key}": value for key, value in dataclasses.asdict(self.own_settings).items()}
        return {**super().settings(config), **own}

    def results(self, run: RunFolder) -> tuple[Path, ...]:
        """Weights, curve, metrics and ranks."""
        folder = run.baseline(self.baseline)
        return (folder.model, folder.metrics, folder.ranks)

    def states(self, run: RunFolder) -> dict[str, Any]:
        """Checkpoints too."""
        checkpoints = run.baseline(self.baseline).checkpoints
        paths = [path for path in (checkpoints, *checkpoints.rglob("*")) if path.exists()]
        return {**super().states(run), **{str(path): path.stat().st_mtime_ns for path in paths}}

    def do(self, job: Job) -> Outcome:
        """See `baselines.stage`."""
        from gensr_dist.baselines.stage import run_baseline

        folder = job.run.baseline(self.baseline)
        result = run_baseline(self.baseline, self.own_settings, job.config, job.run, folder, resume=job.resume)
        return Outcome.of(result)
