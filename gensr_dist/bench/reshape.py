"""Checkpoints of any number of ranks and ZeRO stage, resumed at any other: how far the losses are from one rank's.

Every run is a real one, of processes that torchrun starts. Dropout is off, because its draws belong to a rank.
"""

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from gensr_dist.errors import InputError
from gensr_dist.run.folder import RunFolder

RANKS = (1, 2, 4)
STAGES = (0, 1, 2, 3)
STEPS = 8
SAVED = 4  # the checkpoint that is resumed
LOSSES = ("loss/task", "loss/contrastive", "loss/match", "loss/total")
_SECONDS = 600  # that a run may take
_LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_SETTINGS: dict[str, Any] = {
    "simulate": {"users": 80, "items": 200, "days": 8, "events_per_user": 30},
    "data": {
        "source": "simulate",
        "split": "days",
        "vocabulary": 300,
        "title_tokens": 6,
        "query_tokens": 4,
        "history": 4,
        "train_negatives": 2,
        "eval_negatives": 9,
    },
    "lightgcn": {"width": 8, "epochs": 2},
    "model": {"cf_heads": 2, "semantic_history": "pooled", "dropout": 0.0},
    "train": {
        "steps": STEPS,
        "batch": 8,
        "warmup_steps": 1,
        "contrastive_weight": 0.5,
        "validate_every": STEPS,
        "validate_rows": 8,
        "checkpoint_every": SAVED,
        "log_every": 1,
        "workers": 0,
    },
}


@dataclass(frozen=True)
class Layout:
    """How a training is spread."""

    ranks: int
    zero_stage: int

    def __str__(self) -> str:
        return f"{self.ranks} x ZeRO-{self.zero_stage}"


_PLAIN = Layout(1, 0)  # whose uninterrupted run is the measure
Case = tuple[Layout, Layout]  # that wrote the checkpoint, that resumes it


@dataclass(frozen=True, kw_only=True)
class ReshapeBench:
    """What `gensr bench reshape` prints."""

    cases: int  # pairs of layouts
    max_loss_diff: float  # over all cases, steps and losses, from the uninterrupted run of one rank without ZeRO
    worst: str  # the case that has it


def covering_cases() -> tuple[Case, ...]:
    """Every layout once as the first and once as the second, both ranks and stage changing each time."""
    pairs = []
    for place, ranks in enumerate(RANKS):
        for stage in STAGES:
            other = RANKS[(place + 1 + stage % 2) % len(RANKS)]
            pairs.append((Layout(ranks, stage), Layout(other, (stage + 1) % len(STAGES))))
    return tuple(pairs)


def all_cases() -> tuple[Case, ...]:
    """Every layout after every layout, itself too."""
    layouts = [Layout(ranks, stage) for ranks, stage in itertools.product(RANKS, STAGES)]
    return tuple(itertools.product(layouts, layouts))


def bench_reshape(full: bool = False, cases: Sequence[Case] | None = None) -> ReshapeBench:
    """Train to a checkpoint at each first layout, resume it at the second, compare the losses after it.

    Args:
        full: all cases instead of the covering ones: about half an hour on two cores.
        cases: these instead.

    Raises:
        InputError: a run failed.
    """
    chosen = tuple(cases) if cases is not None else all_cases() if full else covering_cases()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _prepare(folder / "prepared")
        progress = tqdm(total=len({_PLAIN, *(first for first, _ in chosen)}) + len(chosen), unit="run", disable=None)
        written = {_PLAIN: _train(folder, f"from {_PLAIN}", _PLAIN, progress)}
        expected = _losses(written[_PLAIN], first_step=1)
        differences: dict[Case, float] = {}
        for first, second in chosen:
            if first not in written:
                written[first] = _train(folder, f"from {first}", first, progress)
            saved = written[first].checkpoints / f"step_{SAVED:08d}"
            run = _train(folder, f"{first} to {second}", second, progress, saved)
            found = _losses(run, first_step=SAVED + 1)
            differences[first, second] = max(abs(loss - expected[at]) for at, loss in found.items())
            shutil.rmtree(run.root)
        progress.close()
    worst = max(differences, key=lambda case: differences[case])
    return ReshapeBench(cases=len(chosen), max_loss_diff=differences[worst], worst=f"{worst[0]} resumed at {worst[1]}")


def _prepare(folder: Path) -> None:
    """Simulate a log, cut it into shards, train its CF vectors."""
    folder.mkdir()
    config = folder / "given.yaml"
    config.write_text(yaml.safe_dump(_SETTINGS | {"run": str(folder)}), encoding="utf-8")
    for stage in (["simulate"], ["prepare", "simulate"], ["lightgcn"], ["channels"]):
        _run([sys.executable, "-m", "gensr_dist", *stage, str(config)])


def _train(folder: Path, name: str, layout: Layout, progress: "tqdm[Any]", checkpoint: Path | None = None) -> RunFolder:
    """Train to the end, from a copy of a checkpoint if one is given."""
    progress.set_description(name)
    run = RunFolder(folder / name.replace(" ", "_"))
    run.root.mkdir()
    for made in ("shards", "cf", "channels"):
        (run.root / made).symlink_to(folder / "prepared" / made)
    if checkpoint is not None:
        shutil.copytree(checkpoint, run.checkpoints / checkpoint.name)
    config = run.root / "given.yaml"
    settings = _SETTINGS | {"run": str(run.root), "train": _SETTINGS["train"] | {"zero_stage": layout.zero_stage}}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(layout.ranks)]
    _run([sys.executable, *launcher, "-m", "gensr_dist", "train", str(config)])
    progress.update()
    return run


def _run(command: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _LAUNCHER_VARIABLES}
    try:
        done = subprocess.run(
            command,
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            " ".join(command[1:]), f"not done after {_SECONDS} s", "try a machine with less load"
        ) from None
    if done.returncode:
        print(done.stderr[-4_000:], file=sys.stderr)
        raise InputError(" ".join(command[1:]), f"exit code {done.returncode}", "see the messages above")


def _losses(run: RunFolder, first_step: int) -> dict[tuple[str, int], float]:
    """Losses by name and step; a run that was resumed must show the steps from `first_step` on and no others."""
    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    found = {(tag, point.step): point.value for tag in LOSSES for point in events.Scalars(tag)}
    if {step for _, step in found} != set(range(first_step, STEPS + 1)):
        raise InputError(run.root, f"expected steps {first_step} to {STEPS}", "see its event files")
    return found
