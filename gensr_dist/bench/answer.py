"""`gensr bench answer`: milliseconds that a user waits for an answer, and where they go.

Dimensions: G groups (one), K candidates, P parts, A answers.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gensr_dist.config.root import Config
from gensr_dist.data.timelines.rows import EvalRows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.errors import InputError
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.evaluation.protocol import draw_rows
from gensr_dist.interface import Run
from gensr_dist.retrieval.candidates import DEPTH
from gensr_dist.retrieval.ranker import Ranker
from gensr_dist.retrieval.requests import Requests
from gensr_dist.retrieval.stage import open_ranker
from gensr_dist.runs.trained_run import TrainedRun

_WARM_UP = 5  # answers of each task that are not counted


@dataclass(frozen=True, kw_only=True)
class TaskTimes:
    """Milliseconds of single answers of one task."""

    count: int
    p50_ms: float
    p99_ms: float
    parts_ms: Mapping[str, float]  # median of each part: history, candidates, gensr, order
    channels_ms: Mapping[str, float]  # median of each channel alone, asked once more; candidates hold them all


@dataclass(frozen=True, kw_only=True)
class AnswerTimes:
    """What `gensr bench answer` measured, on an opened run."""

    open_s: float  # of processor time, imports left out
    candidates: int
    tasks: Mapping[str, TaskTimes]

    def lines(self) -> tuple[str, ...]:
        """For people."""
        lines = [f"opened in {self.open_s:.2f} s of processor time; {self.candidates} candidates"]
        for name, times in self.tasks.items():
            parts = ", ".join(f"{part} {ms:.1f}" for part, ms in times.parts_ms.items())
            channels = ", ".join(f"{channel} {ms:.1f}" for channel, ms in times.channels_ms.items())
            lines += [
                f"{name}: p50 {times.p50_ms:.1f} ms, p99 {times.p99_ms:.1f} ms of {times.count:,} answers",
                f"  medians: {parts}",
                f"  channels alone: {channels}",
            ]
        return tuple(lines)


def bench_answer(folder: Path, answers: int) -> AnswerTimes:
    """Answer test rows one at a time.

    Raises:
        InputError: the run is not finished, or has no test row.
    """
    run = Run.open(folder, many=True)
    config = run.config
    started = time.process_time()
    trained = TrainedRun.open(run.folder, config)
    ranker = open_ranker(trained, config)
    opened = time.process_time() - started
    tasks = {}
    for task, name in TASK_NAMES.items():
        rows = draw_rows(trained.store.eval_rows(Split.TEST, task), answers + _WARM_UP, config.seed)
        if len(rows):
            tasks[name] = _task_times(trained, ranker, config, rows, name)
    if not tasks:
        raise InputError(folder, "no test row of either task", "prepare a longer log or another data.split")
    return AnswerTimes(open_s=round(opened, 3), candidates=config.retrieval.candidates, tasks=tasks)


def _task_times(trained: TrainedRun, ranker: Ranker, config: Config, rows: EvalRows, name: str) -> TaskTimes:
    parts: dict[str, list[float]] = {part: [] for part in ("history", "candidates", "gensr", "order")}
    channels: dict[str, list[float]] = {}
    candidates, generator = config.retrieval.candidates, ranker.generator
    for row in tqdm(range(len(rows)), desc=f"answers, {name}", unit="answer", disable=None):
        one, clock = rows.take(np.array([row])), [time.perf_counter()]
        requests = Requests.of_rows(trained.store, trained.items, one)
        clock.append(time.perf_counter())
        found = generator.candidates(requests, candidates)
        clock.append(time.perf_counter())
        log_odds_GK = ranker.scorer.log_odds(requests, found.item_GK)
        clock.append(time.perf_counter())
        ranker.ordered(requests, found, log_odds_GK)
        clock.append(time.perf_counter())
        for part, seconds in zip(parts, np.diff(clock).tolist(), strict=True):
            parts[part].append(1e3 * seconds)
        for channel, each in generator.channels.proposing(requests.task).items():
            started = time.perf_counter()
            each.scores(requests).best(DEPTH)
            channels.setdefault(channel, []).append(1e3 * (time.perf_counter() - started))
    part_PA = np.array(list(parts.values()))[:, min(_WARM_UP, len(rows) - 1) :]
    whole_A = part_PA.sum(axis=0)
    return TaskTimes(
        count=len(whole_A),
        p50_ms=round(float(np.median(whole_A)), 2),
        p99_ms=round(float(np.quantile(whole_A, 0.99)), 2),
        parts_ms={part: round(float(np.median(ms_A)), 2) for part, ms_A in zip(parts, part_PA, strict=True)},
        channels_ms={channel: round(float(np.median(ms)), 2) for channel, ms in channels.items()},
    )
