"""Checkpoints of any number of ranks and ZeRO stage, resumed at any other: how far the losses are from one rank's.

Every run is a real one, of processes that torchrun starts. Dropout is off, because its draws belong to a rank.
"""

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from gensr_dist.bench.commands import SMALL_RUN, config_of, prepared_run, run_gensr, twin_of
from gensr_dist.errors import InputError
from gensr_dist.runs.folder import RunFolder

RANKS = (1, 2, 4)
STAGES = (0, 1, 2, 3)
STEPS = 8
SAVED = 4  # the checkpoint that is resumed
LOSSES = ("loss/task", "loss/contrastive", "loss/match", "loss/total")
_SECONDS = 600  # that a run may take
_TRAIN: dict[str, Any] = {
    "steps": STEPS,
    "batch": 8,
    "warmup_steps": 1,
    "contrastive_weight": 0.5,
    "validate_every": STEPS,
    "validate_rows": 8,
    "checkpoint_every": SAVED,
    "log_every": 1,
    "workers": 0,
}


@dataclass(frozen=True)
class RankLayout:
    """How a training is spread."""

    ranks: int
    zero_stage: int

    def __str__(self) -> str:
        return f"{self.ranks} x ZeRO-{self.zero_stage}"


_ALONE = RankLayout(1, 0)  # whose uninterrupted run is the measure
Case = tuple[RankLayout, RankLayout]  # that wrote the checkpoint, that resumes it


@dataclass(frozen=True, kw_only=True)
class ReshapeBench:
    """What `gensr bench reshape` prints."""

    cases: int  # pairs of layouts
    max_loss_diff: float  # over all cases, steps and losses, from the uninterrupted run of one rank without ZeRO
    worst: str  # the case that has it


def covering_cases() -> tuple[Case, ...]:
    """Every layout once as the first and once as the second, both ranks and stage changing each time."""
    pairs = []
    for index, ranks in enumerate(RANKS):
        for stage in STAGES:
            other = RANKS[(index + 1 + stage % 2) % len(RANKS)]
            pairs.append((RankLayout(ranks, stage), RankLayout(other, (stage + 1) % len(STAGES))))
    return tuple(pairs)


def all_cases() -> tuple[Case, ...]:
    """Every layout after every layout, itself too."""
    layouts = [RankLayout(ranks, stage) for ranks, stage in itertools.product(RANKS, STAGES)]
    return tuple(itertools.product(layouts, layouts))


def bench_reshape(cases: Sequence[Case]) -> ReshapeBench:
    """Train to a checkpoint at each first layout, resume it at the second, compare the losses after it.

    Args:
        cases: `covering_cases`, or `all_cases`, which take about half an hour on two cores.

    Raises:
        InputError: a run failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = prepared_run(Path(folder) / "prepared", SMALL_RUN)
        progress = tqdm(total=len({_ALONE, *(first for first, _ in cases)}) + len(cases), unit="run", disable=None)
        written = {_ALONE: _train(base, f"from {_ALONE}", _ALONE, progress)}
        expected = _losses(written[_ALONE], first_step=1)
        differences: dict[Case, float] = {}
        for first, second in cases:
            if first not in written:
                written[first] = _train(base, f"from {first}", first, progress)
            saved = written[first].checkpoints / f"step_{SAVED:08d}"
            run = _train(base, f"{first} to {second}", second, progress, saved)
            found = _losses(run, first_step=SAVED + 1)
            differences[first, second] = max(abs(loss - expected[at]) for at, loss in found.items())
            shutil.rmtree(run.root)
        progress.close()
    worst = max(differences, key=lambda case: differences[case])
    return ReshapeBench(cases=len(cases), max_loss_diff=differences[worst], worst=f"{worst[0]} resumed at {worst[1]}")


def _train(
    base: RunFolder, name: str, layout: RankLayout, progress: "tqdm[Any]", checkpoint: Path | None = None
) -> RunFolder:
    """Train to the end, from a copy of a checkpoint if one is given."""
    progress.set_description(name)
    changes = {"model": SMALL_RUN["model"] | {"dropout": 0.0}, "train": _TRAIN | {"zero_stage": layout.zero_stage}}
    run = twin_of(base, base.root.with_name(name.replace(" ", "_")), SMALL_RUN | changes)
    if checkpoint is not None:
        shutil.copytree(checkpoint, run.checkpoints / checkpoint.name)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(layout.ranks)]
    run_gensr("train", str(config_of(run)), launcher=launcher, threads=1, at_most_s=_SECONDS)
    progress.update()
    return run


def _losses(run: RunFolder, first_step: int) -> dict[tuple[str, int], float]:
    """Losses by name and step; a run that was resumed must show the steps from `first_step` on and no others."""
    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    found = {(tag, point.step): point.value for tag in LOSSES for point in events.Scalars(tag)}
    if {step for _, step in found} != set(range(first_step, STEPS + 1)):
        raise InputError(run.root, f"expected steps {first_step} to {STEPS}", "see its event files")
    return found
