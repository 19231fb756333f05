"""Is shared-context scoring as good as joint? Both trained from the same shards, vectors and seeds, and evaluated.

Every stage runs as a command of its own, several at a time, so that what is compared is what a user would get.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, get_args

from gensr_dist.bench.commands import run_gensr
from gensr_dist.config.root import Config, load_config
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.model.config import Scoring
from gensr_dist.runs.folder import RunFolder
from gensr_dist.runs.records import record_path
from gensr_dist.runs.shared_results import SHARED, SHARED_STAGES, link_shared
from gensr_dist.storage.records import read_json


@dataclass(frozen=True, kw_only=True)
class ScoringComparison:
    """NDCG@10 of one task, a value a seed."""

    shared: tuple[float, ...]
    joint: tuple[float, ...]
    difference: float  # mean of shared minus joint
    noise: float | None  # standard error of the difference, from its spread over the seeds


@dataclass(frozen=True, kw_only=True)
class ScoringsBench:
    """What `gensr bench scorings` prints."""

    tasks: Mapping[str, ScoringComparison]
    shared_train_s: float  # all seeds together; not alternated, so no measure of speed
    joint_train_s: float
    shared_evaluate_s: float
    joint_evaluate_s: float
    seeds: tuple[int, ...]
    shared_steps: int
    joint_steps: int
    batch: int  # groups a step
    rows: int  # evaluation rows a task and seed, at most; 0 is all
    at_once: int  # commands

    def lines(self) -> list[str]:
        """One line a task, and what both cost."""
        return [
            f"{name:<8} ndcg@10 shared {fmean(task.shared):.4f}, joint {fmean(task.joint):.4f}, difference "
            f"{task.difference:+.4f}" + (f", standard error {task.noise:.4f}" if task.noise is not None else "")
            for name, task in self.tasks.items()
        ] + [
            f"training {self.shared_train_s:,.0f} s shared ({self.shared_steps:,} steps), "
            f"{self.joint_train_s:,.0f} s joint ({self.joint_steps:,} steps); "
            f"evaluation {self.shared_evaluate_s:,.0f} s and {self.joint_evaluate_s:,.0f} s"
        ]


def bench_scorings(
    config: Path,
    overrides: Sequence[str],
    *,
    seeds: int = 1,
    shared_steps: int | None = None,
    at_once: int = 1,
    folder: Path | None = None,
) -> ScoringsBench:
    """Train and evaluate both scorings with the seeds 1, 2, ...

    Args:
        config: of the runs; its scoring, seed and run folder are set here.
        overrides: `KEY=VALUE`, as for every command.
        seeds: how many, at least one.
        shared_steps: of shared scoring's trainings, whose steps cost less; None: as many as joint's.
        at_once: commands that run side by side, with an equal share of the cores.
        folder: keeps the runs, and goes on with those that are there; None: a temporary one.

    Raises:
        InputError: the config cannot be used, or a command failed.
    """
    settings = load_config(config, overrides)
    if settings.data.shards:
        raise InputError("data.shards", "each seed prepares shards of its own", "leave it empty")
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gensr-scorings-")))
        place = place.absolute()
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(place, f"cannot be the folder of the runs ({error.strerror})", "give another") from None
        steps: dict[Scoring, int] = {"shared": shared_steps or settings.train.steps, "joint": settings.train.steps}
        trainings = _Trainings(config.absolute(), overrides, steps, place, max(1, (os.cpu_count() or 1) // at_once))
        numbers = tuple(range(1, seeds + 1))
        pool = stack.enter_context(ThreadPoolExecutor(at_once))
        list(pool.map(lambda seed: trainings.prepare(settings, seed), numbers))
        # The slow ones first, so that nobody waits for them alone at the end.
        list(pool.map(lambda pair: trainings.fit(*pair), itertools.product(("joint", "shared"), numbers)))
        runs = {scoring: [trainings.run_of(scoring, seed) for seed in numbers] for scoring in get_args(Scoring)}
        metrics = {scoring: [read_json(run.metrics, "evaluate it") for run in runs[scoring]] for scoring in runs}
        result: dict[str, Any] = {f"{scoring}_steps": number for scoring, number in steps.items()}
        stages: tuple[str, ...] = ("train", "evaluate")
        for scoring, stage in itertools.product(runs, stages):
            result[f"{scoring}_{stage}_s"] = _seconds(stage, runs[scoring])
        return ScoringsBench(
            tasks={
                name: _comparison(*([found[name]["ndcg@10"] for found in metrics[s]] for s in ("shared", "joint")))
                for name in TASK_NAMES.values()
                if all(name in found for found in metrics["shared"])
            },
            seeds=numbers,
            batch=settings.train.batch,
            rows=settings.evaluation.rows,
            at_once=at_once,
            **result,
        )


@dataclass(frozen=True)
class _Trainings:
    """Runs of both scorings with each seed."""

    config: Path
    overrides: Sequence[str]
    steps: Mapping[Scoring, int]
    place: Path
    threads: int

    def run_of(self, scoring: Scoring, seed: int) -> RunFolder:
        """The run of one training; shared scoring's holds what both begin with."""
        return RunFolder(self.place / f"{scoring}{seed}")

    def prepare(self, settings: Config, seed: int) -> None:
        """Shards, CF vectors and channels of a seed, for both scorings."""
        sources = ["simulate"] if settings.data.source == "simulate" else []
        for stage in (*sources, f"prepare {settings.data.source}", "lightgcn", "channels"):
            self._run(stage, "shared", seed)
        ours, twin = self.run_of("shared", seed), self.run_of("joint", seed)
        twin.stages.mkdir(parents=True, exist_ok=True)
        for stage in SHARED_STAGES:
            if (record := record_path(stage, ours)).exists():
                shutil.copy(record, record_path(stage, twin))
        link_shared(twin, ours, ("raw", *SHARED))

    def fit(self, scoring: Scoring, seed: int) -> None:
        """Train and evaluate."""
        for stage in ("train", "index", "evaluate"):
            self._run(stage, scoring, seed)

    def _run(self, stage: str, scoring: Scoring, seed: int) -> None:
        run, steps = self.run_of(scoring, seed).root, self.steps[scoring]
        given = (*self.overrides, f"run={run}", f"seed={seed}", f"model.scoring={scoring}", f"train.steps={steps}")
        run_gensr(stage, str(self.config), *(word for each in given for word in ("--set", each)), threads=self.threads)


def _seconds(stage: str, runs: Sequence[RunFolder]) -> float:
    """Of all runs together. The result of training counts all its starts, a record the last one."""
    records = [read_json(record_path(stage, run), f"run `gensr {stage}`") for run in runs]
    return round(sum({"seconds": record["seconds"], **record["result"]}["seconds"] for record in records), 1)


def _comparison(shared: Sequence[float], joint: Sequence[float]) -> ScoringComparison:
    differences = [s - j for s, j in zip(shared, joint, strict=True)]
    several = len(differences) > 1
    return ScoringComparison(
        shared=tuple(round(value, 4) for value in shared),
        joint=tuple(round(value, 4) for value in joint),
        difference=round(fmean(differences), 4),
        noise=round(stdev(differences) / len(differences) ** 0.5, 4) if several else None,
    )
