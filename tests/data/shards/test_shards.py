import contextlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.shards.block import MEMBERS, Block, encode
from gensr_dist.data.shards.tar import read_shard, shard_blocks, write_shard
from gensr_dist.data.timelines.histories import Histories
from gensr_dist.data.timelines.rows import evaluation_rows
from gensr_dist.data.timelines.timelines import COLUMNS, Timelines
from gensr_dist.errors import InputError
from tests.data.timeline_folders import random_negatives, random_timelines, write_folder
from tests.timelines import timelines_of_columns


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of 20 users in blocks of 6; do not change it."""
    path = tmp_path_factory.mktemp("shard") / "shard-00000.tar"
    timelines = random_timelines(0, users=20, events=300)
    write_shard(path, shard_blocks(timelines, 40, random_negatives(timelines), 6))
    return path


def same(one: Block, other: Block) -> bool:
    pairs = [(one.eval_negative_RC, other.eval_negative_RC)]
    pairs += [(getattr(one.timelines, name), getattr(other.timelines, name)) for name in ("user_start_V", *COLUMNS)]
    return all(np.array_equal(mine, theirs) and mine.dtype == theirs.dtype for mine, theirs in pairs)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1 << 20),
    users=st.integers(1, 12),
    events=st.integers(0, 80),
    first_user=st.integers(0, 1 << 32),
    users_per_sample=st.integers(1, 13),
    unit=st.sampled_from([1, 7, 86_400_000, 1 << 40]),
    origin=st.sampled_from([-(1 << 62), -5, 0, 1_684_000_000_000, 1 << 61]),
    scale=st.sampled_from([1, 6, 1_000, 85_000_000]),
)
def test_blocks_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    users: int,
    events: int,
    first_user: int,
    users_per_sample: int,
    unit: int,
    origin: int,
    scale: int,
) -> None:
    drawn = random_timelines(seed, users, events)
    timelines = Timelines(
        **{
            **vars(drawn),
            "time_N": origin + unit * (drawn.time_N - 1_684_000_000_000),
            "item_N": (drawn.item_N * scale).astype(np.uint32),
        }
    )
    negative_RC = (random_negatives(timelines) * scale).astype(np.uint32)
    blocks = list(shard_blocks(timelines, first_user, negative_RC, users_per_sample))
    path = tmp_path_factory.mktemp("shard") / "shard-00000.tar"
    write_shard(path, blocks)
    back = list(read_shard(path.read_bytes(), path, first_user))
    assert len(back) == len(blocks) == -(-users // users_per_sample)
    assert all(same(block, written) for block, (_, written) in zip(back, blocks, strict=True))
    assert [key for key, _ in blocks] == list(range(first_user, first_user + users, users_per_sample))
    for name in COLUMNS:
        joined = np.concatenate([getattr(block.timelines, name) for block in back])
        assert np.array_equal(joined, getattr(timelines, name))
    assert np.array_equal(np.concatenate([block.eval_negative_RC for block in back]), np.sort(negative_RC, axis=1))
    without = list(read_shard(path.read_bytes(), path, first_user, negatives=False))
    assert all(
        np.array_equal(one.timelines.time_N, other.timelines.time_N) for one, other in zip(back, without, strict=True)
    )
    assert all(block.eval_negative_RC.shape == (len(block.eval_event_R), 0) for block in without)


@pytest.mark.parametrize(("users_per_sample", "users_per_shard"), [(1, 1), (3, 6), (7, 7), (100, 10_000)])
def test_records_count_what_the_shards_hold(tmp_path: Path, users_per_sample: int, users_per_shard: int) -> None:
    timelines = random_timelines(3, users=10, events=200)
    manifest = write_folder(
        tmp_path / "shards",
        timelines,
        random_negatives(timelines),
        users_per_shard=users_per_shard,
        users_per_sample=users_per_sample,
    )
    histories = Histories.from_timelines(timelines)
    for record in manifest.shards:
        end = record.first_user + record.users
        first_event, end_event = timelines.user_start_V[[record.first_user, end]].tolist()
        events = range(first_event, end_event)
        positive = [event for event in events if timelines.positive_N[event]]
        assert record.events == len(events)
        assert record.training_rows == sum(timelines.split_N[event] == 0 for event in positive)
        assert record.evaluation_rows == sum(timelines.split_N[event] > 0 for event in positive)
        assert record.samples == -(-record.users // users_per_sample)
        met = {(timelines.user_N[e], timelines.time_N[e], timelines.item_N[e]) for e in positive}
        spans = histories.user_start_V[end] - histories.user_start_V[record.first_user]
        assert record.interactions == spans >= len(met)
    assert sum(record.interactions for record in manifest.shards) == len(histories.item_M)


def test_bytes_are_a_function_of_the_blocks(tmp_path: Path) -> None:
    timelines = random_timelines(1, users=9, events=150)
    negative_RC = random_negatives(timelines)
    one = write_shard(tmp_path / "shard-00000.tar", shard_blocks(timelines, 7, negative_RC, 4))
    (tmp_path / "other").mkdir()
    other = write_shard(tmp_path / "other" / "shard-00000.tar", shard_blocks(timelines, 7, negative_RC[:, ::-1], 4))
    assert one == other
    assert write_shard(tmp_path / "shard-00001.tar", shard_blocks(timelines, 8, negative_RC, 4)).sha256 != one.sha256


def test_a_log_like_kuaisar_takes_at_most_24_bytes_an_event(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    users, each, items, queries, negatives = 64, 800, 673_415, 453_667, 99
    events = users * each
    behaviour_N = (draw.random(events) < 0.25).astype(np.uint8)
    timelines = timelines_of_columns(
        users,
        np.repeat(np.arange(users), each),
        item_N=draw.integers(0, items, events),
        time_N=np.sort(draw.integers(0, 19 * 86_400_000, (users, each)), axis=1).ravel() + 1_684_000_000_000,
        query_N=np.where(behaviour_N == 1, draw.integers(0, queries, events), -1),
        behaviour_N=behaviour_N,
        split_N=np.where(draw.random(events) < 0.04, 2, 0),
    )
    rows = len(evaluation_rows(timelines))
    base_R1, stride_R1 = draw.integers(0, items, (rows, 1)), draw.integers(1, items // negatives, (rows, 1))
    negative_RC = ((base_R1 + stride_R1 * np.arange(negatives)) % items).astype(np.uint32)
    record = write_shard(tmp_path / "shard-00000.tar", shard_blocks(timelines, 0, negative_RC, 256))
    assert record.evaluation_rows == rows > 0.039 * events
    assert record.bytes / events < 20


def test_stock_webdataset_finds_the_members_of_the_specification(tar: Path) -> None:
    samples = list(webdataset.WebDataset([str(tar)], shardshuffle=False).decode())
    blocks = list(read_shard(tar.read_bytes(), tar, 40))
    assert [sample["__key__"] for sample in samples] == ["0000000040", "0000000046", "0000000052", "0000000058"]
    for sample, block in zip(samples, blocks, strict=True):
        assert {name for name in sample if not name.startswith("__")} == {f"{name}.npy" for name in MEMBERS}
        for name, (dtypes, dimensions) in MEMBERS.items():
            assert sample[f"{name}.npy"].dtype.str in dtypes
            assert sample[f"{name}.npy"].ndim == dimensions
        t0, unit, count, _ = sample["header.npy"].tolist()
        assert count == block.eval_negative_RC.shape[1]
        events = block.timelines
        assert [t0 + unit * int(time) for time in sample["time.npy"]] == events.time_N.tolist()
        columns = (events.behaviour_N, events.positive_N, events.split_N, events.query_N >= 0)
        for flag, shown in zip(sample["flags.npy"].tolist(), zip(*columns, strict=True), strict=True):
            assert (flag & 1, flag >> 1 & 1, flag >> 2 & 3, flag >> 4) == shown


def test_the_readers_snippet_of_the_specification(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timelines = random_timelines(5, users=11, events=120)
    negative_RC = random_negatives(timelines)
    write_folder(tmp_path / "shards", timelines, negative_RC, users_per_shard=11, users_per_sample=11)
    (tmp_path / "shards" / "items").mkdir()
    np.save(tmp_path / "shards" / "items" / "title_tokens.npy", np.ones((50, 2), dtype=np.int32))
    specification = (Path(__file__).parents[3] / "shards" / "README.md").read_text(encoding="utf-8")
    snippet = specification.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(snippet.replace("runs/quickstart/shards", str(tmp_path / "shards")), names)
    users = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[0].isdigit()]
    assert users == [str(user) for user in range(11)]
    assert np.array_equal(names["time"], timelines.time_N)
    assert np.array_equal(names["evaluated"], evaluation_rows(timelines))
    assert names["negatives"] == np.sort(negative_RC, axis=1).tolist()


def test_tars_carry_no_trace_of_when_and_who(tar: Path) -> None:
    with tarfile.open(tar) as opened:
        members = opened.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert [m.name for m in members] == sorted(m.name for m in members)


def tar_of(*members: tuple[str, bytes], links: tuple[tuple[str, bytes, str], ...] = ()) -> bytes:
    """A tar of files, then of links: name, tar's code of their kind, target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as opened:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            opened.addfile(info)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def sample_of(**changed: np.ndarray) -> bytes:
    """A shard of two users with three events, one of them an evaluation row, with some members replaced."""
    return tar_of(*sample_members(0, **changed))


def sample_members(key: int, **changed: np.ndarray) -> list[tuple[str, bytes]]:
    columns = {"item_N": [4, 5, 6], "time_N": [50, 10, 30], "query_N": [-1, 2, -1], "behaviour_N": [0, 1, 0]}
    timelines = timelines_of_columns(2, [0, 1, 1], **columns, split_N=[0, 0, 2])
    members = {**encode(Block(timelines, np.array([[1, 3]], dtype=np.uint32))), **changed}
    return [(f"{key:010d}.{name}.npy", npy(array)) for name, array in members.items()]


def test_the_sample_of_the_next_tests_is_whole() -> None:
    (block,) = read_shard(sample_of(), "shard-00000.tar", 0)
    assert (block.eval_negative_RC.tolist(), block.eval_event_R.tolist(), block.timelines.time_N.tolist()) == (
        [[1, 3]],
        [2],
        [50, 10, 30],
    )


ITEM = "0000000000.item.npy"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (tar_of(("../../escape.npy", b"")), "unexpected member '../../escape.npy'"),
        (tar_of((f"../{ITEM}", b"")), "unexpected member"),
        (tar_of((f"/{ITEM}", b"")), "unexpected member"),
        (tar_of((f"./{ITEM}", b"")), "unexpected member"),
        (tar_of(("٠" * 10 + ".item.npy", b"")), "unexpected member"),  # digits, but not ours
        (tar_of(links=((ITEM, tarfile.SYMTYPE, "/etc/passwd"),)), f"unexpected member '{ITEM}'"),
        (tar_of(links=((ITEM, tarfile.LNKTYPE, "../x"),)), f"unexpected member '{ITEM}'"),
        (tar_of(links=((ITEM, tarfile.DIRTYPE, ""),)), "unexpected member"),
        (tar_of((ITEM, npy(np.array([{}], dtype=object)))), "item is object"),
        (tar_of((ITEM, npy(np.zeros(3)))), "item is float64"),
        (tar_of((ITEM, npy(np.zeros(3, dtype=">u4")))), "item is >u4"),
        (tar_of((ITEM, npy(np.zeros(3, dtype=np.uint64)))), "item is uint64"),
        (tar_of((ITEM, npy(np.zeros((3, 1), dtype=np.uint32)))), "with 2 dimensions"),
        (tar_of((ITEM, npy(np.zeros(3, np.uint32))[:-1])), "item holds 11 bytes"),
        (tar_of((ITEM, b"not an array")), "magic string"),
        (tar_of((ITEM, b"\x93NUMPY\x01\x00\x09\x00{'descr':")), "item|header"),
        (tar_of((ITEM, npy(np.zeros(3, np.uint32)))), "sample 0000000000 is not complete"),
        (tar_of((ITEM, npy(np.zeros(3, np.uint32))), (ITEM, npy(np.zeros(3, np.uint32)))), "there twice"),
        (tar_of(), "it holds no sample"),
        (sample_of() + sample_of(), None),  # what follows the end of a tar is not read
        (b"no tar at all" * 100, "expected a timeline shard"),
        (b"", "expected a timeline shard"),
        (sample_of(header=np.zeros(3, dtype=np.int64)), "header does not hold 4 numbers"),
        (sample_of(header=np.array([10, 0, 2, 0])), "time is out of range"),
        (sample_of(header=np.array([(1 << 63) - 2, 20, 2, 0])), "time is out of range"),
        (sample_of(header=np.array([10, 20, 3, 0])), "lost or gained a bit"),
        (sample_of(header=np.array([10, 20, 2, 9])), "hold no 2 integers"),
        (sample_of(header=np.array([10, 20, -1, 0])), "hold no -1 integers"),
        (sample_of(flags=np.array([2, 19, 42], dtype=np.uint8)), "unknown bits"),
        (sample_of(flags=np.array([2, 3, 10], dtype=np.uint8)), "query does not fit"),
        (sample_of(flags=np.array([2, 19, 14], dtype=np.uint8)), "split is none of"),
        (sample_of(flags=np.array([2, 19, 8], dtype=np.uint8)), "evaluation rows and eval_negative"),
        (sample_of(flags=np.array([2, 19], dtype=np.uint8)), "differ in length|span the events"),
        (sample_of(query=np.array([1 << 31], dtype=np.uint32)), "query does not fit"),
        (sample_of(query=np.array([], dtype=np.uint8)), "query does not fit"),
        (sample_of(user_count=np.array([1, 1], dtype=np.uint8)), "user_start does not span"),
        (sample_of(user_count=np.array([1 << 63, (1 << 63) + 3], dtype=np.uint64)), "user_count does not span"),
        (sample_of(user_count=np.array([3], dtype=np.uint8)), "time falls within a user"),
        (sample_of(item=np.array([1, 2], dtype=np.uint8)), "differ in length"),
    ],
)
def test_foreign_tars_are_refused(content: bytes, fault: str | None) -> None:
    if fault is None:
        assert len(list(read_shard(content, "shard-00000.tar", 0))) == 1
        return
    with pytest.raises(InputError, match=fault) as caught:
        list(read_shard(content, "shard-00000.tar", 0))
    assert str(caught.value).startswith("shard-00000.tar: expected a timeline shard (")


def test_samples_must_count_users_without_gaps() -> None:
    assert len(list(read_shard(tar_of(*sample_members(5), *sample_members(7)), "shard-00000.tar", 5))) == 2
    with pytest.raises(InputError, match="sample 0000000008 stands where sample 0000000007 belongs"):
        list(read_shard(tar_of(*sample_members(5), *sample_members(8)), "shard-00000.tar", 5))
    with pytest.raises(InputError, match="sample 0000000005 stands where sample 0000000004 belongs"):
        list(read_shard(tar_of(*sample_members(5)), "shard-00000.tar", 4))


@settings(max_examples=200)
@given(
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 699), st.integers(0, 255)), max_size=8),
    kept=st.floats(0.01, 1),
)
def test_any_bytes_give_blocks_or_one_error(tar: Path, changes: list[tuple[int, int, int]], kept: float) -> None:
    content = bytearray(tar.read_bytes())
    for block, offset, value in changes:  # aimed at tar headers, npy headers and the first values
        content[min(block % (len(content) // 512) * 512 + offset, len(content) - 1)] = value
    with contextlib.suppress(InputError):
        list(read_shard(bytes(content[: int(kept * len(content))]), "shard-00000.tar", 40))


@settings(max_examples=200)
@given(data=st.data())
def test_any_values_give_blocks_or_one_error(data: st.DataObject) -> None:
    """Well-formed members with values that may contradict each other."""
    changed = {}
    for name, (dtypes, dimensions) in MEMBERS.items():
        dtype = np.dtype(data.draw(st.sampled_from(dtypes)))
        shape = data.draw(st.tuples(*[st.integers(0, 5)] * dimensions))
        size = int(np.prod(shape)) * dtype.itemsize
        values = data.draw(st.binary(min_size=size, max_size=size))
        changed[name] = np.frombuffer(values, dtype=dtype).reshape(shape)
    kept = data.draw(st.sets(st.sampled_from(sorted(MEMBERS))))
    content = sample_of(**{name: array for name, array in changed.items() if name not in kept})
    with contextlib.suppress(InputError):
        list(read_shard(content, "shard-00000.tar", 0))


def test_blocks_that_leave_users_out_are_a_bug(tmp_path: Path) -> None:
    timelines = random_timelines(1, users=4, events=20)
    (_, block), (_, _) = shard_blocks(timelines, 0, random_negatives(timelines), 2)
    with pytest.raises(AssertionError, match="leave users out"):
        write_shard(tmp_path / "shard-00000.tar", [(0, block), (1, block)])
