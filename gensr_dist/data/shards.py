"""Timelines in WebDataset tars: one sample is a block of users. `shards/README.md` is the specification.

Dimensions: V users of the block, N their events, R evaluation rows, C negatives.
"""

import io
import re
import tarfile
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm
from webdataset import TarWriter
from webdataset.tariterators import tar_file_iterator

from gensr_dist.data.config import DataConfig
from gensr_dist.data.manifest import REMEDY, ShardRecord, sha256_of_file
from gensr_dist.data.timelines import Timelines
from gensr_dist.errors import InputError

# Members of a sample in the order of the tar: array, dtype, number of dimensions.
MEMBERS: dict[str, tuple[type[np.generic], int]] = {
    "behaviour": (np.uint8, 1),
    "eval_event": (np.int64, 1),
    "eval_negative": (np.uint32, 2),
    "item": (np.uint32, 1),
    "positive": (np.bool_, 1),
    "query": (np.int32, 1),
    "split": (np.uint8, 1),
    "time": (np.int64, 1),
    "user_start": (np.int64, 1),
}
_MEMBER_NAME = re.compile(r"(?P<key>\d{10})\.(?P<array>" + "|".join(MEMBERS) + r")\.npy")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One sample. Positions count from the block's first event."""

    user_start: np.ndarray  # [V + 1]
    item: np.ndarray  # [N]
    time: np.ndarray  # [N]
    query: np.ndarray  # [N]
    behaviour: np.ndarray  # [N]
    positive: np.ndarray  # [N]
    split: np.ndarray  # [N]
    eval_event: np.ndarray  # [R] event position of each validation or test row
    eval_negative: np.ndarray  # [R, C] items the user never met

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other.

        Raises:
            ValueError: names the arrays.
        """
        events = len(self.item)
        if any(len(getattr(self, name)) != events for name in ("time", "query", "behaviour", "positive", "split")):
            raise ValueError("event arrays differ in length")
        if not len(self.user_start) or self.user_start[0] != 0 or self.user_start[-1] != events:
            raise ValueError("user_start does not span the events")
        if (np.diff(self.user_start) < 0).any():
            raise ValueError("user_start decreases")
        if len(self.eval_event) != len(self.eval_negative):
            raise ValueError("eval_event and eval_negative differ in length")
        if ((self.eval_event < 0) | (self.eval_event >= events)).any():
            raise ValueError("eval_event points outside the events")


def write_shards(
    folder: Path, timelines: Timelines, eval_event_R: np.ndarray, eval_negative_RC: np.ndarray, config: DataConfig
) -> tuple[ShardRecord, ...]:
    """Write `shard-00000.tar`, ... The same arrays give the same bytes.

    Args:
        folder: receives the tars.
        timelines: all events.
        eval_event_R: ascending positions of the validation and test rows.
        eval_negative_RC: uint32, their frozen negatives.
        config: users a sample, samples a shard.
    """
    users_per_shard = config.users_per_sample * config.samples_per_shard
    starts = range(0, timelines.users, users_per_shard)
    records = []
    for number, first in enumerate(tqdm(starts, desc="write shards", unit="shard", disable=None)):
        path = folder / f"shard-{number:05d}.tar"
        end = min(first + users_per_shard, timelines.users)
        samples = range(first, end, config.users_per_sample)
        # Fixed owner, mode and time, so that equal arrays give equal tars.
        with TarWriter(str(path), user="", group="", mode=0o644, mtime=0, encoder=False) as tar:
            for user in samples:
                block = _cut(timelines, user, min(user + config.users_per_sample, end), eval_event_R, eval_negative_RC)
                arrays = {f"{name}.npy": _npy(getattr(block, name), dtype) for name, (dtype, _) in MEMBERS.items()}
                tar.write({"__key__": f"{user:010d}", **arrays})
        event_span = timelines.user_start_V[[first, end]]
        row_span = np.searchsorted(eval_event_R, event_span)
        records.append(
            ShardRecord(
                name=path.name,
                samples=len(samples),
                users=end - first,
                events=int(np.diff(event_span)[0]),
                evaluation_rows=int(np.diff(row_span)[0]),
                bytes=path.stat().st_size,
                sha256=sha256_of_file(path),
            )
        )
    return tuple(records)


def read_shard(content: bytes, path: Path) -> Iterator[Block]:
    """Read the blocks of a tar in order.

    Args:
        content: the tar's bytes.
        path: named in errors.

    Raises:
        InputError: the tar is not one that `write_shards` wrote; nothing in it is unpacked to disk or run.
    """
    try:
        key, arrays = "", dict[str, np.ndarray]()
        for member in tar_file_iterator(io.BytesIO(content), skip_meta=None):
            name = _MEMBER_NAME.fullmatch(member["fname"])
            if name is None:
                raise ValueError(f"unexpected member {member['fname']!r}")
            if name["key"] != key and arrays:
                raise ValueError(f"sample {key} is not complete")
            key = name["key"]
            arrays[name["array"]] = _read_array(member["data"], name["array"])
            if len(arrays) == len(MEMBERS):
                yield Block(**arrays)
                arrays = {}
        if arrays:
            raise ValueError(f"sample {key} is not complete")
    except (ValueError, EOFError, tarfile.TarError) as error:
        raise InputError(path, f"expected a timeline shard ({error})", REMEDY) from None


def _cut(timelines: Timelines, first: int, end: int, eval_event_R: np.ndarray, eval_negative_RC: np.ndarray) -> Block:
    """Users `first:end` as a block."""
    start, stop = timelines.user_start_V[first], timelines.user_start_V[end]
    events = slice(start, stop)
    rows = slice(*np.searchsorted(eval_event_R, [start, stop]))
    return Block(
        user_start=timelines.user_start_V[first : end + 1] - start,
        item=timelines.item_N[events],
        time=timelines.time_N[events],
        query=timelines.query_N[events],
        behaviour=timelines.behaviour_N[events],
        positive=timelines.positive_N[events],
        split=timelines.split_N[events],
        eval_event=eval_event_R[rows] - start,
        eval_negative=eval_negative_RC[rows],
    )


def _npy(array: np.ndarray, dtype: type[np.generic]) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array, dtype=dtype), version=(1, 0), allow_pickle=False)
    return content.getvalue()


def _read_array(content: bytes, name: str) -> np.ndarray:
    """Parse one npy member; pickled ones are refused."""
    try:
        array: np.ndarray = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (tokenize.TokenError, SyntaxError, OverflowError, MemoryError) as error:  # from a header that is no header
        raise ValueError(f"{name} is not an npy array ({error})") from None
    dtype, dimensions = MEMBERS[name]
    if array.dtype != dtype or array.ndim != dimensions:
        raise ValueError(f"{name} is {array.dtype} with {array.ndim} dimensions")
    return array


assert set(MEMBERS) == {field.name for field in fields(Block)}
