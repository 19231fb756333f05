"""Trainings of seconds, for the tests beside it: their settings, folders and curves."""

from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gensr_dist.config.root import Config
from gensr_dist.data.config import DataConfig
from gensr_dist.model.config import ModelConfig
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.config import TrainConfig

BUDGET = 113  # `micro_tokens` with which steps of eight groups have three, two, two and three micro-batches


def small_config(**changes: Any) -> Config:
    """A config with `changes` to its training section."""
    settings = {
        "steps": 4,
        "batch": 8,
        "warmup_steps": 1,
        "validate_every": 2,
        "validate_rows": 6,
        "checkpoint_every": 2,
        "log_every": 1,
        "workers": 0,
    }
    return Config(
        data=DataConfig(history=4, train_negatives=2),
        model=ModelConfig(cf_heads=2, semantic_history="pooled", dropout=0.1),
        train=TrainConfig(**{**settings, **changes}),
    )


def scalars(run: RunFolder) -> dict[str, dict[int, float]]:
    """Tag -> step -> value; fails where a step shows twice."""
    events = EventAccumulator(str(run.tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    found: dict[str, dict[int, float]] = {}
    for tag in events.Tags()["scalars"]:
        points = events.Scalars(tag)
        found[tag] = {point.step: point.value for point in points}
        assert len(found[tag]) == len(points), f"{tag} has a step twice"
    return found


def another_folder(run: RunFolder, name: str) -> RunFolder:
    """A run folder beside `run`, with its shards, channels and CF vectors."""
    other = RunFolder(run.root.parent / name)
    other.root.mkdir()
    (other.root / "shards").symlink_to(run.root / "shards")
    other.cf.symlink_to(run.cf)
    other.channels.symlink_to(run.channels)
    return other
