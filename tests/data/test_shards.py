import contextlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from gensr_dist.data.config import DataConfig
from gensr_dist.data.events import EventLog
from gensr_dist.data.preparation.splitting import assign_splits, find_moments
from gensr_dist.data.shards import MEMBERS, read_shard, write_shards
from gensr_dist.data.store import TimelineStore
from gensr_dist.data.timelines import build_timelines
from gensr_dist.errors import InputError


def test_stock_webdataset_reads_the_same_timelines(prepared: Path) -> None:
    store = TimelineStore.open(prepared)
    names = [shard["name"] for shard in json.loads((prepared / "manifest.json").read_text())["shards"]]
    assert len(names) == 4
    urls = [str(prepared / name) for name in names]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert len(samples) == 10
    events = 0
    evaluation = []
    for number, sample in enumerate(samples):
        assert sample["__key__"] == f"{4 * number:010d}"
        evaluation.append(sample["eval_event.npy"] + events)
        events += len(sample["item.npy"])
        for name, (dtype, dimensions) in MEMBERS.items():
            assert sample[f"{name}.npy"].dtype == dtype
            assert sample[f"{name}.npy"].ndim == dimensions
    for member, array in (
        ("item", store.timelines.item_N),
        ("time", store.timelines.time_N),
        ("query", store.timelines.query_N),
        ("behaviour", store.timelines.behaviour_N),
        ("positive", store.timelines.positive_N),
        ("split", store.timelines.split_N),
        ("eval_negative", store.eval_negative_RC),
    ):
        assert np.array_equal(np.concatenate([sample[f"{member}.npy"] for sample in samples]), array)
    assert np.array_equal(np.concatenate(evaluation), store.eval_event_R)
    counts = np.concatenate([np.diff(sample["user_start.npy"]) for sample in samples])
    assert np.array_equal(counts, np.diff(store.timelines.user_start_V))


@pytest.mark.parametrize(("users_per_sample", "samples_per_shard"), [(1, 1), (3, 2), (7, 1), (100, 100)])
def test_block_size_changes_nothing_but_the_files(
    tmp_path: Path, make_log: Callable[..., EventLog], users_per_sample: int, samples_per_shard: int
) -> None:
    log = make_log(users=10, events=200)
    timelines = build_timelines(log, assign_splits(log.events, find_moments(log.events, DataConfig(split="days"))))
    event_R = np.arange(5, 200, 9)
    negative_RC = np.arange(len(event_R) * 3, dtype=np.uint32).reshape(-1, 3)
    config = DataConfig(users_per_sample=users_per_sample, samples_per_shard=samples_per_shard)
    records = write_shards(tmp_path, timelines, event_R, negative_RC, config)
    assert sum(record.users for record in records) == 10
    assert sum(record.events for record in records) == 200
    assert sum(record.evaluation_rows for record in records) == len(event_R)
    blocks = [block for record in records for block in read_shard((tmp_path / record.name).read_bytes(), tmp_path)]
    assert np.array_equal(np.concatenate([block.time for block in blocks]), timelines.time_N)
    assert np.array_equal(np.concatenate([block.eval_negative for block in blocks]), negative_RC)


def test_the_readers_snippet_of_the_specification(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specification = (Path(__file__).parents[2] / "shards" / "README.md").read_text(encoding="utf-8")
    snippet = specification.split("```python\n")[1].split("```")[0]
    exec(snippet.replace("runs/quickstart/shards", str(prepared)), {})
    users = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[0].isdigit()]
    assert users == [str(user) for user in range(40)]


def test_tars_carry_no_trace_of_when_and_who(prepared: Path) -> None:
    with tarfile.open(prepared / "shard-00000.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert [m.name for m in members] == sorted(m.name for m in members)


def tar_of(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (tar_of(("../../escape.npy", b"")), "unexpected member '../../escape.npy'"),
        (tar_of(("/0000000000.item.npy", b"")), "unexpected member"),
        (tar_of(("0000000000.item.npy", npy(np.array([{}], dtype=object)))), "Object arrays cannot be loaded"),
        (tar_of(("0000000000.item.npy", npy(np.zeros(3)))), "item is float64"),
        (tar_of(("0000000000.item.npy", b"not an array")), "magic string"),
        (tar_of(("0000000000.item.npy", npy(np.zeros(3, np.uint32)))), "sample 0000000000 is not complete"),
        (b"no tar at all" * 100, "expected a timeline shard"),
    ],
)
def test_foreign_tars_are_refused(content: bytes, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        list(read_shard(content, Path("shard-00000.tar")))


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0), st.integers(0, 699), st.integers(0, 255)), max_size=8),
    kept=st.floats(0.01, 1),
)
def test_any_bytes_give_blocks_or_one_error(prepared: Path, changes: list[tuple[int, int, int]], kept: float) -> None:
    content = bytearray((prepared / "shard-00003.tar").read_bytes())
    for block, offset, value in changes:  # aimed at tar headers, npy headers and the first values
        content[min(block % (len(content) // 512) * 512 + offset, len(content) - 1)] = value
    with contextlib.suppress(InputError):
        list(read_shard(bytes(content[: int(kept * len(content))]), Path("shard-00003.tar")))


def test_arrays_that_do_not_fit_are_refused() -> None:
    arrays = {name: np.zeros((0,) * dims, dtype=dtype) for name, (dtype, dims) in MEMBERS.items()}
    arrays["user_start"] = np.array([0, 5])
    content = tar_of(*((f"0000000000.{name}.npy", npy(array)) for name, array in arrays.items()))
    with pytest.raises(InputError, match="user_start does not span the events"):
        list(read_shard(content, Path("shard-00000.tar")))
