"""Timelines in WebDataset tars: one sample is a block of users. `shards/README.md` is the specification.

Dimensions: N events, V users, R evaluation rows, C negatives.
"""

import io
import math
import re
import tarfile
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from webdataset import TarWriter

from gensr_dist.data.shards.block import MEMBERS, Block, decode, encode
from gensr_dist.data.shards.manifest import ShardRecord
from gensr_dist.data.timelines.histories import count_interactions
from gensr_dist.data.timelines.rows import evaluation_rows, training_rows
from gensr_dist.data.timelines.timelines import Timelines
from gensr_dist.errors import InputError
from gensr_dist.storage.checked_files import REMEDY, sha256_of_file

_MEMBER_NAME = re.compile(r"(?P<key>\d{10})\.(?P<array>" + "|".join(MEMBERS) + r")\.npy", re.ASCII)


def shard_name(number: int) -> str:
    """File name of the shard with this place in user order."""
    return f"shard-{number:05d}.tar"


def shard_blocks(
    timelines: Timelines, first_user: int, eval_negative_RC: np.ndarray, users_per_sample: int
) -> Iterator[tuple[int, Block]]:
    """Cut a shard's users into blocks.

    Args:
        timelines: of the users of one shard alone.
        first_user: row of the first of them among all users.
        eval_negative_RC: uint32, distinct negatives of each held-out positive event, in any order within a row.
        users_per_sample: users of a block; the last one may have fewer.

    Yields:
        The row of the block's first user, and the block.
    """
    eval_event_R = evaluation_rows(timelines)
    for first in range(0, timelines.users, users_per_sample):
        end = min(first + users_per_sample, timelines.users)
        rows = slice(*np.searchsorted(eval_event_R, timelines.user_start_V[[first, end]]).tolist())
        yield first_user + first, Block(timelines.of_users(first, end), np.sort(eval_negative_RC[rows], axis=1))


def write_shard(path: Path, blocks: Iterable[tuple[int, Block]]) -> ShardRecord:
    """Write one tar; its bytes are a function of the blocks.

    Args:
        path: of the tar; its name goes into the record.
        blocks: at least one; each with the row of its first user, without gaps.
    """
    first_user = -1
    samples = users = events = training = evaluation = interactions = 0
    # Fixed owner, mode and time, so that equal arrays give equal tars.
    with TarWriter(str(path), user="", group="", mode=0o644, mtime=0, encoder=False) as tar:
        for key, block in blocks:
            if not samples:
                first_user = key
            assert key == first_user + users, "blocks leave users out"
            members = {f"{name}.npy": _npy(array) for name, array in encode(block).items()}
            tar.write({"__key__": f"{key:010d}", **members})
            samples += 1
            users += block.timelines.users
            events += len(block.timelines.item_N)
            training += len(training_rows(block.timelines))
            evaluation += len(block.eval_negative_RC)
            interactions += count_interactions(block.timelines)
    assert samples, "a shard holds at least one block"
    return ShardRecord(
        name=path.name,
        first_user=first_user,
        samples=samples,
        users=users,
        events=events,
        training_rows=training,
        evaluation_rows=evaluation,
        interactions=interactions,
        bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
    )


def read_shard(content: bytes, where: str | Path, first_user: int, *, negatives: bool = True) -> Iterator[Block]:
    """Read the blocks of a tar in order.

    Args:
        content: the tar's bytes.
        where: named in errors.
        first_user: row of the shard's first user.
        negatives: whether evaluation negatives are decoded; without them they are [R, 0].

    Raises:
        InputError: the tar is not one that `write_shard` wrote; nothing in it is unpacked to disk or run.
    """
    try:
        for arrays in _samples(content, first_user):
            yield decode(arrays, negatives=negatives)
    except (ValueError, EOFError, tarfile.TarError, OverflowError, MemoryError) as error:
        raise InputError(where, f"expected a timeline shard ({error})", REMEDY) from None


def _samples(content: bytes, first_user: int) -> Iterator[dict[str, np.ndarray]]:
    """Members of one sample after the other; keys must count users without gaps."""
    key, expected, arrays = "", f"{first_user:010d}", dict[str, np.ndarray]()
    # The file is closed by hand because a TarFile is part of a cycle, which would keep the content for a while.
    with io.BytesIO(content) as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            name = _MEMBER_NAME.fullmatch(member.name)
            if name is None or not member.isreg() or member.issparse():
                raise ValueError(f"unexpected member {member.name!r}")
            if name["key"] != key:
                if arrays:
                    raise ValueError(f"sample {key} is not complete")
                key = name["key"]
                if key != expected:
                    raise ValueError(f"sample {key} stands where sample {expected} belongs")
            end = member.offset_data + member.size
            if end > len(content) or name["array"] in arrays:
                raise ValueError(f"member {member.name!r} is cut short or there twice")
            arrays[name["array"]] = _read_array(memoryview(content)[member.offset_data : end], name["array"])
            if len(arrays) == len(MEMBERS):
                yield arrays
                expected, arrays = f"{int(key) + len(arrays['user_count']):010d}", {}
    if arrays:
        raise ValueError(f"sample {key} is not complete")
    if not key:
        raise ValueError("it holds no sample")


def _npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return content.getvalue()


def _read_array(content: memoryview, name: str) -> np.ndarray:
    """View one npy member as an array; pickled ones are refused."""
    head = io.BytesIO(content[: 1 << 12])
    try:
        if np.lib.format.read_magic(head) != (1, 0):
            raise ValueError(f"{name} is not npy format 1.0")
        shape, column_major, dtype = np.lib.format.read_array_header_1_0(head)
    except (tokenize.TokenError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        raise ValueError(f"{name} is not an npy array ({error})") from None
    dtypes, dimensions = MEMBERS[name]
    if dtype.str not in dtypes or len(shape) != dimensions or column_major:
        raise ValueError(f"{name} is {dtype} with {len(shape)} dimensions")
    data = content[head.tell() :]
    if min(shape) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"{name} holds {len(data)} bytes, which are not {shape} of {dtype}")
    return np.frombuffer(data, dtype=dtype).reshape(shape)
