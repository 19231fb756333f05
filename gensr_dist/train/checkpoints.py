"""Checkpoints to resume from: whole or absent, and bound to the settings that made them.

A checkpoint is a folder `step_00000200` of DeepSpeed's files (weights, optimizer, one part a rank) and `state.json`.
It is written under another name and renamed when every rank is done, so each one that has its name is complete. With
several hosts the folder must lie on a file system that all of them share.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from pydantic import TypeAdapter, ValidationError
from typing_extensions import override

from gensr_dist.errors import InputError
from gensr_dist.files import atomic_file, read_json, write_json
from gensr_dist.train.engine import Engine

_STEP = "step_"
_STATE = "state.json"
_DEEPSPEED_CLASSES = [LossScaler, ZeroStageEnum, fragment_address]  # all that its files hold beside tensors

Settings = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is; all that a checkpoint keeps beside DeepSpeed's files."""

    settings: Settings  # what the run depends on: a checkpoint of other settings is refused
    world: int  # ranks that wrote it
    zero_stage: int
    steps: int = 0  # finished optimizer steps; the next one has this number
    best_step: int = 0  # steps behind the best validation, 0 before the first
    best_ndcg: float = -1.0
    validations_without_gain: int = 0
    stopped_early: bool = False
    seconds: float = 0.0  # of training, over all resumptions
    train_seconds: float = 0.0  # of them, in training steps


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: that holds them.
        engine: whose state is saved and loaded.
        keep_last: how many are kept.
    """

    def __init__(self, folder: Path, engine: Engine, keep_last: int) -> None:
        self.folder = folder
        self.engine = engine
        self.keep_last = keep_last
        engine.deepspeed.checkpoint_engine = _CheckpointFiles()

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, then delete the oldest ones. Every rank must call it."""
        first = self.engine.ranks.first
        final = self.folder / f"{_STEP}{progress.steps:08d}"
        temporary = self.folder / f".{final.name}.tmp"
        if first:
            shutil.rmtree(temporary, ignore_errors=True)
        dist.barrier()
        self.engine.deepspeed.save_checkpoint(str(self.folder), tag=temporary.name, save_latest=False)
        if first:
            write_json(temporary / _STATE, progress)
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            _sync_folder(self.folder)
            with atomic_file(self.folder / "latest") as latest:  # for DeepSpeed's own tools
                latest.write_text(final.name, encoding="utf-8")
            for old in _finished(self.folder)[: -self.keep_last]:
                shutil.rmtree(old)
        dist.barrier()

    def load(self, progress: Progress) -> Progress:
        """Load the newest checkpoint into the engine; without one, return `progress`. Every rank must call it.

        Args:
            progress: of a run that has not begun, with the settings of this one.

        Raises:
            InputError: the checkpoint belongs to other settings or another number of ranks, or cannot be read.
        """
        finished = _finished(self.folder)
        if not finished:
            return progress
        checkpoint = finished[-1]
        found = _read_state(checkpoint / _STATE)
        _check_same_run(checkpoint, found, progress)
        try:
            loaded, _ = self.engine.deepspeed.load_checkpoint(str(self.folder), tag=checkpoint.name)
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
            raise InputError(
                checkpoint,
                f"the checkpoint cannot be read ({str(error).splitlines()[0]})",
                "delete this folder to resume from the one before it",
            ) from error
        assert loaded is not None
        return found


def discard(folder: Path) -> None:
    """Delete all checkpoints of a run."""
    shutil.rmtree(folder, ignore_errors=True)


class _CheckpointFiles(TorchCheckpointEngine):
    """DeepSpeed's files, synced to disk, and read without running code from them."""

    @override
    def save(self, state_dict: dict[str, Any], path: str) -> None:
        with Path(path).open("wb") as file:
            torch.save(state_dict, file)
            file.flush()
            os.fsync(file.fileno())

    @override
    def load(self, path: str, map_location: Any = None) -> Any:
        with torch.serialization.safe_globals(_DEEPSPEED_CLASSES):
            return torch.load(path, map_location=map_location, weights_only=True)


def _finished(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path for path in folder.glob(f"{_STEP}*") if path.is_dir())


def _read_state(path: Path) -> Progress:
    remedy = f"delete {path.parent} to resume from the checkpoint before it"
    try:
        return TypeAdapter(Progress).validate_python(read_json(path, remedy))
    except ValidationError as error:
        raise InputError(path, f"not the state of a checkpoint ({error.errors()[0]['msg']})", remedy) from None


def _check_same_run(checkpoint: Path, found: Progress, expected: Progress) -> None:
    restart = "give this run another folder, or start it anew with --restart"
    names = sorted(found.settings.keys() | expected.settings.keys())
    differing = [name for name in names if found.settings.get(name) != expected.settings.get(name)]
    if differing:
        shown = ", ".join(
            f"{name} was {found.settings.get(name)} and is {expected.settings.get(name)}" for name in differing[:3]
        )
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise InputError(checkpoint, f"the checkpoint belongs to other settings: {shown}{more}", restart)
    if expected.zero_stage and found.world != expected.world:
        raise InputError(
            checkpoint,
            f"{found.world} ranks wrote this ZeRO-{found.zero_stage} checkpoint, this run has {expected.world}",
            f"start {found.world} ranks, or start anew with --restart",
        )


def _sync_folder(folder: Path) -> None:
    """Make renames inside `folder` last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
