"""One shard from its users' timelines: evaluation negatives, blocks, tar. Engines do this for many shards at once.

Dimensions: V users of the shard, N their events, R evaluation rows, C items.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gensr_dist.data.config import DataConfig
from gensr_dist.data.negatives.sampling import SeenPairs, sample_unseen
from gensr_dist.data.shards.manifest import ShardRecord
from gensr_dist.data.shards.tar import shard_blocks, shard_name, write_shard
from gensr_dist.data.timelines.rows import evaluation_rows, training_rows
from gensr_dist.data.timelines.splits import Split
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.storage.folder import Folder

_EVALUATION = 0x6576616C  # names this use of random numbers: training draws have other keys


@dataclass(frozen=True)
class ShardResult:
    """What a written shard adds to the manifest and the item store."""

    record: ShardRecord
    trained_item_C: np.ndarray  # uint32, ascending: items of positive training events
    trained_count_C: np.ndarray  # int64: how many such events each has


def users_per_shard(config: DataConfig) -> int:
    """Users of every shard but the last."""
    return config.users_per_sample * config.samples_per_shard


def write_users(
    target: Folder, number: int, timelines: Timelines, first_user: int, *, items: int, config: DataConfig, seed: int
) -> ShardResult:
    """Draw the evaluation negatives of some consecutive users and write their shard.

    The bytes depend on the arguments alone; a negative on (seed, user, place in the user's timeline).

    Args:
        target: local or remote folder of the shards.
        number: of the shard.
        timelines: of the shard's users, numbered from 0.
        first_user: number of the first among all users.
        items: size of the catalogue.
        config: users a sample, evaluation negatives a row.
        seed: of the negatives.

    Raises:
        InputError: a user has seen so many items that too few are left.
    """
    negative_RC = draw_negatives(timelines, first_user, items=items, config=config, seed=seed)
    require_training_negatives(timelines, items=items, config=config)
    with _file_of(target, shard_name(number)) as path:
        record = write_shard(path, shard_blocks(timelines, first_user, negative_RC, config.users_per_sample))
    trained_item_C, trained_count_C = np.unique(timelines.item_N[training_rows(timelines)], return_counts=True)
    return ShardResult(
        record=record,
        trained_item_C=trained_item_C,
        trained_count_C=trained_count_C,
    )


def draw_negatives(timelines: Timelines, first_user: int, *, items: int, config: DataConfig, seed: int) -> np.ndarray:
    """Frozen negatives of the evaluation rows of some users, uint32 [R, C]; arguments as of `write_users`.

    Raises:
        InputError: a user has seen so many items that too few are left.
    """
    event_R = evaluation_rows(timelines)
    user_R = timelines.user_N[event_R]
    return sample_unseen(
        SeenPairs.from_timelines(timelines, items),
        user_R,
        config.eval_negatives,
        key=(seed, _EVALUATION, first_user + user_R, event_R - timelines.user_start_V[user_R]),
    )


def require_training_negatives(timelines: Timelines, *, items: int, config: DataConfig) -> None:
    """Refuse a catalogue that is too small for the negatives of some users' training rows, before a training does.

    Args:
        timelines: of the users.
        items: size of the catalogue.
        config: negatives a training row; the hard ones among them are items that the user has seen.

    Raises:
        InputError: a user has seen so many items in the training split that too few are left.
    """
    wanted = config.train_negatives - config.hard_negatives
    if items - int(np.diff(timelines.user_start_V).max(initial=0)) >= wanted:
        return  # nearly always, and cheaper than the exact question
    seen = SeenPairs.from_timelines(timelines, items, Split.TRAIN)
    trained_V = np.unique(timelines.user_N[training_rows(timelines)])
    most = int(np.diff(seen.user_start_V)[trained_V].max(initial=0))
    if items - most < wanted:
        raise InputError(
            "data.train_negatives",
            f"a user has seen {most} of {items} items in the training split, which leaves fewer than the {wanted} "
            "negatives asked for",
            "lower data.train_negatives or bring a larger catalogue",
        )


@contextmanager
def _file_of(target: Folder, name: str) -> Iterator[Path]:
    """Yield a local path whose file is in the folder when the block ends well."""
    if target.local is not None:
        yield target.local / name
        return
    with tempfile.TemporaryDirectory() as here:
        yield Path(here) / name
        target.put(name, Path(here) / name)
